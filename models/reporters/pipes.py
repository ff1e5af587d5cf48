"""A training as Dagster sees it: lines in the run's log, and a message per epoch, through Dagster Pipes."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from data.audio import Audio
from models.progress import Progress, RunStart, epoch_line, progress_line, start_line
from models.reporters.thinning import line_pace

if TYPE_CHECKING:
    from dagster_pipes import PipesContext


class PipesReporter:
    """Progress as log lines of the Dagster run; each epoch also as a message with its row and the curves so far."""

    def __init__(self, pipes: PipesContext) -> None:
        self._pipes = pipes
        self._pace = line_pace()

    def start(self, run: RunStart) -> None:
        self.log(start_line(run))

    def log(self, line: str) -> None:
        self._pipes.log.info(line)

    def progress(self, progress: Progress) -> None:
        if self._pace.due(progress.seconds):
            self.log(progress_line(progress))

    def epoch(self, row: Mapping[str, Any], curves_png: bytes) -> None:
        self.log(epoch_line(row))
        # JSON has no NaN.
        finite = {key: value if math.isfinite(value) else None for key, value in row.items()}
        picture = base64.b64encode(curves_png).decode()
        self._pipes.report_custom_message({"epoch": finite, "curves_png": picture})

    def audio(self, step: int, sounds: Mapping[str, Audio]) -> None:
        pass

    def close(self) -> None:
        pass
