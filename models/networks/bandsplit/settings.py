"""Settings of the band-split network.

- `bands`: ranges of bands of equal width, from the bottom up; widths are rounded to whole bins, and what the last
  range leaves up to the Nyquist frequency is one more band. Narrow bands at the bottom tell harmonics apart.
- `features` (d): what a band is reduced to at each time-step.
- `blocks`: how often the pair of LSTMs, along time and along bands, is repeated. Both run in both directions.
- `lstm_hidden`: hidden size of each direction of each LSTM; published is twice `features`.
- `mask_hidden`: width of the hidden layer in each band's FC; published is four times `features`.
- `mask_bound`: bound on the modulus of the mask; null leaves it free, as published.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from models.networks.bands import Bands
from models.section import Depth, Positive, Section, StftSettings, Width

if TYPE_CHECKING:
    from models.networks.bandsplit.network import BandSplitNetwork


class BandSplitSettings(Section):
    """The band-split network, every size a setting."""

    name: Literal["bandsplit"]
    bands: Bands
    features: Width
    blocks: Depth
    lstm_hidden: Width
    mask_hidden: Width
    mask_bound: Positive | None

    def build(self, stft: StftSettings) -> BandSplitNetwork:
        from models.networks.bandsplit.network import BandSplitNetwork

        return BandSplitNetwork(stft, self)
