"""The command that starts a training in one process, or in several that train together (torchrun).

`python -m models.launch PROCESSES MODULE ...` is torchrun for one machine; where a process fails, why it did is told,
instead of a table of all processes.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING
from unittest.mock import patch

from data.command import BY_SIGNAL, PROBLEM_FILE, Stopped, read_problem, run_command
from data.errors import InputError

if TYPE_CHECKING:
    from torch.distributed.elastic.multiprocessing.errors import ProcessFailure

# What to do where a training, or a measurement, finds too little memory.
LESS_MEMORY = (
    "lower training.batch_size or training.chunk_seconds of the candidate, leave the training set on the disk with "
    "ISOLATION_TRAINING_DATA=stream, or train in fewer processes (ISOLATION_TRAINING_PROCESSES)"
)
LESS_MEMORY_MEASURING = "close other programs, choose another device (ISOLATION_DEVICE), or use a larger machine"


def launch_command(processes: int) -> list[str]:
    """The beginning of a command line; a Python module's name and its arguments follow."""
    return [sys.executable, "-m", *([] if processes == 1 else ["models.launch", str(processes)])]


def why_it_ended(what: str, code: int, less_memory: str) -> InputError:
    """Why a process ended with that exit code, as far as the code tells; `less_memory` is what helps where it lacks.

    Codes are those of `subprocess`, negative for a signal, or those of a shell.
    """
    number = -code if code < 0 else code - BY_SIGNAL
    name = next((each.name for each in signal.Signals if each == number), "")
    if number == signal.SIGKILL:
        found = f"killed by signal 9 ({name}), which most often means that the computer ran out of memory"
        return InputError(what, expected="a process that ends by itself", found=found, remedy=less_memory)
    return InputError(
        what,
        expected="a process that ends by itself",
        found=f"ended by signal {number} ({name})" if name else f"failed with exit code {code}",
        remedy="start it again, it goes on from what was saved" if name else "look at what it wrote to standard error",
    )


def main(arguments: list[str] | None = None) -> int:
    """Run a module in several processes; returns the exit code: 0, 2 for bad input, 128 + signal when stopped."""
    given = sys.argv[1:] if arguments is None else arguments
    return run_command(lambda: _launch(given[0], given[1:]))


def _launch(processes: str, command: list[str]) -> int:
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.run import parse_args, run

    for name in list(logging.root.manager.loggerDict):
        if name.startswith("torch.distributed"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
    # Left alone, torchrun lets the processes meet under the machine's name, and waits five minutes where that name
    # leads nowhere, as it may in a container or on a laptop away from its network.
    meeting = ["--standalone", "--local-addr", "127.0.0.1", "--nproc-per-node", processes, "-m"]
    with TemporaryDirectory() as folder:
        problem = Path(folder) / "problem.json"
        try:
            with patch.dict(os.environ, {PROBLEM_FILE: str(problem)}):
                run(parse_args([*meeting, *command]))
        except SignalException as ended:
            raise Stopped(ended.sigval) from None
        except ChildFailedError as failed:
            raise _root_cause(command[0], failed.failures, read_problem(problem)) from None
    return 0


def _root_cause(module: str, failures: Mapping[int, ProcessFailure], problem: InputError | None) -> InputError:
    """Why a process failed first. The others fail because it is gone, in whatever order that is noticed."""
    codes = [failure.exitcode for failure in failures.values()]
    killed = [code for code in codes if code < 0 and code != -signal.SIGTERM]  # by SIGTERM torchrun ends the others
    if problem is not None and not killed:
        return problem
    own = killed or [code for code in codes if code > 0] or codes
    return why_it_ended(f"a process of {module}", own[0], LESS_MEMORY)


if __name__ == "__main__":
    sys.exit(main())
