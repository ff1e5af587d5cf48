"""What every network is: stereo waveforms in, vocals out, whatever happens in between.

A network's own layers belong in a module of its own beside this one.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable

from torch import Tensor, nn

from models.candidate import StftSettings
from models.stft import STFT, Sound


class Network(nn.Module, ABC):
    """A separator's network: `forward(mixture (b, 2, n)) -> vocals (b, 2, n)`, with the STFT inside."""

    def __init__(self, stft: StftSettings) -> None:
        super().__init__()
        self.stft = STFT(stft)

    @abstractmethod
    def estimate(self, mixture: Sound) -> Sound:
        """The vocals as the network predicts them and as the loss sees them."""

    def finish(self, estimate: Sound, mixture: Sound) -> Tensor:
        """`(b, 2, n)`: what is done to an estimate after training, such as a gain that the loss left free."""
        return estimate.waveform

    def fit_input(self, mixtures: Iterable[Tensor]) -> None:
        """Learn statistics of the input from batches `(b, 2, n)` of training mixtures, before the first step."""

    def forward(self, mixture: Tensor) -> Tensor:
        sound = Sound(self.stft, waveform=mixture)
        return self.finish(self.estimate(sound), sound)
