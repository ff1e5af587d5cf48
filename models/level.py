"""The level of a sound: what is taken away before a network hears it, and given back to what it gives.

The level is the root mean square over both channels and all frames, 1.0 at full scale. What a network does must not
depend on it: f(g x) = g f(x). Whose level it is, a song's or a chunk's, is decided by `models.separate` and
`models.training`, and the reasons stand in `models.networks.base`.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor

from data.audio import Audio


def level_of(waveforms: Tensor) -> Tensor:
    """The levels `(b, 1, 1)` of waveforms `(b, c, n)`; 0 for silence.

    Measured against the peak: squares of very quiet sounds are no numbers any more in single precision.
    """
    peak = waveforms.abs().amax(dim=(1, 2), keepdim=True)
    against_peak = waveforms / peak.clamp(min=torch.finfo(waveforms.dtype).tiny)
    return peak * against_peak.square().mean(dim=(1, 2), keepdim=True).sqrt()


def at_level_one(waveforms: Tensor, level: Tensor) -> Tensor:
    """Waveforms `(b, c, n)` divided by levels `(b, 1, 1)`; as they are where the level is 0."""
    return waveforms / torch.where(level > 0, level, 1.0)


def level_of_song(pieces: Iterable[Audio]) -> float:
    """The level of a song that comes in pieces `(c, some frames)`, so that it is never in memory as a whole."""
    energy, samples = 0.0, 0
    for piece in pieces:
        energy += float(np.square(piece, dtype=np.float64).sum())
        samples += piece.size
    return float(np.sqrt(energy / samples)) if samples else 0.0
