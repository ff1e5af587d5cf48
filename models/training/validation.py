"""How good a separator is on the validation tracks: every track from its beginning to its end, as people will hear it.

The loss is that of chunks as in training; it is compared with the training's and decides nothing about a champion.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from data.audio import SAMPLE_RATE, Audio
from data.chunks import Chunk, Row, chunks_in_order, stretch
from models.contest import validation_frame
from models.context import SONGS, STRETCH_SECONDS
from models.losses.functions import Loss
from models.separate import Separator, layout_of, separate_stream
from models.stft import Sound


@dataclass(frozen=True)
class TrackValidation:
    """One track: uSDR in dB (NaN without vocals), and the loss of each of its chunks."""

    track_id: str
    usdr_db: float
    losses: tuple[float, ...]


@dataclass(frozen=True)
class Validation:
    """All tracks of one validation."""

    tracks: tuple[TrackValidation, ...]

    @property
    def loss(self) -> float:
        """Mean over all chunks of all tracks."""
        return float(np.mean([loss for track in self.tracks for loss in track.losses]))

    @property
    def usdr_db(self) -> float:
        """Mean over the tracks with vocals, dB; NaN where no track has any."""
        known = [track.usdr_db for track in self.tracks if not math.isnan(track.usdr_db)]
        return float(np.mean(known)) if known else math.nan

    @property
    def table(self) -> pd.DataFrame:
        """One row a track, with the schema `models.contest.VALIDATION`."""
        return validation_frame({track.track_id: track.usdr_db for track in self.tracks})


def validate(
    separator: Separator, loss: Loss, rows: Sequence[Row], frames: int, batch_size: int
) -> list[TrackValidation]:
    """Every track: its uSDR as `models.separate` separates it, and the loss of its chunks of `frames` frames.

    Chunks are heard `batch_size` at a time, and as many windows as hold no more music than these.
    """
    windows = max(1, batch_size * frames // layout_of(separator.hop, separator.context_seconds).window)
    return [
        TrackValidation(row.track_id, _usdr(separator, row, windows), _losses(separator, loss, row, frames, batch_size))
        for row in rows
    ]


def first_sung_chunk(rows: Sequence[Row], frames: int) -> Chunk | None:
    """The first chunk in which vocals are heard; None where all are silent."""
    return next((chunk for row in rows for chunk in chunks_in_order(row, frames) if chunk.vocals.any()), None)


def middle_stretches(rows: Sequence[Row]) -> list[Audio]:
    """Music `(2, frames)` from the middle of the first tracks, to measure a context on."""
    frames = round(STRETCH_SECONDS * SAMPLE_RATE)
    lengths = [(row, min(frames, row.frames)) for row in rows[:SONGS]]
    return [stretch(row, (row.frames - length) // 2, length).mixture for row, length in lengths]


def _usdr(separator: Separator, row: Row, windows: int) -> float:
    """The uSDR of a whole track in dB; NaN without vocals."""
    signal = error = 0.0
    position = 0
    for estimate in separate_stream(
        separator, lambda start, frames: stretch(row, start, frames).mixture, row.frames, batch=windows
    ):
        vocals = stretch(row, position, estimate.shape[1]).vocals
        signal += float(np.square(vocals, dtype=np.float64).sum())
        error += float(np.square(estimate - vocals, dtype=np.float64).sum())
        position += estimate.shape[1]
    return 10 * math.log10((signal + 1e-7) / (error + 1e-7)) if signal > 0 else math.nan


@torch.inference_mode()
def _losses(separator: Separator, loss: Loss, row: Row, frames: int, batch_size: int) -> tuple[float, ...]:
    network, losses = separator.network, []
    for mixture, vocals in _batches(row, frames, batch_size, separator.device):
        X, Y = (Sound(network.stft, waveform=each) for each in network.without_level(mixture, vocals))
        losses += loss(network.estimate(X), Y, X).tolist()
    return tuple(losses)


def _batches(row: Row, frames: int, batch_size: int, device: torch.device) -> Iterator[tuple[Tensor, Tensor]]:
    """A track's chunks in batches: mixture and vocals `(b, 2, frames)`."""
    chunks = chunks_in_order(row, frames)
    while batch := list(islice(chunks, batch_size)):
        mixture, vocals = (torch.from_numpy(np.stack(each)).to(device) for each in list(zip(*batch, strict=True))[:2])
        yield mixture, vocals
