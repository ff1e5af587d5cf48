"""Training a candidate: `train` is the way in; `loop` tells how the parts of this package play together."""

from models.training.loop import train
from models.training.results import (
    CHECKPOINT_FILE,
    CURVES_FILE,
    PICTURE_FILE,
    Provenance,
    TrainingResult,
)

__all__ = [
    "CHECKPOINT_FILE",
    "CURVES_FILE",
    "PICTURE_FILE",
    "Provenance",
    "TrainingResult",
    "train",
]
