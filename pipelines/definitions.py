"""The code location: every asset, check, job, schedule and resource, put together. Nothing is defined here."""

from __future__ import annotations

import dagster as dg

from assets import evaluation, lanes, promotion, reporting, separators, training_set
from assets.launcher import LocalLauncher
from assets.recording import with_parameters
from data.engine import ExecutorEngine
from data.settings import Settings, load_settings
from pipelines.console import step_lines
from pipelines.instance import settings_of_a_run
from pipelines.jobs import JOBS
from pipelines.schedules import SCHEDULES
from pipelines.sensors import SENSORS


def build_definitions(settings: Settings, **resources: object) -> dg.Definitions:
    """The whole code location with other settings, or other resources, such as a `launcher`: for tests and programs."""
    parameters = {key: chosen(settings) for key, chosen in training_set.PARAMETERS.items()}
    parameters[separators.CHECKPOINT] = separators.candidate_versions(settings)
    return dg.Definitions(
        assets=[
            *(asset for lane in lanes.LANES for asset in lane.assets),
            *(with_parameters(asset, parameters) for asset in training_set.ASSETS),
            *(with_parameters(asset, parameters) for asset in separators.ASSETS),
            *evaluation.ASSETS,
            *promotion.ASSETS,
            *reporting.ASSETS,
        ],
        asset_checks=[
            *(check for lane in lanes.LANES for check in lane.checks),
            *training_set.CHECKS,
            *evaluation.CHECKS,
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
