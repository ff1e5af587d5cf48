"""The code location: every asset, check, job, schedule and resource, put together. Nothing is defined here."""

from __future__ import annotations

import dagster as dg

from assets import (
    ballot,
    championship,
    checks,
    evaluation,
    lanes,
    leaderboard,
    promotion,
    reporting,
    separators,
    splitting,
    training_recipes,
    training_set,
)
from assets.launcher import LocalLauncher
from assets.partitions import with_candidates
from assets.recording import OWNERS, with_parameters
from data.engine import ExecutorEngine
from data.settings import Settings, load_settings
from pipelines.console import step_lines
from pipelines.instance import settings_of_a_run
from pipelines.jobs import JOBS
from pipelines.links import linked_to_source
from pipelines.schedules import SCHEDULES
from pipelines.sensors import SENSORS


def build_assets(settings: Settings) -> list[dg.AssetsDefinition]:
    """All assets: grouped by the first part of their key, owned, with the settings that they go by and their source."""
    chosen = training_recipes.PARAMETERS | evaluation.PARAMETERS | leaderboard.PARAMETERS
    parameters = {key: found for key, of in chosen.items() if (found := of(settings))}
    parameters[separators.CHECKPOINT] = separators.candidate_versions(settings)
    training = (training_set, splitting, separators)
    measured = (evaluation, leaderboard, ballot, championship, promotion, reporting)
    assets = [
        *(asset for lane in lanes.LANES for asset in lane.assets),
        *(asset for module in (*training, *measured) for asset in module.ASSETS),
    ]
    shown = [with_parameters(asset.map_asset_specs(_owned), parameters) for asset in assets]
    return linked_to_source([with_candidates(asset, settings) for asset in shown])


def _owned(spec: dg.AssetSpec) -> dg.AssetSpec:
    return spec.replace_attributes(group_name=spec.key.path[0], owners=OWNERS)


def build_definitions(settings: Settings, **resources: object) -> dg.Definitions:
    """The whole code location with these settings, whatever the environment says.

    `resources` take the place of those that a setting does not choose, such as the `launcher`.
    """
    return dg.Definitions(
        assets=build_assets(settings),
        asset_checks=[
            *(check for lane in lanes.LANES for check in lane.checks),
            *checks.CHECKS,
            *leaderboard.CHECKS,
            *promotion.CHECKS,
        ],
        jobs=JOBS,
        schedules=SCHEDULES,
        sensors=SENSORS,
        resources={
            "settings": settings_of_a_run(settings),
            "engine": ExecutorEngine(settings.workers),
            "launcher": LocalLauncher(),
            **resources,
        },
        loggers={"console": step_lines},
        # Two cores and one GPU: steps of a run follow each other, parallel work happens inside them.
        executor=dg.in_process_executor,
    )


@dg.definitions
def defs() -> dg.Definitions:
    """The code location of this environment's settings."""
    return build_definitions(load_settings())
