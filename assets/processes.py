"""Work in a process of its own, through Dagster Pipes: where it fails, the run fails with the process's own words."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import dagster as dg
from dagster._core.errors import DagsterPipesExecutionError

from data.command import PROBLEM_FILE, read_problem
from data.settings import Settings, environment
from models.launch import why_it_ended

PROJECT = Path(__file__).resolve().parent.parent


def run_process(
    context: dg.AssetExecutionContext,
    process: dg.PipesSubprocessClient,
    command: Sequence[str],
    settings: Settings,
    *,
    what: str,
    less_memory: str,
    extras: Mapping[str, Any] | None = None,
) -> None:
    """Run a command of this project with these settings and wait for it; `what` it does is how people call it.

    Raises dg.Failure that tells the file, what was expected and found, and what to do. `less_memory` is what to do
    where the system had to kill it.
    """
    with TemporaryDirectory() as folder:
        problem = Path(folder) / "problem.json"
        try:
            process.run(
                context=context.op_execution_context,
                command=command,
                cwd=str(PROJECT),
                env=environment(settings) | {PROBLEM_FILE: str(problem)},
                extras=dict(extras or {}),
            )
        except DagsterPipesExecutionError as error:
            code = re.search(r"-?\d+$", str(error))  # nothing else tells
            ended = why_it_ended(what, int(code[0]) if code else 1, less_memory)
            raise dg.Failure(description=str(read_problem(problem) or ended)) from error
