"""Exported separators: run by a process that knows nothing of this project, they give the same audio."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny import network_of

from data.errors import InputError
from models import export
from models.candidate import Candidate, candidate_names, load_candidate
from models.checkpoint import Checkpoint, load_separator, save_checkpoint

# The shipped settings at a width that a test can afford.
_APS360 = {"pre_fc": [16], "lstm_hidden": 16, "fc": [16, 16]}
_BANDS = {"features": 8, "blocks": 1, "lstm_hidden": 8, "mask_hidden": 8}
NARROW: dict[str, dict[str, Any]] = {
    "toy": _APS360,
    "aps360": _APS360,
    "aps360-repaired": _APS360,
    "bandsplit": _BANDS,
    "bandsplit-large": _BANDS,
    "openunmix": {"hidden": 16},
    "htdemucs": {"channels": 8, "transformer_channels": 16, "transformer_layers": 1, "transformer_heads": 2},
    "bs-roformer": {"features": 8, "blocks": 1, "heads": 2, "head_features": 4, "mask_layers": 1},
}
PACKAGES = {"htdemucs": "demucs.htdemucs", "bs-roformer": "bs_roformer"}
SECONDS = 4.0

# Loads programs as somebody else would: with torch alone.
_STRANGER = """
import json, sys
import numpy, torch
for folder in sys.argv[1:]:
    about = {"separator.json": ""}
    separator = torch.export.load(folder + "/separator.pt2", extra_files=about).module()
    with torch.no_grad():
        for length in json.load(open(folder + "/lengths.json")):
            mixture = torch.from_numpy(numpy.load(f"{folder}/mixture-{length}.npy"))
            for gain in (1.0, 0.01):
                song = gain * mixture
                vocals = separator(song[None], song.square().mean().sqrt())[0]
                numpy.save(f"{folder}/vocals-{length}-{gain}.npy", vocals.numpy())
    open(folder + "/separator.json", "w").write(about["separator.json"])
assert not {"models", "data", "demucs", "bs_roformer"} & set(sys.modules)
"""


def _narrow(name: str) -> Candidate:
    shipped = load_candidate(name)
    return shipped.model_copy(update={"network": shipped.network.model_copy(update=NARROW[name])})


def _save(name: str, folder: Path) -> Path:
    torch.manual_seed(0)
    candidate = _narrow(name)
    network = network_of(candidate)
    with torch.no_grad():
        # Fresh ones may be all zeros or ones, which would hide an error.
        for weight in network.parameters():
            weight.add_(0.02 * torch.randn_like(weight))
    network.fit_input([torch.from_numpy(_mixture(44100))[None]])
    checkpoint = Checkpoint(
        candidate,
        network.state_dict(),
        {"epoch": 3},
        {"training_set/loopback": "abc"},
        ("CC BY-NC-SA 4.0",),
        "0f3c",
        context_seconds=1.5,
    )
    save_checkpoint(folder / "checkpoint.pt", checkpoint)
    return folder / "checkpoint.pt"


def _mixture(frames: int) -> np.ndarray:
    hiss = 0.1 * np.random.default_rng(frames).standard_normal((2, frames))
    return (hiss + 0.3 * np.sin(2 * np.pi * 440 * np.arange(frames) / 44100)).astype(np.float32)


def _installed(name: str) -> bool:
    try:
        network_of(_narrow(name))
    except InputError:
        return False
    return True


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of a candidate's checkpoint, exported program, and what a stranger made of it; or a skip."""
    root, folders = tmp_path_factory.mktemp("exported"), {}
    for name in filter(_installed, candidate_names()):
        folders[name] = folder = root / name
        about = export.export_separator(_save(name, folder), folder / "separator.pt2", SECONDS)
        window = about["window_frames"]
        lengths = [window, window + 12345, 30011] if about["any_length"] else [window]
        for length in lengths:
            np.save(folder / f"mixture-{length}.npy", _mixture(length))
        (folder / "lengths.json").write_text(json.dumps(lengths))
    # -I: neither this folder nor the environment leads to the project.
    command = [sys.executable, "-I", "-c", _STRANGER, *map(str, folders.values())]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr

    def of(name: str) -> Path:
        if name not in folders:
            pytest.skip(f"{PACKAGES[name]}, of the extra `peers`, is not installed")
        return folders[name]

    return of


def test_every_shipped_candidate_has_a_narrow_one() -> None:
    assert set(NARROW) == set(candidate_names())


@pytest.mark.parametrize("name", NARROW)
def test_an_exported_separator_gives_the_same_audio_without_this_project(
    name: str, exported: Callable[[str], Path]
) -> None:
    folder = exported(name)
    separator = load_separator(folder / "checkpoint.pt")
    lengths = json.loads((folder / "lengths.json").read_text())
    assert len(lengths) == (1 if name in PACKAGES else 3)
    for length in lengths:
        vocals, expected = np.load(folder / f"vocals-{length}-1.0.npy"), separator(_mixture(length))
        assert vocals.shape == expected.shape == (2, length)
        assert np.abs(expected).max() > 0.01
        np.testing.assert_allclose(vocals, expected, rtol=0, atol=1e-4)
        quiet = np.load(folder / f"vocals-{length}-0.01.npy")
        np.testing.assert_allclose(100 * quiet, vocals, rtol=0, atol=1e-4 * np.abs(vocals).max())


def test_an_exported_separator_tells_where_it_comes_from(exported: Callable[[str], Path]) -> None:
    about = json.loads((exported("toy") / "separator.json").read_text())
    known = {
        "candidate": "toy",
        "sample_rate": 44100,
        "any_length": True,
        "chunk_frames": 173 * 1024,  # 4 s in whole hops
        "context_frames": 65 * 1024,  # 1.5 s
        "fade_frames": 2205,
        "window_frames": (173 + 3 + 2 * 65) * 1024,
        "licences": ["CC BY-NC-SA 4.0"],
        "fingerprints": {"training_set/loopback": "abc"},
        "metrics": {"epoch": 3},
        "git_commit": "0f3c",
    }
    assert about | known == about


def test_a_program_that_sounds_different_is_not_written(
    exported: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inverse = export.ExportableSTFT.inverse
    monkeypatch.setattr(export.ExportableSTFT, "inverse", lambda *given: 1.01 * inverse(*given))
    file = tmp_path / "separator.pt2"
    file.write_text("an earlier one")
    with pytest.raises(InputError, match="a difference of"):
        export.export_separator(exported("toy") / "checkpoint.pt", file, SECONDS)
    assert file.read_text() == "an earlier one"
    assert [entry.name for entry in tmp_path.iterdir()] == ["separator.pt2"]


@pytest.mark.parametrize(
    ("checkpoint", "options", "said"),
    [
        ("absent.pt", ["-o", "x.pt2"], "no such file"),
        ("absent.pt", ["-o", "x.onnx"], "name it x.pt2"),
        ("absent.pt", ["-o", "x.pt2", "--seconds", "0.04"], "at least 0.05 s"),
        ("absent.pt", ["-o", "x.pt2", "--seconds", "nan"], "at least 0.05 s"),
    ],
)
def test_what_cannot_be_exported_is_told(
    checkpoint: str, options: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert export.main([checkpoint, *options]) == 2
    assert said in capsys.readouterr().err


def test_the_command_line_exports(
    exported: Callable[[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "new" / "toy.pt2"
    assert export.main([str(exported("toy") / "checkpoint.pt"), "-o", str(file), "--seconds", "4"]) == 0
    assert file.is_file()
    assert "CC BY-NC-SA 4.0" in capsys.readouterr().out
