"""The short-time Fourier transform with exact reconstruction, and a sound seen from both of its sides.

Everything that goes between waveforms and spectra goes through here. What is done to a spectrum does not belong here.

Axes: b batch, c channel, n sample, f frequency bin, t time-step (frame).
"""

from __future__ import annotations

from functools import cached_property

import torch
from torch import Tensor, nn

from models.section import StftSettings


class STFT(nn.Module):
    """STFT with a periodic Hann window, scaled so that a frame's energy is that of its windowed samples.

    Reconstruction is exact up to rounding for every length of at least one sample, edges included: the signal is
    padded with zeros so that every sample lies between the centres of two frames.
    """

    window: Tensor

    def __init__(self, settings: StftSettings) -> None:
        super().__init__()
        self.size, self.hop = settings.window, settings.hop
        self.bins = self.size // 2 + 1
        self.register_buffer("window", torch.hann_window(self.size), persistent=False)

    def frames(self, samples: int) -> int:
        """The number of time-steps of a signal of `samples` samples; step t is centred on sample t * hop."""
        return -(-samples // self.hop) + 1

    def forward(self, waveform: Tensor) -> Tensor:
        """`waveform (b, c, n)` real -> `(b, c, f, t)` complex."""
        n = waveform.shape[-1]
        return self.transform(nn.functional.pad(waveform, (0, (self.frames(n) - 1) * self.hop - n)))

    def transform(self, waveform: Tensor) -> Tensor:
        """`forward` of a waveform that is whole hops long."""
        b, c, n = waveform.shape
        spectrum = torch.stft(
            waveform.reshape(b * c, n),
            self.size,
            self.hop,
            window=self.window,
            center=True,
            pad_mode="constant",
            normalized=True,
            return_complex=True,
        )
        return spectrum.reshape(b, c, self.bins, -1)

    def inverse(self, spectrum: Tensor, samples: int) -> Tensor:
        """`spectrum (b, c, f, t)` complex -> `(b, c, samples)` real; t must be `frames(samples)`."""
        b, c, f, t = spectrum.shape
        whole = torch.istft(
            spectrum.reshape(b * c, f, t),
            self.size,
            self.hop,
            window=self.window,
            center=True,
            normalized=True,
            length=(t - 1) * self.hop,
        )
        return whole.reshape(b, c, -1)[..., :samples]


class Sound:
    """A batch of sounds that can be asked for as waveform `(b, c, n)` or as spectrum `(b, c, f, t)`.

    Each side is computed from the other when first asked for: a loss on spectra never pays for an inverse STFT, and
    one on waveforms works with networks that have no spectrum.
    """

    def __init__(self, stft: STFT, *, waveform: Tensor | None = None, spectrum: Tensor | None = None, samples: int = 0):
        self._stft = stft
        if waveform is not None:
            self.waveform = waveform
            self.samples = waveform.shape[-1]
        elif spectrum is not None:
            self.spectrum = spectrum
            self.samples = samples
        else:
            raise ValueError("a sound needs a waveform, or a spectrum and a number of samples")

    @cached_property
    def waveform(self) -> Tensor:
        return self._stft.inverse(self.spectrum, self.samples)

    @cached_property
    def spectrum(self) -> Tensor:
        return self._stft(self.waveform)

    @cached_property
    def vectors(self) -> Tensor:
        """The spectrum as real vectors of 2F per channel and time-step: `(b, c, t, 2f)`, real half, imaginary half."""
        steps = self.spectrum.transpose(-1, -2)
        return torch.cat([steps.real, steps.imag], dim=-1)
