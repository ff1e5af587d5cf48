"""What the processes that measure a checkpoint have in common: their command line, and whom they tell.

What is measured stands in the module that a process is started with, `models.score` or `models.validate`.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from data.command import out_of_memory, run_command
from data.scratch import require_writable
from models.launch import LESS_MEMORY_MEASURING
from models.memory import memory_ran_out
from models.reporters import open_launcher

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

    def measure() -> int:
        options = parser.parse_args(None if arguments is None else list(arguments))
        require_writable(options.output)
        try:
            with open_launcher() as (launcher, _):
                work(Job(**vars(options)), launcher.log)
        except (RuntimeError, MemoryError) as error:
            if memory_ran_out(error):
                said = str(error).partition("\n")[0]
                raise out_of_memory(f"measurement of {options.checkpoint}", said, LESS_MEMORY_MEASURING) from error
            raise
        return 0

    return run_command(measure)
