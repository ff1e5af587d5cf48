"""Open-Unmix's network, a peer to be trained by the same trainer on the same data.

    mixture (b, 2, n) -> STFT -> magnitudes up to a bandwidth (b, t, c f') -> FC -> LSTM -> FC, FC -> mask -> iSTFT

Written from its description (Stöter, Uhlich, Liutkus and Mitsufuji, "Open-Unmix - A Reference Implementation for Music
Source Separation", JOSS 2019). No weights are taken over; they are learnt here from the start.

Axes: b batch, c channel, f frequency bin, f' bin below the bandwidth, t time-step, d feature.

Its sizes are explained in `models.networks.openunmix.settings`.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from data.audio import CHANNELS, SAMPLE_RATE
from models.networks.base import Network
from models.networks.layers import StepBatchNorm
from models.networks.openunmix.settings import OpenUnmixSettings
from models.section import StftSettings
from models.stft import Sound


class OpenUnmixNetwork(Network):
    """Open-Unmix's network: a mask for the magnitudes; the phase is the mixture's."""

    def __init__(self, stft: StftSettings, settings: OpenUnmixSettings) -> None:
        super().__init__(stft)
        bins, hidden = self.stft.bins, settings.hidden
        self.seen_bins = min(bins, int(settings.bandwidth_hz * self.stft.size / SAMPLE_RATE) + 1)
        # Per bin, shared by the channels; they start from statistics of the data and are learnt like any weight.
        self.input_mean = nn.Parameter(torch.zeros(self.seen_bins))
        self.input_scale = nn.Parameter(torch.ones(self.seen_bins))
        self.fc1 = nn.Linear(CHANNELS * self.seen_bins, hidden, bias=False)
        self.norm1 = StepBatchNorm(hidden)
        self.lstm = nn.LSTM(
            hidden,
            hidden // 2 if settings.bidirectional else hidden,
            settings.lstm_layers,
            bidirectional=settings.bidirectional,
            dropout=settings.dropout if settings.lstm_layers > 1 else 0.0,
            batch_first=True,
        )
        self.fc2 = nn.Linear(2 * hidden, hidden, bias=False)
        self.norm2 = StepBatchNorm(hidden)
        self.fc3 = nn.Linear(hidden, CHANNELS * bins, bias=False)
        self.norm3 = StepBatchNorm(CHANNELS * bins)
        self.output_scale = nn.Parameter(torch.ones(bins))
        self.output_mean = nn.Parameter(torch.ones(bins))

    def estimate(self, mixture: Sound) -> Sound:
        spectrum = self.predict(mixture.spectrum)
        return Sound(self.stft, spectrum=spectrum, samples=mixture.samples)

    def predict(self, X: Tensor) -> Tensor:
        """Spectrum of the mixture `(b, c, f, t)` complex -> spectrum of the vocals, same shape."""
        seen = self._seen(X)  # (b, t, c, f')
        inputs = ((seen - self.input_mean) * self.input_scale).flatten(2)
        mixed = torch.tanh(self.norm1(self.fc1(inputs)))  # (b, t, d)
        remembered, _ = self.lstm(mixed)
        hidden = torch.relu(self.norm2(self.fc2(torch.cat([mixed, remembered], dim=-1))))
        output = self.norm3(self.fc3(hidden)).unflatten(-1, (CHANNELS, self.stft.bins))  # (b, t, c, f)
        mask = torch.relu(output * self.output_scale + self.output_mean)
        return X * mask.permute(0, 2, 3, 1)

    @torch.no_grad()
    def fit(self, mixtures: Iterable[Tensor]) -> None:
        count = 0
        total = torch.zeros_like(self.input_mean, dtype=torch.float64)
        squares = torch.zeros_like(total)
        for batch in mixtures:
            seen = self._seen(self.stft(batch)).double()
            count += seen[..., 0].numel()
            total += seen.sum(dim=(0, 1, 2))
            squares += seen.square().sum(dim=(0, 1, 2))
        mean = total / count
        deviation = (squares / count - mean.square()).clamp(min=0).sqrt()
        # Bins that are always silent (above an encoder's cut-off) must not be blown up to unit variance.
        deviation = deviation.clamp(min=max(1e-4 * float(deviation.max()), 1e-6))
        self.input_mean.copy_(mean)
        self.input_scale.copy_(1 / deviation)

    def _seen(self, X: Tensor) -> Tensor:
        """Magnitudes `(b, t, c, f')` of a spectrum `(b, c, f, t)`."""
        return X[..., : self.seen_bins, :].abs().permute(0, 3, 1, 2)
