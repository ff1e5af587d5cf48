"""The networks, by the name that a candidate gives.

A network is added in four places, each of which needs nothing of the others' insides:

1. its settings: a class in `models.candidate` with `name: Literal["mine"]`, joined to `NetworkSettings` there;
2. its layers: a module here with a subclass of `Network` that is made from the STFT's settings and its own;
3. one entry below;
4. a candidate that uses it: a YAML file in `models/candidates`, which is a partition from then on.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from models.candidate import Candidate, StftSettings
from models.networks.bandsplit import BandSplitNetwork
from models.networks.base import Network
from models.networks.openunmix import OpenUnmixNetwork
from models.networks.packaged import BSRoformerNetwork, HTDemucsNetwork
from models.networks.report import ReportNetwork

# The second argument is the network's own settings: those in `models.candidate` of the same name.
NETWORKS: dict[str, Callable[[StftSettings, Any], Network]] = {
    "report": ReportNetwork,
    "bandsplit": BandSplitNetwork,
    "openunmix": OpenUnmixNetwork,
    "htdemucs": HTDemucsNetwork,
    "bs_roformer": BSRoformerNetwork,
}


def build_network(candidate: Candidate, *, normalises: bool = True) -> Network:
    """The network a candidate describes, with fresh weights from torch's current seed.

    `normalises` is false for weights from before the level was left at the door (`models.networks.base`). Raises
    InputError where the network comes from a package that is not installed.
    """
    network = NETWORKS[candidate.network.name](candidate.stft, candidate.network)
    network.normalises = normalises
    return network
