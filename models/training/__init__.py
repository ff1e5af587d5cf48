"""Training a candidate: `train` is the way in; `loop` tells how the parts of this package play together."""

from models.training.loop import train
from models.training.results import Provenance, TrainingResult

__all__ = ["Provenance", "TrainingResult", "train"]
