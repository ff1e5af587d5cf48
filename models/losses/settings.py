"""Settings of the losses; what they mean is explained where the losses are, in `models.losses.functions`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from models.section import NotNegative, Positive, Section

if TYPE_CHECKING:
    from models.losses.functions import L1, ContrastiveCosine, RepairedContrastiveCosine


class ContrastiveCosineSettings(Section):
    """The report's loss, literally (section X)."""

    name: Literal["contrastive_cosine"]
    over: Literal["frame", "segment"]
    repulsion: NotNegative

    def build(self) -> ContrastiveCosine:
        from models.losses.functions import ContrastiveCosine

        return ContrastiveCosine(self)


class RepairedContrastiveCosineSettings(Section):
    """The report's loss with repulsion that stops at a right angle, a gain that is fixed, and silence that counts."""

    name: Literal["contrastive_cosine_repaired"]
    over: Literal["frame", "segment"]
    repulsion: NotNegative
    energy: NotNegative
    energy_floor: Positive

    def build(self) -> RepairedContrastiveCosine:
        from models.losses.functions import RepairedContrastiveCosine

        return RepairedContrastiveCosine(self)


class L1Settings(Section):
    """Mean absolute error of the waveform and of the complex spectrum."""

    name: Literal["l1"]
    waveform: NotNegative
    spectrum: NotNegative

    def build(self) -> L1:
        from models.losses.functions import L1

        return L1(self)
