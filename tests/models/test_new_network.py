"""A network of somebody else's, as the README adds one: a folder, a word and a candidate."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from tiny import tiny_pairs, tiny_settings

from data.audio import SAMPLE_RATE, read, write
from data.loopback import PAIRS
from data.tables import write_table

PROJECT = Path(__file__).parents[2]
SEPARATE = """
import sys
from data.audio import read, write
from models.checkpoint import load_separator
from models.separate import separate
separator = load_separator(sys.argv[1])
write(sys.argv[3], separate(separator, read(sys.argv[2])[0]), subtype="FLOAT")
print(type(separator.network).__name__)
"""


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the project with the README's network in it."""
    unwanted = shutil.ignore_patterns("__pycache__")
    for room in ("data", "models"):
        shutil.copytree(PROJECT / room, tmp_path / "project" / room, ignore=unwanted)
    networks = tmp_path / "project/models/networks"
    section = (PROJECT / "README.md").read_text().partition("## Adding a network")[2]
    settings, network = re.findall(r"```python\n(.*?)```", section, re.DOTALL)[:2]
    (networks / "gate").mkdir()
    for file, text in {"__init__.py": "", "settings.py": settings, "network.py": network}.items():
        (networks / "gate" / file).write_text(text)
    union = (networks / "__init__.py").read_text()
    imported = "from models.networks.gate.settings import GateSettings\n\nNetworkSettings"
    union = union.replace("NetworkSettings = Annotated[", f"{imported} = Annotated[GateSettings | ")
    (networks / "__init__.py").write_text(union)
    candidates = tmp_path / "project/models/candidates"
    # As the README has it, on the tests' tiny candidate under the name of the one that it is like.
    (candidates / "toy.yaml").write_text(yaml.safe_dump(tiny_settings()))
    (candidates / "gate.yaml").write_text(section.partition("```yaml\n")[2].partition("```")[0])
    return tmp_path / "project"


def _run(copy: Path, *arguments: str) -> str:
    storage = copy.parent / "storage"
    environment = {**os.environ, "PYTHONPATH": str(copy), "ISOLATION_STORAGE": str(storage)}
    command = [sys.executable, *arguments]
    done = subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_folder_a_word_and_a_candidate_add_a_network(copy: Path) -> None:
    storage = copy.parent / "storage"
    write_table(PAIRS.path(storage / "training_set/loopback"), tiny_pairs(storage), PAIRS)
    assert "epoch 2 done" in _run(copy, "-m", "models.train", "gate", "--device", "cpu")
    song, vocals = copy.parent / "song.wav", copy.parent / "vocals.wav"
    write(song, 0.1 * np.random.default_rng(0).standard_normal((2, SAMPLE_RATE)).astype(np.float32))
    checkpoint = storage / "separators/checkpoint/gate/checkpoint.pt"
    assert _run(copy, "-c", SEPARATE, str(checkpoint), str(song), str(vocals)).strip() == "GateNetwork"
    assert read(vocals)[0].shape == (2, SAMPLE_RATE)
