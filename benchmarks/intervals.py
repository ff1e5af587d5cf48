"""Intervals for separators that were trained several times: over the seeds of training and the tracks, both at once.

What a score is stands in `models.evaluate`, and there the comparison of two trained separators.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 10_000

Scores = NDArray[np.float64]  # (seeds, tracks), dB


@dataclass(frozen=True)
class Interval:
    """A mean in dB with its 95 % bootstrap interval."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.mean:.2f} [{self.low:.2f}, {self.high:.2f}]"


def interval(scores: Scores, seed: int = 0) -> Interval:
    """Mean of `scores (seeds, tracks)` in dB, with the interval that other seeds and other tracks would give.

    Every seed was scored on the same tracks, so both are drawn with replacement and crossed, as in Owen, "The
    pigeonhole bootstrap" (2007): drawing cells one by one would take three trainings for three times as many tracks.
    For a difference of two separators pass the differences: that pairs them by seed and track. Raises ValueError
    without a score, or where one is not finite.
    """
    if scores.ndim != 2 or not scores.size or not np.isfinite(scores).all():
        raise ValueError(f"finite scores of shape (seeds, tracks) are needed, found shape {scores.shape}")
    random = np.random.default_rng(seed)
    seeds, tracks = scores.shape
    # How often each seed and each track is drawn, as shares: a mean over drawn rows and columns is a bilinear form.
    rows = random.multinomial(seeds, np.full(seeds, 1 / seeds), RESAMPLES) / seeds
    columns = random.multinomial(tracks, np.full(tracks, 1 / tracks), RESAMPLES) / tracks
    means = np.einsum("rs,st,rt->r", rows, scores, columns, optimize=True)
    low, high = np.quantile(means, [0.025, 0.975])
    return Interval(float(scores.mean()), float(low), float(high))
