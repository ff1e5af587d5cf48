"""What the processes that measure a checkpoint have in common: their command line, and whom they tell.

What is measured stands in the module that a process is started with, `models.score` or `models.validate`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from data.errors import InputError
from models.reporters import open_launcher
from models.train import BAD_INPUT

Log = Callable[[str], None]


@dataclass(frozen=True)
class Job:
    """What to measure: a checkpoint, on tracks whose paths start from `audio_root`, on a device, into a folder."""

    checkpoint: Path
    tracks: Path
    audio_root: Path
    output: Path
    device: str


def run_job(module: str, description: str, work: Callable[[Job, Log], None], arguments: Iterable[str] | None) -> int:
    """Do what the command line says (of this process, or `arguments`); the exit code: 0, or 2 for bad input."""
    parser = argparse.ArgumentParser(prog=f"python -m {module}", description=description)
    parser.add_argument("checkpoint", type=Path, metavar="CHECKPOINT")
    parser.add_argument("--tracks", type=Path, required=True, metavar="PARQUET", help="the tracks to measure on")
    parser.add_argument("--audio-root", type=Path, required=True, metavar="DIR", help="where their paths start from")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="where the results are written")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps")
    options = parser.parse_args(None if arguments is None else list(arguments))
    try:
        with open_launcher() as (launcher, _):
            work(Job(**vars(options)), launcher.log)
    except InputError as error:
        sys.stderr.write(f"{error}\n")
        return BAD_INPUT
    return 0
