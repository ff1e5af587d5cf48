"""The networks, by the name that a candidate gives.

A new network is one module here, one class of settings in `models.candidate`, and one line below.
"""

from __future__ import annotations

from collections.abc import Callable

from models.candidate import Candidate
from models.networks.base import Network
from models.networks.report import ReportNetwork

NETWORKS: dict[str, Callable[[Candidate], Network]] = {
    "report": lambda candidate: ReportNetwork(candidate.stft, candidate.network),
}


def build_network(candidate: Candidate) -> Network:
    """The network a candidate describes, with fresh weights from torch's current seed."""
    return NETWORKS[candidate.network.name](candidate)
