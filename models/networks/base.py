"""What every network is: stereo waveforms in, vocals out, whatever happens in between.

A network's own layers belong in a module of its own beside this one.

The level is left at the door. How loud a song was mastered says nothing about who sings in it, but a network that has
met songs of one level separates others worse. So a mixture is divided by its level before it is seen, the vocals are
multiplied by it again, and f(g x) = g f(x) for every network here, by its form and not by what it learnt.

- In training the level is the chunk's own, and the loss stays on that side of the door: an example from a quiet
  passage weighs as much as one from a loud one, and a gain drawn for a source changes the balance alone.
- In use it is the whole song's, one for all of its chunks. With one of its own for each chunk, the network would hear
  the seconds that two chunks share at two levels, its two answers would not join, and no length of context would mend
  that. The price: a passage far below the level of its song is met quieter than any chunk of the training was.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable

from torch import Tensor, nn

from models.level import at_level_one, level_of
from models.section import StftSettings
from models.stft import STFT, Sound


class Network(nn.Module, ABC):
    """A separator's network: `forward(mixture (b, 2, n)) -> vocals (b, 2, n)`, with the STFT inside.

    `normalises` is false for weights that were trained before the level was left at the door.
    """

    def __init__(self, stft: StftSettings) -> None:
        super().__init__()
        self.stft = STFT(stft)
        self.normalises = True

    @abstractmethod
    def estimate(self, mixture: Sound) -> Sound:
        """The vocals as the network predicts them and as the loss sees them, both without their level."""

    def finish(self, estimate: Sound, mixture: Sound) -> Tensor:
        """`(b, 2, n)`: what is done to an estimate after training, such as a gain that the loss left free."""
        return estimate.waveform

    def fit_input(self, mixtures: Iterable[Tensor]) -> None:
        """Learn statistics of the input from batches `(b, 2, n)` of training mixtures, before the first step."""
        self.fit(self.without_level(batch)[0] for batch in mixtures)

    def fit(self, mixtures: Iterable[Tensor]) -> None:
        """What `fit_input` asks of a network: to learn from batches `(b, 2, n)` that have no level any more."""

    def without_level(self, mixture: Tensor, *others: Tensor) -> tuple[Tensor, ...]:
        """Mixtures `(b, 2, n)` at level 1, and others, such as their vocals, changed by the same gains."""
        if not self.normalises:
            return mixture, *others
        level = level_of(mixture)
        return tuple(at_level_one(each, level) for each in (mixture, *others))

    def forward(self, mixture: Tensor, level: Tensor | None = None) -> Tensor:
        """Vocals of mixtures that are stretches of songs of the levels `(b, 1, 1)`, or else songs themselves.

        Silence gives silence.
        """
        if not self.normalises:
            sound = Sound(self.stft, waveform=mixture)
            return self.finish(self.estimate(sound), sound)
        level = level_of(mixture) if level is None else level
        sound = Sound(self.stft, waveform=at_level_one(mixture, level))
        return level * self.finish(self.estimate(sound), sound)
