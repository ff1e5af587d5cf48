"""The losses themselves.

A loss takes prediction P, vocals Y and mixture X as `Sound`s of batch size b and returns one value per example, `(b,)`;
averaging over examples comes last, so that silent or quiet examples weigh no more than others. Z = X - Y is the
instrumental. Angles are taken between real vectors: a time-step's 2F values (`over: frame`, as in the report), or all
of a channel's time-steps at once (`over: segment`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import log

import torch
from torch import Tensor

from models.losses.settings import ContrastiveCosineSettings, L1Settings, RepairedContrastiveCosineSettings
from models.stft import Sound

Loss = Callable[[Sound, Sound, Sound], Tensor]

TINY = 1e-8  # energy of a vector that counts as silent; keeps cosines and their gradients finite
SILENT = 1e-6  # energy relative to the mixture below which a source is absent: -60 dB


@dataclass(frozen=True)
class ContrastiveCosine:
    """The report's loss taken literally: -cos(P, Y) + repulsion * cos(P, Z), averaged over time-steps and channels.

    Its optimum with full repulsion is Y/|Y| - Z/|Z|, not Y: at 45 degrees from the vocals where Y and Z are
    orthogonal and equally loud. The gain is free. Source: report, section X, "Generative Modelling".
    """

    settings: ContrastiveCosineSettings

    def __call__(self, prediction: Sound, vocals: Sound, mixture: Sound) -> Tensor:
        P, Y, X = (_vectors(sound, self.settings.over) for sound in (prediction, vocals, mixture))
        angles = -cosine(P, Y) + self.settings.repulsion * cosine(P, X - Y)
        return angles.flatten(1).mean(dim=1)


@dataclass(frozen=True)
class RepairedContrastiveCosine:
    """The report's two angles, with an optimum at the vocals themselves, at the right gain.

    Attraction is weighted as in wSDR: -a cos(P, Y) - (1 - a) cos(X - P, Z) with a = |Y|^2 / (|Y|^2 + |Z|^2), which
    fixes the gain. Repulsion holds P and Z, and X - P and Y, at a right angle (squared cosines) and is left out where
    either source is absent. `energy` weighs an error in bels, log10((|P - Y|^2 + floor |X|^2) / |X|^2) per channel,
    so that silent vocals, to which there is no angle, still have an optimum; `energy_floor` bounds it from below.
    """

    settings: RepairedContrastiveCosineSettings

    def __call__(self, prediction: Sound, vocals: Sound, mixture: Sound) -> Tensor:
        settings = self.settings
        P, Y, X = (_vectors(sound, settings.over) for sound in (prediction, vocals, mixture))
        Z, rest = X - Y, X - P
        y, z, x = (vector.square().sum(dim=-1) for vector in (Y, Z, X))
        share = (y + TINY) / (y + z + 2 * TINY)
        attraction = -share * cosine(P, Y) - (1 - share) * cosine(rest, Z)
        both_sound = (torch.minimum(y, z) > SILENT * x).to(P.dtype)
        repulsion = both_sound * (cosine(P, Z).square() + cosine(rest, Y).square())
        loss = (attraction + settings.repulsion * repulsion).flatten(1).mean(dim=1)
        if settings.energy > 0:
            P, Y, X = (_vectors(sound, "segment") for sound in (prediction, vocals, mixture))
            error, level = (P - Y).square().sum(dim=-1), X.square().sum(dim=-1) + TINY
            bels = (error / level + settings.energy_floor).log() / log(10)
            loss = loss + settings.energy * bels.flatten(1).mean(dim=1)
        return loss


@dataclass(frozen=True)
class L1:
    """Mean absolute error of the waveform, plus that of the spectrum's real and imaginary halves."""

    settings: L1Settings

    def __call__(self, prediction: Sound, vocals: Sound, mixture: Sound) -> Tensor:
        loss = torch.zeros(())
        if self.settings.waveform > 0:
            loss = self.settings.waveform * (prediction.waveform - vocals.waveform).abs().flatten(1).mean(dim=1)
        if self.settings.spectrum > 0:
            apart = torch.view_as_real(prediction.spectrum - vocals.spectrum)
            loss = loss + self.settings.spectrum * apart.abs().flatten(1).mean(dim=1)
        return loss


def cosine(a: Tensor, b: Tensor) -> Tensor:
    """The cosine of the angle between vectors along the last axis; 0, with finite gradient, where one is silent."""
    size = (a.square().sum(dim=-1) + TINY).sqrt() * (b.square().sum(dim=-1) + TINY).sqrt()
    return (a * b).sum(dim=-1) / size


def _vectors(sound: Sound, over: str) -> Tensor:
    """`(b, c, t, 2f)`, or `(b, c, t * 2f)` over a whole segment."""
    return sound.vectors if over == "frame" else sound.vectors.flatten(2)
