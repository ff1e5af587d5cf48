"""Settings of the networks of other people's packages.

`HTDemucsSettings` (Rouard, Massa and Défossez, "Hybrid Transformers for Music Source Separation", 2022); what is not
named here is the package's default. Its layers are made for an STFT of 4096/1024:

- `channels`, `growth`: width of the first of four layers, and the factor from one to the next; published are 48 and 2.
- `transformer_channels`, `transformer_layers`, `transformer_heads`: published are 512, 5 and 8.

`BSRoformerSettings` (Lu and others, "Music Source Separation with Band-Split RoPE Transformer", 2023):

- `bands`: as in `models.networks.bands`.
- `features`: what a band is reduced to at each time-step; published is 384.
- `blocks`: pairs of transformers along time and along bands, one layer each; published is 12.
- `heads`, `head_features`: attention heads and their width; published are 8 and 64.
- `mask_layers`: layers of each band's mask estimator.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import Field, model_validator

from models.networks.bands import Bands
from models.section import Depth, Section, StftSettings, Width

if TYPE_CHECKING:
    from models.networks.packaged.network import BSRoformerNetwork, HTDemucsNetwork


class HTDemucsSettings(Section):
    """Hybrid Transformer Demucs, from the package demucs."""

    name: Literal["htdemucs"]
    channels: Annotated[int, Field(gt=0, le=4096, multiple_of=8)]
    growth: Annotated[int, Field(gt=0, le=16)]
    transformer_channels: Annotated[int, Field(gt=0, le=16_384, multiple_of=4)]
    transformer_layers: Depth
    transformer_heads: Depth

    @model_validator(mode="after")
    def _heads_share_the_channels(self) -> Self:
        if self.transformer_channels % self.transformer_heads:
            raise ValueError(
                f"transformer_channels must be a multiple of transformer_heads ({self.transformer_heads}), "
                f"found {self.transformer_channels}"
            )
        return self

    def build(self, stft: StftSettings) -> HTDemucsNetwork:
        from models.networks.packaged.network import HTDemucsNetwork

        return HTDemucsNetwork(stft, self)


class BSRoformerSettings(Section):
    """Band-split RoFormer, from the package bs-roformer."""

    name: Literal["bs_roformer"]
    bands: Bands
    features: Width
    blocks: Depth
    heads: Depth
    head_features: Annotated[int, Field(gt=0, le=4096, multiple_of=2)]
    mask_layers: Depth

    def build(self, stft: StftSettings) -> BSRoformerNetwork:
        from models.networks.packaged.network import BSRoformerNetwork

        return BSRoformerNetwork(stft, self)
