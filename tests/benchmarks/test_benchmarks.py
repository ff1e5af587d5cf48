"""The benchmarks run; what they measure is for a quiet machine to say."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pipelines_site import PROJECT
from small_datasets import tone
from tiny import network_of, tiny_candidate

from data.audio import write
from models.checkpoint import Checkpoint, save_checkpoint


@pytest.mark.parametrize(
    ("name", "options", "measured"),
    [
        ("prepare", ["--tracks", "2", "--seconds", "2", "--rounds", "1", "--memory", "2"], "faster_than_loop"),
        ("medleydb", ["--tracks", "2", "--seconds", "2", "--stems", "3", "--rounds", "1"], "share_of_read_and_write"),
    ],
)
def test_a_benchmark_prints_its_ratio_last_and_writes_json(
    tmp_path: Path, name: str, options: list[str], measured: str
) -> None:
    result = tmp_path / "result.json"
    command = [sys.executable, "-m", f"benchmarks.{name}", "--work", str(tmp_path / "work"), "--json", str(result)]
    done = subprocess.run([*command, *options], cwd=PROJECT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().splitlines()[-1].startswith("ratio: ")
    content = json.loads(result.read_text())
    assert content[measured] > 0
    assert "cores" in content["machine"]


SMALL = ["--batch", "2", "--chunk", "0.5", "--cores", "1"]


def test_the_training_benchmark_measures_waiting_memory_and_lstms(tmp_path: Path) -> None:
    sizes = ["--tracks", "4", "--seconds", "2", "--steps", "8", "--memory-steps", "4", "--gpu-steps", "8"]
    parts = ["--part", "data", "--part", "memory", "--part", "gpu"]
    found = trained(tmp_path, [*parts, *sizes, *SMALL, "--candidates", "toy", "--gpu-candidate", "toy"])
    assert list(found["memory"]["peak_mb"]) == ["1", "4"]
    assert found["memory"]["growth"] > 0
    assert list(found["data"]["trainings"]) == ["toy"]
    assert "gpu" in found


@pytest.mark.skipif(importlib.util.find_spec("openunmix") is None, reason="the package openunmix is not installed")
def test_the_training_benchmark_runs_open_unmix_on_both_layouts(tmp_path: Path) -> None:
    sizes = ["--openunmix-tracks", "4", "--longest", "4", "--openunmix-steps", "2", "--hidden", "16"]
    found = trained(tmp_path, ["--part", "openunmix", *sizes, *SMALL, "--workers", "1", "--rounds", "1"])["openunmix"]
    assert len(found["rounds"]) == 3
    assert found["faster_than_wav"] > 0
    assert found["faster_than_stems"] > 0


def test_the_context_benchmark_compares_cuts_and_levels(tmp_path: Path) -> None:
    candidate = tiny_candidate(stft={"window": 2048, "hop": 1024})
    checkpoint = Checkpoint(candidate, network_of(candidate).state_dict())
    save_checkpoint(tmp_path / "checkpoint.pt", checkpoint)
    for name in ("one", "other"):
        for stem, pitch in (("vocals", 300), ("accompaniment", 90)):
            write(tmp_path / "songs" / name / f"{stem}.wav", tone(45.0, pitch).T.astype(np.float32))
    result = tmp_path / "result.json"
    command = [sys.executable, "-m", "benchmarks.context", str(tmp_path / "checkpoint.pt"), "--work", str(tmp_path)]
    command += ["--songs", str(tmp_path / "songs"), "--seconds", "44", "--json", str(result)]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().splitlines()[-1].startswith("ratio: ")
    found = json.loads(result.read_text())
    before, now = found["isolate before: 20 s, 2 s cross-faded"], found["now: 20 s, context 1 s"]
    assert len(before["split_vs_whole_db"]) == len(now["split_vs_whole_db"]) == 2
    assert now["usdr_db"] == pytest.approx(now["usdr_quiet_db"], abs=1e-3)
    assert before["usdr_db"] != pytest.approx(before["usdr_quiet_db"], abs=1e-3)


def trained(tmp_path: Path, options: list[str]) -> dict[str, Any]:
    """What the training benchmark writes as JSON."""
    result = tmp_path / "result.json"
    command = [sys.executable, "-m", "benchmarks.train", "--work", str(tmp_path / "work"), "--json", str(result)]
    done = subprocess.run([*command, *options], cwd=PROJECT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().splitlines()[-1].startswith("ratio: ")
    content: dict[str, Any] = json.loads(result.read_text())
    return content
