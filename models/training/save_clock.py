"""When the state of a training is saved."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

SECONDS_BETWEEN_SAVES = 60.0
SAVING_SHARE = 0.01  # of the time, at most, goes into saving states


class SaveClock:
    """Every `every_s` seconds; by default every minute, or less often where that would cost time.

    Large networks on slow disks rather save less than train less.
    """

    def __init__(self, every_s: float | None = None) -> None:
        self._adapts = every_s is None
        self._every_s = SECONDS_BETWEEN_SAVES if every_s is None else every_s
        self._saved = time.monotonic()

    @property
    def due(self) -> bool:
        return time.monotonic() - self._saved >= self._every_s

    @contextmanager
    def saving(self) -> Iterator[None]:
        """What is done inside is saving."""
        began = time.monotonic()
        yield
        self._saved = time.monotonic()
        if self._adapts:
            self._every_s = max(SECONDS_BETWEEN_SAVES, (self._saved - began) / SAVING_SHARE)
