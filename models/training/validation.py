"""How good a network is on the validation tracks while it trains: every track from its beginning to its end."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from data.chunks import Chunk, Row, chunks_in_order
from models.contest import validation_frame
from models.losses import Loss
from models.networks.base import Network
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


@torch.inference_mode()
def validate(
    network: Network, loss: Loss, rows: Sequence[Row], frames: int, batch_size: int, device: torch.device
) -> list[TrackValidation]:
    """Every track in chunks of `frames` frames, `batch_size` of them at a time."""
    return [_track(network, loss, row, frames, batch_size, device) for row in rows]


def first_sung_chunk(rows: Sequence[Row], frames: int) -> Chunk | None:
    """The first chunk in which vocals are heard; None where all are silent."""
    return next((chunk for row in rows for chunk in chunks_in_order(row, frames) if chunk.vocals.any()), None)


def _track(
    network: Network, loss: Loss, row: Row, frames: int, batch_size: int, device: torch.device
) -> TrackValidation:
    losses: list[float] = []
    signal = error = 0.0
    for mixture, vocals, lengths in _batches(row, frames, batch_size, device):
        X, Y = (Sound(network.stft, waveform=waveform) for waveform in (mixture, vocals))
        estimate = network.estimate(X)
        losses += loss(estimate, Y, X).tolist()
        heard = torch.arange(frames, device=device) < lengths[:, None, None]
        apart = (network.finish(estimate, X) - vocals) * heard
        # Float64 is unknown to some devices: sums of a chunk are exact enough, those of a track are not.
        signal += math.fsum(vocals.square().sum(dim=(1, 2)).tolist())
        error += math.fsum(apart.square().sum(dim=(1, 2)).tolist())
    usdr = 10 * math.log10((signal + 1e-7) / (error + 1e-7)) if signal > 0 else math.nan
    return TrackValidation(row.track_id, usdr, tuple(losses))


def _batches(row: Row, frames: int, batch_size: int, device: torch.device) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """A track's chunks in batches: mixture and vocals `(b, 2, frames)`, and how many frames of each are real."""
    chunks = chunks_in_order(row, frames)
    while batch := list(islice(chunks, batch_size)):
        mixture, vocals = (torch.from_numpy(np.stack(each)).to(device) for each in list(zip(*batch, strict=True))[:2])
        yield mixture, vocals, torch.tensor([chunk.length for chunk in batch], device=device)
