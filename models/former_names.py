"""Names that were changed, for what was stored under the old ones.

Whoever reads settings reads the old words too. Fingerprints are of the old words for good: an output is not made again
because a word was changed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# Old name -> today's: of candidates that ship, and of networks.
CANDIDATES = {"report": "aps360", "repaired": "aps360-repaired"}
NETWORKS = {"report": "aps360"}


def as_today(settings: Mapping[str, Any]) -> dict[str, Any]:
    """A candidate's settings as read from somewhere, its network by today's name."""
    return _renamed_network(settings, NETWORKS)


def as_recorded(settings: Mapping[str, Any]) -> dict[str, Any]:
    """A candidate's settings, `name` among them, in the words that fingerprints are of."""
    former = {today: old for old, today in CANDIDATES.items()}
    recorded = _renamed_network(settings, {today: old for old, today in NETWORKS.items()})
    return recorded | {"name": former.get(settings["name"], settings["name"])}


def _renamed_network(settings: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    network = settings.get("network")
    name = network.get("name") if isinstance(network, Mapping) else None
    if not (isinstance(network, Mapping) and isinstance(name, str) and name in names):
        return dict(settings)
    return {**settings, "network": {**network, "name": names[name]}}
