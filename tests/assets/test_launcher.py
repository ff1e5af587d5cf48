"""Another launcher, as the README adds one: a class, and no asset changes."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import dagster as dg
import pandas as pd
import pytest
from tiny import tiny_pairs
from training_root import write_candidate, write_manifest, write_training_root

from assets.evaluation import scores
from assets.separators import checkpoint
from data import cache
from data.layout import Layout
from data.ownership import this_process
from data.recipe import Recipe
from data.settings import Settings
from data.splits import SPLITS
from models.evaluate import SCORES
from models.train import _end_with

PROJECT = Path(__file__).parents[2]
NAME = "toy"  # the partition of a candidate that ships; its file is the test's own

# A stand-in: it notes what it was asked for and does it, somewhere.
SRUN = """#!{python}
import json, subprocess, sys
with open({note!r}, "a") as note:
    print(json.dumps(sys.argv[1:]), file=note)
sys.exit(subprocess.run(sys.argv[3:]).returncode)
"""


def launcher() -> Any:
    """The launcher that the README shows."""
    section = (PROJECT / "README.md").read_text().partition("## Adding a launcher")[2]
    found = re.search(r"```python\n(.*?)```", section, re.DOTALL)
    assert found
    space: dict[str, Any] = {}
    exec(found[1], space)
    return space["SlurmLauncher"]()


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """A storage root with a training set and a song that is held out from it."""
    root = write_training_root(tmp_path / "storage")
    every = tiny_pairs(root, validation=2)
    write_manifest(root, every)
    parts = [*every["split"][:-1], "reserved"]
    table = pd.DataFrame({"track_id": every["track_id"], "artist": every["track_id"], "split": parts})
    frame = table.assign(dataset="demo", artist_key=table["artist"], reason="drawn")

    def work(folder: Path) -> dict[str, Any]:
        SPLITS.write(folder, frame)
        return {}

    cache.make(Layout(root).splits, Recipe("splits", {}, {}), work)
    write_candidate(tmp_path / "candidates", NAME)
    return Settings(storage=root, candidates=tmp_path / "candidates", device="cpu")


@pytest.fixture
def note(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where `srun` notes what it is asked for."""
    script, note = tmp_path / "bin/srun", tmp_path / "note"
    script.parent.mkdir()
    script.write_text(SRUN.format(python=sys.executable, note=str(note)))
    script.chmod(0o755)
    monkeypatch.setenv("PATH", str(script.parent), prepend=":")
    return note


def go(settings: Settings, raise_on_error: bool = True) -> dg.ExecuteInProcessResult:
    with dg.DagsterInstance.ephemeral() as instance:
        return dg.materialize(
            [checkpoint, scores],
            partition_key=NAME,
            instance=instance,
            resources={"settings": settings, "launcher": launcher()},
            raise_on_error=raise_on_error,
        )


def test_one_class_takes_training_and_scores_to_another_place(settings: Settings, note: Path) -> None:
    assert go(settings).success
    asked = [json.loads(line) for line in note.read_text().splitlines()]
    named = [f"--job-name=models.{done}" for done in ("train", "score")]
    assert [call[:2] for call in asked] == [["--gres=gpu:1", name] for name in named]
    assert set(SCORES.read(Layout(settings.root).scores(NAME))["method"]) == {NAME}


def test_what_fails_at_another_place_is_told_in_its_own_words(settings: Settings, note: Path) -> None:
    vocals = settings.root / "demo/normalised/song-0/vocals.wav"
    vocals.write_text("no audio")
    result = go(settings, raise_on_error=False)
    (event,) = [event for event in result.all_events if event.is_step_failure]
    assert str(vocals) in str(event.step_failure_data.error)


def test_a_training_elsewhere_does_not_take_a_strange_process_for_its_launcher() -> None:
    _end_with(asdict(replace(this_process(), host="another machine", pid=2**22 + 1)))
