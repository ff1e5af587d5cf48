"""Who hears of a training: whoever launched it (a terminal, or Dagster), TensorBoard, and Weights & Biases if wanted.

One module each, all of the protocol `models.progress.Reporter`; here they are chosen and put together. Libraries that
only one of them needs are imported when it is used.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from data.settings import Settings
from models.progress import Expendable, Reporter, Reporters
from models.reporters.pipes import PipesReporter
from models.reporters.tensorboard import TensorBoardReporter
from models.reporters.terminal import TerminalReporter
from models.reporters.wandb import WandbReporter


@contextmanager
def open_launcher() -> Iterator[tuple[Reporter, Mapping[str, Any]]]:
    """The reporter to whoever launched this process, and what else the launcher passed along."""
    if "DAGSTER_PIPES_CONTEXT" not in os.environ:
        yield TerminalReporter(), {}
        return
    from dagster_pipes import open_dagster_pipes

    with open_dagster_pipes() as pipes:
        yield PipesReporter(pipes), pipes.extras


@contextmanager
def open_reporters(settings: Settings) -> Iterator[tuple[Reporters, Mapping[str, Any]]]:
    """All reporters of a training as one, and what else the launcher passed along; they are closed at the end.

    Of several processes that train together, the first alone has any. Raises InputError where Weights & Biases is
    wanted and cannot be had.
    """
    if os.environ.get("RANK", "0") != "0":
        yield Reporters(), {}
        return
    with open_launcher() as (launcher, extras):
        listening = [launcher, Expendable(TensorBoardReporter(), "TensorBoard", launcher.log)]
        if settings.wandb != "off":
            wandb = WandbReporter(settings.wandb, settings.wandb_project, launcher.log)
            listening.append(Expendable(wandb, "Weights & Biases", launcher.log))
        reporters = Reporters(*listening)
        try:
            yield reporters, extras
        finally:
            reporters.close()
