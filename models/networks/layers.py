"""Layers and functions that more than one network is built from.

What one network alone needs stands in its own module.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

TINY = 1e-8  # energy below which a sound counts as silent; keeps divisions and their gradients finite


def complex_mask(real: Tensor, imag: Tensor, bound: float | None) -> Tensor:
    """The complex mask with these halves; its modulus is squeezed below `bound` (tanh), or left as it is."""
    real, imag = real.float(), imag.float()  # there are no complex numbers of lower precision
    if bound is None:
        return torch.complex(real, imag)
    size = (real.square() + imag.square() + TINY).sqrt()
    squeeze = bound * torch.tanh(size) / size
    return torch.complex(real * squeeze, imag * squeeze)


class StepBatchNorm(nn.BatchNorm1d):
    """Batch normalisation of features `(b, t, d)` over batch and time-steps."""

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input.flatten(0, 1)).view_as(input)
