"""The report's network grown up: a pre-FC for every band, LSTMs along time and along bands, a complex mask.

    mixture (b, 2, n) -> STFT (b, c, f, t) -> bands -> pre-FC per band (k, b, t, d)
        -> blocks of (LSTM along t, LSTM along k) -> FC per band -> complex mask (b, c, f, t) -> iSTFT

The report mixes all bins in one pre-FC and remembers along time only. Here each band has a pre-FC and an FC of its
own, small because the band is narrow, and one LSTM is shared by all bands; a second one runs along the bands, so that
they know of each other. The idea is that of the band-split RNN (Luo and Yu, "Music Source Separation with Band-Split
RNN", 2022).

Axes: b batch, c channel, f frequency bin, k band, w bin within its band, t time-step, d feature, h halves of a complex
number (2). Bands come first, so that the per-band layers are one batched product for all bands of equal width and the
LSTM along bands needs no copy.

Its sizes are explained in `models.networks.bandsplit.settings`.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from data.audio import CHANNELS
from models.networks.bands import BandGroup, band_groups
from models.networks.bandsplit.settings import BandSplitSettings
from models.networks.base import Network
from models.networks.layers import TINY, complex_mask
from models.section import StftSettings
from models.stft import Sound


class BandSplitNetwork(Network):
    """Band-split network, every size a setting."""

    def __init__(self, stft: StftSettings, settings: BandSplitSettings) -> None:
        super().__init__(stft)
        self.settings = settings
        self.groups = band_groups(settings.bands, self.stft.size)
        self.pre_fc = nn.ModuleList(_PreFC(group, settings.features) for group in self.groups)
        self.blocks = nn.Sequential(*(_Block(settings.features, settings.lstm_hidden) for _ in range(settings.blocks)))
        self.fc = nn.ModuleList(_FC(group, settings.features, settings.mask_hidden) for group in self.groups)

    def estimate(self, mixture: Sound) -> Sound:
        spectrum = self.predict(mixture.spectrum)
        return Sound(self.stft, spectrum=spectrum, samples=mixture.samples)

    def predict(self, X: Tensor) -> Tensor:
        """Spectrum of the mixture `(b, c, f, t)` complex -> spectrum of the vocals, same shape."""
        halves = torch.view_as_real(X).permute(2, 0, 3, 1, 4)  # (f, b, t, c, h)
        bands = torch.cat([fc(halves[group.bins]) for group, fc in zip(self.groups, self.pre_fc, strict=True)])
        bands = self.blocks(bands)  # (k, b, t, d)
        parts = bands.split([group.count for group in self.groups])
        output = torch.cat([fc(part) for fc, part in zip(self.fc, parts, strict=True)])  # (f, b, t, c, h)
        real, imag = output.permute(4, 1, 3, 0, 2)  # each (b, c, f, t)
        return X * complex_mask(real, imag, self.settings.mask_bound)


class _PerBand(nn.Module):
    """A linear layer for each of k bands: `(k, b, t, i)` -> `(k, b, t, o)`."""

    def __init__(self, bands: int, before: int, after: int) -> None:
        super().__init__()
        reach = 1 / math.sqrt(before)
        self.weight = nn.Parameter(torch.empty(bands, before, after).uniform_(-reach, reach))
        self.bias = nn.Parameter(torch.zeros(bands, 1, after))

    def forward(self, x: Tensor) -> Tensor:
        return torch.baddbmm(self.bias, x.flatten(1, 2), self.weight).unflatten(1, x.shape[1:3])


class _PreFC(nn.Module):
    """Bins of a group `(k w, b, t, c, h)` -> features of its bands `(k, b, t, d)`."""

    def __init__(self, group: BandGroup, features: int) -> None:
        super().__init__()
        self.group = group
        self.linear = _PerBand(group.count, group.width * CHANNELS * 2, features)

    def forward(self, halves: Tensor) -> Tensor:
        bands = halves.unflatten(0, (self.group.count, self.group.width))  # (k, w, b, t, c, h)
        numbers = bands.permute(0, 2, 3, 1, 4, 5).flatten(3)  # (k, b, t, w c h)
        # One level for a band's whole excerpt: treble weighs as much as bass, and loud steps still differ from quiet.
        energy = numbers.square().mean(dim=(2, 3), keepdim=True)
        return self.linear(numbers * (energy + TINY).rsqrt())


class _Block(nn.Module):
    """Memory along time, the same for all bands, then along bands, the same for all time-steps: `(k, b, t, d)`."""

    def __init__(self, features: int, hidden: int) -> None:
        super().__init__()
        self.along_time = _Memory(features, hidden)
        self.along_bands = _Memory(features, hidden)

    def forward(self, bands: Tensor) -> Tensor:
        k, b, t, _ = bands.shape
        steps = bands.permute(2, 0, 1, 3).flatten(1, 2)  # (t, k b, d)
        bands = self.along_time(steps).unflatten(1, (k, b)).permute(1, 2, 0, 3)
        return self.along_bands(bands.flatten(1, 2)).unflatten(1, (b, t))  # (k, b t, d) -> (k, b, t, d)


class _Memory(nn.Module):
    """What an LSTM in both directions adds to sequences `(steps, sequences, d)`."""

    def __init__(self, features: int, hidden: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(features)
        self.lstm = nn.LSTM(features, hidden, bidirectional=True)
        self.linear = nn.Linear(2 * hidden, features)

    def forward(self, steps: Tensor) -> Tensor:
        remembered, _ = self.lstm(self.norm(steps))
        return steps + self.linear(remembered)


class _FC(nn.Module):
    """Features of a group's bands `(k, b, t, d)` -> halves of the mask for its bins `(k w, b, t, c, h)`."""

    def __init__(self, group: BandGroup, features: int, hidden: int) -> None:
        super().__init__()
        self.group = group
        width = group.width * CHANNELS * 2
        self.norm = nn.LayerNorm(features)
        self.hidden = _PerBand(group.count, features, hidden)
        self.output = _PerBand(group.count, hidden, 2 * width)
        # The gates begin half open: with a real half of one, training starts from half the mixture.
        with torch.no_grad():
            self.output.bias[..., :width:2] = 1.0

    def forward(self, bands: Tensor) -> Tensor:
        numbers = nn.functional.glu(self.output(torch.tanh(self.hidden(self.norm(bands)))), dim=-1)
        mask = numbers.unflatten(-1, (self.group.width, CHANNELS, 2))  # (k, b, t, w, c, h)
        return mask.permute(0, 3, 1, 2, 4, 5).flatten(0, 1)
