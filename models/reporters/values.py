"""What is drawn as curves: the values of a training under the names they have in TensorBoard and Weights & Biases."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from models.progress import Progress


def progress_values(progress: Progress) -> dict[str, float]:
    """The finite values of a step, by name."""
    return _finite(
        {
            "train/loss": progress.loss,
            "train/learning_rate": progress.learning_rate,
            "train/gradient_norm": progress.gradient_norm,
            "train/examples_per_second": progress.examples_per_second,
            "train/waiting_share": progress.waiting_share,
            "train/skipped_steps": progress.skipped,
        }
    )


def epoch_values(row: Mapping[str, Any]) -> dict[str, float]:
    """The finite values of an epoch, by name; `row` has the columns CURVES."""
    return _finite(
        {
            "train/loss_of_epoch": row["train_loss"],
            "validation/loss": row["validation_loss"],
            "validation/usdr_db": row["validation_usdr_db"],
        }
    )


def _finite(values: Mapping[str, float]) -> dict[str, float]:
    # A curve with a gap says that there was no value; NaN would stretch or hide the rest.
    return {name: float(value) for name, value in values.items() if math.isfinite(value)}
