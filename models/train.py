"""`python -m models.train CONFIG`: train one candidate in a process of its own, with or without Dagster.

Started by torchrun, it trains with the other processes. A training that was stopped goes on from the state in its
output folder. Who hears of its progress stands in `models.reporters`, the training itself in `models.training`.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import threading
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from data.command import FAILED, Stopped, out_of_memory, run_command
from data.layout import Layout
from data.loopback import PAIRS
from data.ownership import Process, own
from data.scratch import require_writable
from data.settings import Settings, load_settings
from data.tables import read_table
from data.text import say
from models.candidate import Candidate, candidate_path, load_candidate
from models.job import TrainJob
from models.progress import Reporter
from models.reporters import open_reporters


def main(arguments: list[str] | None = None) -> int:
    """Train as the command line says; returns the exit code: 0, 2 for bad input, 128 + signal when stopped."""
    return run_command(lambda: _run(TrainJob.parse(arguments)))


def _run(job: TrainJob) -> int:
    settings = load_settings()
    candidate = load_candidate(_file_of(job.config, settings.candidates), settings.candidates)
    try:
        with open_reporters(settings) as (reporter, extras):
            _end_with(extras.get("launcher"))
            _train(candidate, job, settings, reporter, extras)
    except Stopped as stopped:
        stopped.said = "started again, it goes on from the last state that was saved"
        raise
    except (RuntimeError, MemoryError) as error:
        from models.memory import memory_ran_out
        from models.training.processes import lost_another

        if memory_ran_out(error):
            said = str(error).partition("\n")[0]
            raise out_of_memory(f"training of {candidate.name}", said, job.less_memory) from error
        if lost_another(error):
            say("another process of this training has ended, and so this one does")
            return FAILED
        raise
    return 0


def _file_of(config: str, candidates: Path) -> Path:
    """The file that the command line means: a path to one, or the name of a candidate in the folder of the settings."""
    named = Path(config).suffix.lower() not in (".yaml", ".yml")
    return candidate_path(config, candidates) if named else Path(config)


def _train(
    candidate: Candidate, job: TrainJob, settings: Settings, reporter: Reporter, extras: Mapping[str, Any]
) -> None:
    pairs = read_table(job.pairs or PAIRS.path(Layout(settings.root).loopback), PAIRS)

    # Torch takes seconds to load: bad input is told before that.
    from models.checkpoint import current_commit
    from models.device import choose_device
    from models.memory import keep_freed_memory
    from models.training import Provenance, train
    from models.training.processes import join_processes, own_device

    keep_freed_memory()
    output = job.output or Layout(settings.root).checkpoint(candidate.name)
    provenance = Provenance(
        fingerprints=dict(extras.get("fingerprints", {})),
        licences=tuple(extras.get("licences", ())),
        git_commit=extras.get("git_commit") or current_commit(),
    )
    device = own_device(choose_device(job.device or settings.device))
    with _owning(settings.root, output), join_processes(device) as processes:
        processes.share_of(candidate.training.batch_size)  # refused before anything is made
        require_writable(output)
        train(
            candidate,
            pairs,
            job.audio_root or settings.root,
            output,
            reporter,
            device,
            provenance,
            place=job.data or settings.training_data,
            processes=processes,
            save_every_s=job.save_every,
        )


def _owning(root: Path, output: Path) -> AbstractContextManager[None]:
    """The right to write to the storage root where `output` lies in it; the first of several processes has it for all.

    A training that was started by a run belongs to that run. Raises InputError where somebody else writes there.
    """
    inside = output.resolve().is_relative_to(root.resolve())
    return own(root, "python -m models.train") if inside and os.environ.get("RANK", "0") == "0" else nullcontext()


def _end_with(launcher: Mapping[str, Any] | None) -> None:
    """Stop this process when the one that launched it is gone: a run that was killed must not train on, unseen.

    Only where the operating system tells (Linux), and on the launcher's own machine.
    """
    if launcher is None or not hasattr(os, "pidfd_open") or Process(**launcher).lives() is None:
        return
    process = os.pidfd_open(launcher["pid"])

    def wait() -> None:
        select.select([process], [], [])
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, name="launcher", daemon=True).start()


if __name__ == "__main__":
    sys.exit(main())
