"""The benchmarks run; what they measure is for a quiet machine to say."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from pipelines_site import PROJECT


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
