"""What a candidate's settings are made of: sections that refuse what they do not know, numbers with bounds, the STFT.

The settings of one network or loss stand beside it (`models.networks`, `models.losses`). Nothing here imports torch.
"""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

# Far above what has been trained anywhere. Candidates come with checkpoints from strangers too: sizes beyond these are
# typing errors or meant to do harm.
Width = Annotated[int, Field(gt=0, le=16_384)]
Depth = Annotated[int, Field(gt=0, le=128)]
Count = Annotated[int, Field(gt=0, le=100_000_000)]
Batch = Annotated[int, Field(gt=0, le=65_536)]
Positive = Annotated[float, Field(gt=0, le=1e9)]
NotNegative = Annotated[float, Field(ge=0, le=1e9)]
Hertz = Annotated[float, Field(gt=0, le=22050)]
Decibels = Annotated[float, Field(ge=-200, le=200)]
Share = Annotated[float, Field(ge=0, le=1)]


MOST_OVERLAP = 64  # windows over one sample; a spectrum holds so many times the numbers of its waveform


class Section(BaseModel):
    """A group of settings: unknown keys, infinite numbers and values of another type are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class StftSettings(Section):
    """The short-time Fourier transform: Hann window and hop, in samples at 44100 Hz."""

    window: Annotated[int, Field(ge=4, le=32_768, multiple_of=2)]
    hop: Annotated[int, Field(gt=0, le=32_768)]

    @model_validator(mode="after")
    def _windows_overlap(self) -> Self:
        if self.hop > self.window // 2:
            raise ValueError(f"hop must be at most half the window ({self.window // 2}), found {self.hop}")
        if self.hop * MOST_OVERLAP < self.window:
            least = -(-self.window // MOST_OVERLAP)
            raise ValueError(f"hop must be at least a {MOST_OVERLAP}th of the window ({least}), found {self.hop}")
        return self
