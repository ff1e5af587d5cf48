"""How far a mixture is from the sum of its stems."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from data.audio import Audio


class StemSum:
    """Compares a mixture with the sum of all its stems, block by block; memory does not grow."""

    def __init__(self) -> None:
        self._mixture = self._common = self._sum = 0.0

    def feed(self, mixture: Audio, stems: Sequence[Audio]) -> None:
        """Take the next block of the mixture, `(channels, frames)`, and of every stem; a stem may end earlier."""
        total = np.zeros_like(mixture)
        for stem in stems:
            overlap = min(stem.shape[1], mixture.shape[1])
            total[:, :overlap] += stem[:, :overlap]
        # A second of float32 products is exact enough; the sum over a track is not.
        x, s = mixture.ravel(), total.ravel()
        self._mixture += float(x @ x)
        self._common += float(x @ s)
        self._sum += float(s @ s)

    def decibels(self) -> float | None:
        """What the mixture holds beyond its stems at the best single gain, in dB of the mixture's energy.

        None where either is silent. Mastering keeps it far from minus infinity.
        """
        if self._mixture == 0.0 or self._sum == 0.0:
            return None
        explained = self._common**2 / (self._sum * self._mixture)
        return round(10.0 * float(np.log10(max(1.0 - explained, 1e-12))), 2)
