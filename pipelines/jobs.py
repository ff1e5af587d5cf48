"""Jobs: which assets run together. A job holds one partition set, hence one preparation job per dataset."""

from __future__ import annotations

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

from assets import evaluation, separators, training_recipes
from assets.lanes import LANES
from pipelines.history import prune

# Runs of these jobs write the same outputs: one at a time, as the instance's configuration says.
ALONE = {"isolation/alone": "yes"}
TRAINING_SET = dg.AssetSelection.groups(training_recipes.GROUP)
# Asked wherever the training set is made, for a run that prepares tracks and fails asks nothing any more.
CURRENT = dg.AssetSelection.checks(
    *(key for lane in LANES for check in lane.checks for key in check.check_keys if key.name == "every_track_current")
)
EVALUATION = dg.AssetSelection.groups(evaluation.GROUP)

ingest = dg.define_asset_job(
    "ingest",
    selection=dg.AssetSelection.assets(*(source for lane in LANES for source in lane.sources)),
    description="Find, download or generate the raw datasets, and register their tracks.",
)

prepare = {
    lane.dataset.name: dg.define_asset_job(
        f"prepare_{lane.dataset.name}",
        selection=dg.AssetSelection.assets(lane.prepared).without_checks(),
        description=f"Stems and normalised audio of every track of {lane.dataset.title}.",
    )
    for lane in LANES
}

assemble = dg.define_asset_job(
    "assemble",
    selection=TRAINING_SET | CURRENT,
    tags=ALONE,
    description="Manifest, splits and loopback pairs of all prepared tracks.",
)

train = dg.define_asset_job(
    "train",
    selection=dg.AssetSelection.assets(separators.CHECKPOINT),
    description="Train one candidate.",
)

evaluate = dg.define_asset_job(
    "evaluate",
    selection=EVALUATION,
    tags=ALONE,
    description="Score one candidate, then compare all: leaderboard, listening test, champion, report.",
)

retrain = dg.define_asset_job(
    "retrain",
    selection=TRAINING_SET | CURRENT | dg.AssetSelection.groups(separators.GROUP) | EVALUATION,
    tags=ALONE,
    description="The training set as it is now, one candidate trained on it, and everything compared again.",
)

JOBS: list[dg.JobDefinition | UnresolvedAssetJobDefinition] = [
    ingest,
    *prepare.values(),
    assemble,
    train,
    evaluate,
    retrain,
    prune,
]
