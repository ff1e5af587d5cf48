"""A corpus that changes again and again: what is promised of splits, scores and checksums holds after every change."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from pipelines_site import PROJECT


def test_a_short_history_of_a_corpus_breaks_no_promise(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "benchmarks.histories",
        "--work",
        str(tmp_path),
        "--json",
        str(tmp_path / "r.json"),
    ]
    options = ["--changes", "5", "--retrain-every", "4"]
    done = subprocess.run([*command, *options], cwd=PROJECT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert sum(json.loads((tmp_path / "r.json").read_text())["before"].values()) > 0
    assert done.stdout.strip().splitlines()[-1].startswith("0 broken now")
