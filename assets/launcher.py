"""Where work that needs a process of its own is done: on this machine, or wherever a launcher takes it.

An asset says what is to be done, a `models.job.Job`, and waits; no asset knows of processes, and a cluster is another
launcher. CUDA never starts inside a Dagster process. Progress comes back through Dagster Pipes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol

import dagster as dg
from dagster._core.errors import DagsterPipesExecutionError

from data.command import PROBLEM_FILE, read_problem
from data.ownership import this_process
from data.settings import Settings, environment
from models.job import Job
from models.launch import launch_command, why_it_ended

PROJECT = Path(__file__).resolve().parent.parent


class Launcher(Protocol):
    """Does jobs, one at a time for each caller."""

    def launch(
        self,
        context: dg.AssetExecutionContext,
        job: Job,
        settings: Settings,
        *,
        what: str,
        extras: Mapping[str, Any] | None = None,
    ) -> None:
        """Do a job with these settings and come back when it is done; `what` is what people call it.

        `extras` are plain values that the job finds in its Pipes context. Wherever it is done, paths in the job and in
        the settings lead to the same files. Raises dg.Failure that tells the file, what was expected and found, and
        what to do.
        """


class LocalLauncher:
    """This machine: a process, or several that train together (ISOLATION_TRAINING_PROCESSES)."""

    def command(self, job: Job, settings: Settings) -> list[str]:
        """What is run; another launcher may put a command of its own in front."""
        return [*launch_command(settings.training_processes if job.shared else 1), *job.command]

    def launch(
        self,
        context: dg.AssetExecutionContext,
        job: Job,
        settings: Settings,
        *,
        what: str,
        extras: Mapping[str, Any] | None = None,
    ) -> None:
        with TemporaryDirectory() as folder:
            problem = Path(folder) / "problem.json"
            try:
                dg.PipesSubprocessClient().run(
                    context=context.op_execution_context,
                    command=self.command(job, settings),
                    cwd=str(PROJECT),
                    env=environment(settings) | {PROBLEM_FILE: str(problem)},
                    extras={**(extras or {}), "launcher": asdict(this_process())},
                )
            except DagsterPipesExecutionError as error:
                code = re.search(r"-?\d+$", str(error))  # nothing else tells
                ended = why_it_ended(what, int(code[0]) if code else 1, job.less_memory)
                raise dg.Failure(description=str(read_problem(problem) or ended)) from error
