"""What is heard of the training set before the first step: its statistics, and whether anybody sings in it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from data.chunks import VOCALS, Chunk, Row
from data.errors import InputError
from models.candidate import TrainingSettings
from models.training.batches import STATISTICS, Streamed
from models.training.validation import first_sung_chunk

STATISTICS_BATCHES = 8  # batches that the input statistics are computed from
SILENT_BATCHES = 64  # without a voice in so many batches, there is none to learn from


def first_mixtures(settings: TrainingSettings, rows: Sequence[Row], frames: int) -> Iterator[Tensor]:
    """Batches of training mixtures `(b, c, n)` that no step hears, the same in every process."""
    batches = Streamed(rows, frames, settings, torch.device("cpu"), slice(None))
    for number in range(STATISTICS_BATCHES):
        yield batches.read(batches.draw(number, STATISTICS)).sum(dim=1)


def audible_chunk(
    settings: TrainingSettings, rows: Sequence[Row], validation_rows: Sequence[Row], frames: int
) -> Chunk:
    """A validation chunk in which vocals are heard. Raises InputError where there is none there or in training."""
    batches = Streamed(rows, frames, settings, torch.device("cpu"), slice(None))
    draws = (batches.draw(number, STATISTICS) for number in range(SILENT_BATCHES))
    if not any(batches.read(draw)[:, VOCALS].any() for draw in draws):
        raise _silent("train", f"silence in {SILENT_BATCHES * settings.batch_size} chunks drawn at random")
    example = first_sung_chunk(validation_rows, frames)
    if example is None:
        raise _silent("validation", f"silence in all {len(validation_rows)} tracks")
    return example


def _silent(split: str, found: str) -> InputError:
    return InputError(
        f"{split} set",
        expected="vocals that can be heard",
        found=found,
        remedy="look at the tracks' vocals in training_set/manifest (column vocal_activity): are the right stems used?",
    )
