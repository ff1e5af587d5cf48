"""The networks: a folder each, with the settings that a candidate gives and the network that they build.

A network is added as a folder of two modules, one word below, and a candidate that uses it:

1. `settings.py`: a `Section` with `name: Literal["mine"]` and `build(stft)`, which imports the network when it is
   asked for one, for settings are listed without torch;
2. `network.py`: a subclass of `models.networks.base.Network`, made from the STFT's settings and its own;
3. its settings joined to `NetworkSettings`;
4. a YAML file in `models/candidates`, which is a partition from then on.

What more than one network is built from stands beside the folders: `base`, `layers`, `bands`.
"""

from __future__ import annotations

from typing import Annotated, get_args

from pydantic import Field

from models.networks.aps360.settings import APS360Settings
from models.networks.bandsplit.settings import BandSplitSettings
from models.networks.openunmix.settings import OpenUnmixSettings
from models.networks.packaged.settings import BSRoformerSettings, HTDemucsSettings

NetworkSettings = Annotated[
    APS360Settings | BandSplitSettings | OpenUnmixSettings | HTDemucsSettings | BSRoformerSettings,
    Field(discriminator="name"),
]

# The names that candidates and checkpoints know them by.
NETWORKS = [get_args(kind.model_fields["name"].annotation)[0] for kind in get_args(get_args(NetworkSettings)[0])]
