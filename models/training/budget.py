"""How much of its budget a training has spent, in steps or in time."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from models.candidate import TrainingSettings
from models.training.processes import Processes
from models.training.state import Progressed


class Budget:
    """The budget of a training, and its clock, which goes on where `progressed.seconds` stood."""

    def __init__(
        self, settings: TrainingSettings, progressed: Progressed, processes: Processes, device: torch.device
    ) -> None:
        self.share = 0.0  # spent, when it was asked for last
        self._steps, self._minutes = settings.steps, settings.minutes
        self._progressed, self._processes, self._device = progressed, processes, device
        self._began = time.monotonic() - progressed.seconds
        self._validation_seconds = 0.0

    def spent(self) -> float:
        """The share that is spent, in steps or in time, whichever is more; all processes ask, and agree on it."""
        self._tick()
        self.share = self._progressed.step / self._steps
        if self._minutes is not None:
            # Validation is part of the budget, also the one that is still to come.
            time_share = self._progressed.seconds / max(60 * self._minutes - self._validation_seconds, 1e-9)
            self.share = max(self.share, self._processes.agreed(time_share, self._device))
        return self.share

    @contextmanager
    def validating(self) -> Iterator[None]:
        """What is done inside is a validation; the next one will take as long."""
        began = time.monotonic()
        yield
        self._validation_seconds = time.monotonic() - began
        self._tick()

    def _tick(self) -> None:
        self._progressed.seconds = time.monotonic() - self._began
