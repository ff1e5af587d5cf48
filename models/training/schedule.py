"""The learning rate of each step, and when training has gone on for long enough.

Both follow from what has been done so far, which the loss curves hold: nothing here has a state of its own.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from models.candidate import CosineSettings, PlateauSettings, TrainingSettings


def learning_rate_at(step: int, settings: TrainingSettings, progress: float, qualities: Sequence[float] = ()) -> float:
    """The learning rate of step `step` (from 0): linear warm-up, times what the schedule says.

    `progress` is the share of the budget that is spent, 0 to 1; `qualities` are those of the epochs so far, for the
    plateau.
    """
    rate = settings.learning_rate * min(1.0, (step + 1) / (settings.warmup_steps + 1))
    match settings.schedule:
        case CosineSettings():
            rate *= 0.5 * (1 + math.cos(math.pi * min(max(progress, 0.0), 1.0)))
        case PlateauSettings(epochs=epochs, factor=factor):
            rate *= factor ** plateaus(qualities, epochs)
    return rate


def plateaus(qualities: Sequence[float], epochs: int) -> int:
    """How often `epochs` epochs in a row were no better than the best before them; `qualities`: higher is better."""
    best, waited, count = -math.inf, 0, 0
    for quality in qualities:
        if quality > best:
            best, waited = quality, 0
        else:
            waited += 1
            if waited == epochs:
                count, waited = count + 1, 0
    return count


def epochs_without_progress(qualities: Sequence[float]) -> int:
    """How many epochs have passed since the best one; `qualities`: higher is better."""
    if not qualities:
        return 0
    return len(qualities) - 1 - qualities.index(max(qualities))
