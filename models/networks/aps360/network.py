"""The report's network: awareness, pre-FC, LSTM, three-layer FC (report, section IV).

    mixture (b, 2, n) -> STFT -> features (b', t, d) -> awareness -> pre-FC -> LSTM -> FC -> spectrum or mask -> iSTFT

Axes: b batch, c channel, g channels seen together (1 or c), b' = b * c / g, f frequency bin, t time-step, d feature,
h halves of a number (real and imaginary: 2; magnitude: 1).

Its sizes are explained in `models.networks.aps360.settings`.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

import torch
from torch import Tensor, nn

from data.audio import CHANNELS, SAMPLE_RATE
from models.networks.aps360.settings import APS360Settings
from models.networks.base import Network
from models.networks.layers import TINY, StepBatchNorm, complex_mask
from models.section import StftSettings
from models.stft import Sound


class APS360Network(Network):
    """The report's network, every size a setting."""

    mean: Tensor
    scale: Tensor
    output_scale: Tensor

    def __init__(self, stft: StftSettings, settings: APS360Settings) -> None:
        super().__init__(stft)
        self.settings = settings
        bins = self.stft.bins
        self.seen_bins = bins
        if settings.bandwidth_hz is not None:
            self.seen_bins = min(bins, int(settings.bandwidth_hz * self.stft.size / SAMPLE_RATE) + 1)
        self.group = CHANNELS if settings.channels == "together" else 1
        halves_in = 2 if settings.input == "complex" else 1
        halves_out = 1 if settings.output == "mask" else 2

        # Statistics are per bin: shared by the channels, and by the two halves of a complex bin.
        self.register_buffer("mean", torch.zeros(self.seen_bins))
        self.register_buffer("scale", torch.ones(self.seen_bins))
        self.register_buffer("output_scale", torch.ones(bins))

        width = self.group * halves_in * self.seen_bins * (2 * settings.awareness + 1)
        self.pre_fc = _hidden_layers([width, *settings.pre_fc], settings.norm)
        width = settings.pre_fc[-1] if settings.pre_fc else width
        self.lstm = nn.LSTM(
            width,
            settings.lstm_hidden,
            settings.lstm_layers,
            bidirectional=settings.bidirectional,
            batch_first=True,
        )
        remembered = settings.lstm_hidden * (2 if settings.bidirectional else 1)
        widths = [remembered + (width if settings.skip else 0), *settings.fc]
        self.fc = nn.Sequential(
            _hidden_layers(widths, settings.norm), nn.Linear(widths[-1], self.group * halves_out * bins)
        )

    def estimate(self, mixture: Sound) -> Sound:
        spectrum = self.predict(mixture.spectrum)
        return Sound(self.stft, spectrum=spectrum, samples=mixture.samples)

    def predict(self, X: Tensor) -> Tensor:
        """Spectrum of the mixture `(b, c, f, t)` complex -> spectrum of the vocals, same shape.

        With one direction, step t of the result depends on the steps up to t + awareness only.
        """
        grouped = X.reshape(-1, self.group, *X.shape[2:])  # (b', g, f, t)
        features = (self._features(grouped) - self.mean) / self.scale  # (b', g, t, h, f)
        inputs = features.transpose(1, 2).flatten(2)  # (b', t, d)
        mixed = self.pre_fc(aware(inputs, self.settings.awareness))
        remembered, _ = self.lstm(mixed)
        output = self.fc(torch.cat([remembered, mixed], dim=-1) if self.settings.skip else remembered)
        output = output.unflatten(-1, (self.group, -1, self.stft.bins)).permute(0, 2, 4, 3, 1)  # (b', g, f, h, t)
        return self._applied(output, grouped).reshape(X.shape)

    def finish(self, estimate: Sound, mixture: Sound) -> Tensor:
        if self.settings.gain == "none":
            return estimate.waveform
        P, X = estimate.spectrum, mixture.spectrum
        inner = (P.real * X.real + P.imag * X.imag).sum(dim=-2, keepdim=True)
        energy = (P.real.square() + P.imag.square()).sum(dim=-2, keepdim=True)
        # A prediction that points away from the mixture means "no vocals here", not vocals of opposite sign.
        gain = inner.clamp(min=0) / (energy + TINY)
        return self.stft.inverse(gain * P, mixture.samples)

    @torch.no_grad()
    def fit(self, mixtures: Iterable[Tensor]) -> None:
        if not self.settings.standardise:
            return
        count = 0
        total = torch.zeros_like(self.mean, dtype=torch.float64)
        squares = torch.zeros_like(total)
        energy = torch.zeros_like(self.output_scale, dtype=torch.float64)
        for batch in mixtures:
            X = self.stft(batch)
            features = self._features(X).double()
            count += features[..., 0].numel()
            total += features.sum(dim=(0, 1, 2, 3))
            squares += features.square().sum(dim=(0, 1, 2, 3))
            energy += X.abs().double().square().mean(dim=(0, 1, 3))
        mean = total / count
        deviation = (squares / count - mean.square()).clamp(min=0).sqrt()
        # Bins that are always silent (above an encoder's cut-off) must not be blown up to unit variance.
        self.mean.copy_(mean if self.settings.input != "complex" else torch.zeros_like(mean))
        self.scale.copy_(deviation.clamp(min=max(1e-3 * float(deviation.max()), 1e-6)))
        level = energy.sqrt()
        self.output_scale.copy_((level / level.max().clamp(min=1e-12)).clamp(min=1e-3))

    def _features(self, X: Tensor) -> Tensor:
        """`(b, c, f, t)` complex -> `(b, c, t, h, f)` real, the seen bins only."""
        seen = X[..., : self.seen_bins, :].transpose(-1, -2)
        if self.settings.input == "complex":
            return torch.stack([seen.real, seen.imag], dim=-2)
        magnitude = seen.abs()
        if self.settings.input == "log_magnitude":
            magnitude = (magnitude + 1e-4).log()
        return magnitude.unsqueeze(-2)

    def _applied(self, output: Tensor, X: Tensor) -> Tensor:
        """The last layer's `output (b', g, f, h, t)` as the vocals' spectrum, `(b', g, f, t)` like the mixture's X."""
        if self.settings.output == "spectrum":
            spectrum = torch.complex(output[..., 0, :].float(), output[..., 1, :].float())
            return spectrum * self.output_scale[:, None]
        bound = self.settings.mask_bound
        if self.settings.output == "mask":
            return X * (bound * torch.sigmoid(output[..., 0, :]))
        return X * complex_mask(output[..., 0, :], output[..., 1, :], bound)


def aware(steps: Tensor, k: int) -> Tensor:
    """Show each time-step its k neighbours on either side: `(b, t, d)` -> `(b, t, (2k+1) d)`, zeros past the ends."""
    if k == 0:
        return steps
    t = steps.shape[1]
    padded = nn.functional.pad(steps, (0, 0, k, k))
    return torch.cat([padded[:, shift : shift + t] for shift in range(2 * k + 1)], dim=-1)


def _hidden_layers(widths: list[int], norm: str) -> nn.Sequential:
    layers: list[nn.Module] = []
    for before, after in pairwise(widths):
        layers.append(nn.Linear(before, after, bias=norm == "none"))
        if norm == "layer":
            layers.append(nn.LayerNorm(after))
        elif norm == "batch":
            layers.append(StepBatchNorm(after))
        layers.append(nn.ReLU())
    return nn.Sequential(*layers)
