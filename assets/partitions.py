"""What the partitions are: one set of tracks per dataset, one of candidates.

They stand in this room because assets are defined over them; which partitions a run takes is decided in `pipelines`.
"""

from __future__ import annotations

import dagster as dg

from data.datasets import DATASETS
from data.settings import load_settings
from models.candidate import candidate_names

TRACKS = {name: dg.DynamicPartitionsDefinition(name=f"{name}_tracks") for name in DATASETS}
# The keys of a static set are part of the graph: the folder is looked at once, when the code location loads.
CANDIDATES = dg.StaticPartitionsDefinition(candidate_names(load_settings().candidates))
