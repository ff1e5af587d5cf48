"""Noisy versions of each input, made on the fly (report, section X, "Noise Generation").

N white Gaussian noise profiles for each of M signal-to-noise ratios give N * M extra inputs per input with the same
target; the generator moves on with every batch, so that no two batches or epochs share a noise.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def noisy_copies(mixture: Tensor, profiles: int, snrs_db: Sequence[float], generator: torch.Generator) -> Tensor:
    """`mixture (b, c, n)` and its noisy versions: `(b * (1 + profiles * len(snrs_db)), c, n)`, originals first.

    Each example's noise has the power of its own signal, over all channels, less the SNR in dB; silence stays silent.
    The noise is drawn on the generator's device, which must be the mixture's.
    """
    power = mixture.square().mean(dim=(1, 2), keepdim=True)
    versions = [mixture]
    for snr_db in snrs_db:
        level = (power * 10 ** (-snr_db / 10)).sqrt()
        for _ in range(profiles):
            noise = torch.randn(mixture.shape, generator=generator, device=mixture.device, dtype=mixture.dtype)
            versions.append(mixture + level * noise)
    return torch.cat(versions)


def repeated(target: Tensor, profiles: int, snrs_db: Sequence[float]) -> Tensor:
    """`target (b, c, n)` once for each version that `noisy_copies` makes, in the same order."""
    return target.repeat(1 + profiles * len(snrs_db), 1, 1)
