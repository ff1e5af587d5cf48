"""What the partitions are: one set of tracks per dataset, one of candidates.

They stand in this room because assets are defined over them; which partitions a run takes is decided in `pipelines`.
"""

from __future__ import annotations

import dagster as dg

from data.datasets import DATASETS
from data.settings import Settings
from models.candidate import candidate_names

TRACKS = {name: dg.DynamicPartitionsDefinition(name=f"{name}_tracks") for name in DATASETS}
CANDIDATES = dg.StaticPartitionsDefinition(candidate_names())
"""The candidates that ship. `with_candidates` puts those of the settings in their place."""


def with_candidates(asset: dg.AssetsDefinition, settings: Settings) -> dg.AssetsDefinition:
    """The asset over the candidates of these settings; one that has no candidates stays as it is.

    The keys of a static set are part of the graph: the folder is looked at once, when the code location loads.
    """
    own = dg.StaticPartitionsDefinition(candidate_names(settings.candidates))

    def over_these(spec: dg.AssetSpec) -> dg.AssetSpec:
        return spec.replace_attributes(partitions_def=own) if spec.partitions_def == CANDIDATES else spec

    return asset.map_asset_specs(over_these)
