"""`python -m models.train CONFIG`: train one candidate in a process of its own, with or without Dagster.

Started by torchrun, it trains with the other processes. A training that was stopped goes on from the state in its
output folder. Who hears of its progress stands in `models.reporters`, the training itself in `models.training`.
"""

from __future__ import annotations

import argparse
import os
import select
import signal
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from types import FrameType
from typing import Any

from data.errors import InputError
from data.layout import Layout
from data.loopback import PAIRS
from data.settings import load_settings
from data.tables import read_table
from models.candidate import Candidate, load_candidate
from models.progress import Reporter
from models.reporters import open_reporters

BAD_INPUT = 2


class Stopped(BaseException):
    """The process was asked to end."""

    def __init__(self, signum: int) -> None:
        super().__init__(signal.Signals(signum).name)
        self.signum = signum


def main(arguments: list[str] | None = None) -> int:
    """Train as the command line says; returns the exit code: 0, 2 for bad input, 128 + signal when stopped."""
    options = _parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, _stop)
    signal.signal(signal.SIGINT, _stop)
    try:
        candidate = load_candidate(options.config)
        with open_reporters(load_settings()) as (reporter, extras):
            _end_with(extras.get("launcher"))
            _train(candidate, options, reporter, extras)
    except InputError as error:
        sys.stderr.write(f"{error}\n")
        return BAD_INPUT
    except Stopped as stopped:
        sys.stderr.write(f"stopped by {stopped}; started again, it goes on from the last state that was saved\n")
        return 128 + stopped.signum
    return 0


def _train(candidate: Candidate, options: argparse.Namespace, reporter: Reporter, extras: Mapping[str, Any]) -> None:
    settings = load_settings()
    pairs = read_table(options.pairs or PAIRS.path(Layout(settings.root).loopback), PAIRS)

    # Torch takes seconds to load: bad input is told before that.
    from models.checkpoint import current_commit
    from models.device import choose_device
    from models.memory import keep_freed_memory
    from models.training import Provenance, train
    from models.training.processes import join_processes, own_device

    keep_freed_memory()
    provenance = Provenance(
        fingerprints=dict(extras.get("fingerprints", {})),
        licences=tuple(extras.get("licences", ())),
        git_commit=extras.get("git_commit") or current_commit(),
    )
    output = options.output or Layout(settings.root).checkpoint(candidate.name)
    device = own_device(choose_device(options.device or settings.device))
    with join_processes(device) as processes:
        train(
            candidate,
            pairs,
            options.audio_root or settings.root,
            output,
            reporter,
            device,
            provenance,
            place=options.data or settings.training_data,
            processes=processes,
            save_every_s=options.save_every,
        )


def _end_with(launcher: int | None) -> None:
    """Stop this process when the one that launched it is gone: a run that was killed must not train on, unseen.

    Only where the operating system tells (Linux).
    """
    if launcher is None or not hasattr(os, "pidfd_open"):
        return
    process = os.pidfd_open(launcher)

    def wait() -> None:
        select.select([process], [], [])
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, name="launcher", daemon=True).start()


def _stop(signum: int, frame: FrameType | None) -> None:
    # A second signal, while the first unwinds, must not interrupt the cleaning up.
    signal.signal(signum, signal.SIG_IGN)
    raise Stopped(signum)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m models.train", description="Train one candidate.")
    parser.add_argument("config", metavar="CONFIG", help="a candidate's YAML file, or the name of one that ships")
    parser.add_argument("--pairs", type=Path, metavar="PARQUET", help="the training pairs")
    parser.add_argument("--audio-root", type=Path, metavar="DIR", help="the folder that paths in the pairs start from")
    parser.add_argument("--output", type=Path, metavar="DIR", help="where checkpoint and curves are written")
    parser.add_argument(
        "--data",
        choices=["auto", "stream", "resident"],
        help="where chunks come from (default: ISOLATION_TRAINING_DATA)",
    )
    parser.add_argument(
        "--save-every",
        type=float,
        metavar="SECONDS",
        help="how often the state is saved that a stopped training goes on from (default: every minute)",
    )
    parser.add_argument("--device", help="auto, cpu, cuda, cuda:1, mps (default: the setting ISOLATION_DEVICE)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
