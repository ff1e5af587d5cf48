"""Augmentation: what changes from draw to draw in the sources of a chunk, before they are mixed.

One layout: `sources (b, s, c, n)` float32 at 44100 Hz, on any device. Axes: b example, s source (vocals,
accompaniment), c channel, n frame. A module draws its choices for a whole batch from a NumPy generator, as an array
`(b, s)`, and changes the sources by them in place. Choices are drawn on the CPU whatever the device, so that a seed
means the same everywhere, and for all processes at once, of which each takes its share of the examples.

A new augmentation is a class here and a line in `augmentations`. Which excerpts are heard together (remixing) is
decided in `data.chunks`, before anything is read; noise on the mixture is `models.noise`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from data.chunks import SOURCES
from models.candidate import AugmentationSettings

Choices = NDArray[Any]


class Augmentation(Protocol):
    """One kind of change."""

    def draw(self, random: np.random.Generator, examples: int) -> Choices:
        """Choices `(examples, s)`, each source of each example on its own."""

    def apply(self, sources: Tensor, choices: Choices) -> None:
        """Change `sources (b, s, c, n)` in place as `choices (b, s)` say."""


@dataclass(frozen=True)
class Gain:
    """A gain uniform in dB between `lowest_db` and `highest_db`."""

    lowest_db: float
    highest_db: float

    def draw(self, random: np.random.Generator, examples: int) -> Choices:
        return 10 ** (random.uniform(self.lowest_db, self.highest_db, (examples, SOURCES)) / 20)

    def apply(self, sources: Tensor, choices: Choices) -> None:
        gains = torch.from_numpy(choices.astype(np.float32)).to(sources.device, non_blocking=True)
        sources.mul_(gains[..., None, None])


@dataclass(frozen=True)
class SwapChannels:
    """Left and right change places, with `probability`."""

    probability: float

    def draw(self, random: np.random.Generator, examples: int) -> Choices:
        return random.random((examples, SOURCES)) < self.probability

    def apply(self, sources: Tensor, choices: Choices) -> None:
        chosen = tuple(torch.from_numpy(axis) for axis in np.nonzero(choices))
        sources[chosen] = sources[chosen].flip(-2)


@dataclass(frozen=True)
class FlipSign:
    """The source is negated, with `probability`."""

    probability: float

    def draw(self, random: np.random.Generator, examples: int) -> Choices:
        return np.where(random.random((examples, SOURCES)) < self.probability, -1.0, 1.0)

    def apply(self, sources: Tensor, choices: Choices) -> None:
        signs = torch.from_numpy(choices.astype(np.float32)).to(sources.device, non_blocking=True)
        sources.mul_(signs[..., None, None])


def augmentations(settings: AugmentationSettings) -> list[Augmentation]:
    """The changes that a candidate asks for, in the order in which they are made."""
    every: list[tuple[bool, Augmentation]] = [
        (settings.gain_db != [0.0, 0.0], Gain(settings.gain_db[0], settings.gain_db[1])),
        (settings.swap_channels > 0, SwapChannels(settings.swap_channels)),
        (settings.flip_sign > 0, FlipSign(settings.flip_sign)),
    ]
    return [augmentation for wanted, augmentation in every if wanted]


def draw_all(changes: Sequence[Augmentation], random: np.random.Generator, examples: int) -> list[Choices]:
    """Every augmentation's choices for a batch of `examples`."""
    return [change.draw(random, examples) for change in changes]


def apply_all(changes: Sequence[Augmentation], sources: Tensor, choices: Sequence[Choices]) -> Tensor:
    """`sources (b, s, c, n)` with every augmentation made, in place; returned for convenience."""
    for change, chosen in zip(changes, choices, strict=True):
        change.apply(sources, chosen)
    return sources
