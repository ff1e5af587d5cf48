"""Settings of Open-Unmix's network.

- `bandwidth_hz`: bins above are masked, but not looked at; published is 16 kHz.
- `hidden` (d): width of every hidden layer; the LSTM's two directions have half of it each. Published is 512.
- `lstm_layers`: published is 3.
- `bidirectional`: without it a single direction has the whole width.
- `dropout`: between the layers of the LSTM; published is 0.4.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from models.section import Depth, Hertz, Section, StftSettings

if TYPE_CHECKING:
    from models.networks.openunmix.network import OpenUnmixNetwork


class OpenUnmixSettings(Section):
    """Open-Unmix's network, every size a setting."""

    name: Literal["openunmix"]
    bandwidth_hz: Hertz
    hidden: Annotated[int, Field(gt=0, le=16_384, multiple_of=2)]
    lstm_layers: Depth
    bidirectional: bool
    dropout: Annotated[float, Field(ge=0, lt=1)]

    def build(self, stft: StftSettings) -> OpenUnmixNetwork:
        from models.networks.openunmix.network import OpenUnmixNetwork

        return OpenUnmixNetwork(stft, self)
