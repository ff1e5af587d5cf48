"""Looking at steps now and then: which of them counted, how fast they are, and telling of it.

Steps leave loss and gradient on the device, for each look waits until it has done all of them.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from models.candidate import Candidate
from models.progress import Progress, Reporter
from models.training.budget import Budget
from models.training.faults import require_few_skipped
from models.training.state import Progressed

SECONDS_BETWEEN_LOOKS = 1.0


class Watch:
    """Counts the steps of a training into `progressed`, and tells `reporter`.

    `counts` says of a loss and a gradient norm whether theirs was a step, as `Engine.counts` does.
    """

    def __init__(
        self,
        candidate: Candidate,
        progressed: Progressed,
        budget: Budget,
        counts: Callable[[float, float], bool],
        reporter: Reporter,
    ) -> None:
        self._candidate, self._progressed, self._budget = candidate, progressed, budget
        self._counts, self._reporter = counts, reporter
        self._unseen: list[Tensor] = []  # loss and gradient norm of steps that nobody has looked at yet
        self.begin()

    def begin(self) -> None:
        """What comes now is timed anew: what went before were no steps."""
        self._looked, self._looked_at, self._waited = time.monotonic(), self._progressed.step, 0.0

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """What is done inside is waiting for data."""
        began = time.monotonic()
        yield
        self._waited += time.monotonic() - began

    def saw(self, step: Tensor) -> None:
        """Loss and gradient norm `(2,)` of a step, to be looked at later."""
        self._unseen.append(step)

    @property
    def due(self) -> bool:
        return time.monotonic() - self._looked >= SECONDS_BETWEEN_LOOKS

    def look(self) -> None:
        """Look at the steps since the last look: count those that were skipped, and tell of the others.

        Raises InputError where more were skipped than the candidate allows.
        """
        if not self._unseen:
            return
        progressed = self._progressed
        loss = norm = math.nan
        for loss, norm in torch.stack(self._unseen).tolist():
            if self._counts(loss, norm):
                progressed.losses.append(loss)
                progressed.moved = progressed.moved or norm > 0
            else:
                progressed.skipped += 1
        self._unseen.clear()
        require_few_skipped(self._candidate, progressed, loss, norm)
        self._tell(loss, norm)

    def _tell(self, loss: float, norm: float) -> None:
        settings, progressed, now = self._candidate.training, self._progressed, time.monotonic()
        passed, steps = max(now - self._looked, 1e-9), progressed.step - self._looked_at
        # Not asked anew: looks come when a process's own clock says so, and asking is for all processes at once.
        spent = max(self._budget.share, 1e-9)
        expected = max(progressed.step, round(progressed.step / spent))  # fewer than planned where time is the budget
        self._reporter.progress(
            Progress(
                epoch=progressed.epoch,
                epochs=-(-expected // settings.steps_per_epoch),
                step=progressed.step,
                steps=expected,
                loss=loss,
                learning_rate=progressed.learning_rate,
                gradient_norm=norm,
                examples_per_second=steps * settings.batch_size / passed,
                waiting_share=self._waited / passed,
                skipped=sum(row["skipped"] for row in progressed.curves) + progressed.skipped,
                seconds=progressed.seconds,
                seconds_left=progressed.seconds * max(1 / spent - 1, 0.0),
            )
        )
        self._looked, self._looked_at, self._waited = now, progressed.step, 0.0
