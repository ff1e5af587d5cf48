"""Settings of the report's network.

- `channels`: `separate` gives each channel to the network on its own, as the report does; `together` shows it both.
- `input`: `complex` is the report's (real half, imaginary half); magnitudes are cheaper and better conditioned.
- `standardise`: scale each input bin by statistics of the training data, and each bin of a `spectrum` output back.
- `bandwidth_hz`: bins above are not shown to the network; null shows all.
- `awareness` (k): the input at step t is the frames t-k .. t+k; with one direction that is the whole look-ahead.
- `pre_fc`, `fc`: widths of the hidden layers; the FC's last layer, of the width of the output, comes on top.
- `bidirectional`: the report's "bi-layer" LSTM means two layers; whether it also runs backwards is this setting.
- `skip`: the pre-FC's output is shown to the FC beside the LSTM's.
- `norm`: normalisation after each hidden layer.
- `output`: `spectrum` is the report's; `complex_mask` and `mask` multiply the mixture, bounded by `mask_bound`.
- `gain`: `projection` gives each time-step of the finished estimate the gain that fits it best into the mixture, for
  losses of angles, which leave the gain free.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from models.section import Depth, Hertz, Positive, Section, StftSettings, Width

if TYPE_CHECKING:
    from models.networks.aps360.network import APS360Network


class APS360Settings(Section):
    """The report's network (section IV), every size a setting."""

    name: Literal["aps360"]
    channels: Literal["separate", "together"]
    input: Literal["complex", "magnitude", "log_magnitude"]
    standardise: bool
    bandwidth_hz: Hertz | None
    awareness: Annotated[int, Field(ge=0, le=1000)]
    pre_fc: Annotated[list[Width], Field(max_length=128)]
    lstm_hidden: Width
    lstm_layers: Depth
    bidirectional: bool
    skip: bool
    fc: Annotated[list[Width], Field(max_length=128)]
    norm: Literal["none", "layer", "batch"]
    output: Literal["spectrum", "complex_mask", "mask"]
    mask_bound: Positive
    gain: Literal["none", "projection"]

    def build(self, stft: StftSettings) -> APS360Network:
        from models.networks.aps360.network import APS360Network

        return APS360Network(stft, self)
