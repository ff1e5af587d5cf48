"""One lane per dataset: raw archive, labels, stems and normalised audio of every track.

A lane is made by one factory, so that a dataset is one reader and one line in `data.datasets`. Its assets stand in
`sources` (raw files and labels), `observing` (what is only looked at) and `preparing` (every track); what is no longer
made of the raw files of today is named by the checks in `lane_checks`.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import dagster as dg

from assets.lane_checks import lane_checks
from assets.observing import observed_assets
from assets.partitions import TRACKS
from assets.preparing import prepared_assets
from assets.sources import archive_asset, metadata_asset
from data.datasets import DATASETS, Dataset


@dataclass(frozen=True)
class Lane:
    """The assets and checks of one dataset: raw sources first, then what is prepared of each track."""

    dataset: Dataset
    sources: Sequence[dg.AssetsDefinition]
    prepared: dg.AssetsDefinition
    observed: Sequence[dg.AssetsDefinition]
    checks: Sequence[dg.AssetChecksDefinition]

    @property
    def assets(self) -> list[dg.AssetsDefinition]:
        return [*self.sources, *self.observed, self.prepared]

    @property
    def tracks(self) -> str:
        """Name of the set of partitions."""
        return TRACKS[self.dataset.name].name or ""

    def key(self, part: str) -> dg.AssetKey:
        return dg.AssetKey([self.dataset.name, part])


def build_lane(dataset: Dataset) -> Lane:
    """All assets of one dataset."""
    labels = [metadata_asset(dataset, dataset.labels)] if dataset.labels is not None else []
    sources = [archive_asset(dataset), *labels]
    return Lane(dataset, sources, prepared_assets(dataset), observed_assets(dataset), lane_checks(dataset))


with warnings.catch_warnings():
    # Dagster warns that observing several assets in one step is beta; nobody who loads this project can act on it.
    warnings.simplefilter("ignore", dg.BetaWarning)
    LANES = [build_lane(dataset) for dataset in DATASETS.values()]
