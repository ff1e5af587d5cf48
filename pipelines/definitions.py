"""The code location: every asset, check, job, schedule and resource, put together. Nothing is defined here."""

from __future__ import annotations

import dagster as dg

from assets import ballot, championship, evaluation, lanes, leaderboard, promotion, reporting, separators, training_set
from assets.partitions import with_candidates
from assets.recording import with_parameters
from data.engine import ExecutorEngine
from data.settings import Settings, load_settings
from pipelines.console import step_lines
from pipelines.instance import settings_of_a_run
from pipelines.jobs import JOBS
from pipelines.schedules import SCHEDULES
from pipelines.sensors import SENSORS


def build_definitions(settings: Settings) -> dg.Definitions:
    """The whole code location with these settings, whatever the environment says."""
    chosen = training_set.PARAMETERS | evaluation.PARAMETERS | leaderboard.PARAMETERS
    parameters = {key: found for key, of in chosen.items() if (found := of(settings))}
    parameters[separators.CHECKPOINT] = separators.candidate_versions(settings)
    modules = (training_set, separators, evaluation, leaderboard, ballot, championship, promotion, reporting)
    return dg.Definitions(
        assets=[
            *(asset for lane in lanes.LANES for asset in lane.assets),
            *(
                with_candidates(with_parameters(asset, parameters), settings)
                for module in modules
                for asset in module.ASSETS
            ),
        ],
        asset_checks=[
            *(check for lane in lanes.LANES for check in lane.checks),
            *training_set.CHECKS,
            *leaderboard.CHECKS,
            *promotion.CHECKS,
        ],
        jobs=JOBS,
        schedules=SCHEDULES,
        sensors=SENSORS,
        resources={
            "settings": settings_of_a_run(settings),
            "engine": ExecutorEngine(settings.workers),
            "process": dg.PipesSubprocessClient(),
        },
        loggers={"console": step_lines},
        # Two cores and one GPU: steps of a run follow each other, parallel work happens inside them.
        executor=dg.in_process_executor,
    )


@dg.definitions
def defs() -> dg.Definitions:
    """The code location of this environment's settings."""
    return build_definitions(load_settings())
