"""When things run by themselves. All schedules start stopped: switch them on in the UI."""

from __future__ import annotations

from collections.abc import Iterator

import dagster as dg

from assets.separators import CHECKPOINT
from data.errors import InputError
from data.settings import Settings
from models.candidate import candidate_names
from pipelines import jobs
from pipelines.changes import candidate_changes, state, table_recipes, training_set_changes

WHY_TAG = "isolation/why"


@dg.schedule(
    name="retrain",
    job=jobs.retrain,
    cron_schedule="0 3 * * 1",
    execution_timezone="UTC",
    description="Every Monday at 03:00 UTC, train those candidates again that were trained before and for which the "
    "prepared tracks, the settings or the code have changed since; skips and says so where nothing has.",
)
def weekly_retraining(
    context: dg.ScheduleEvaluationContext, settings: dg.ResourceParam[Settings]
) -> Iterator[dg.RunRequest | dg.SkipReason]:
    trained = sorted(
        context.instance.get_materialized_partitions(CHECKPOINT) & set(candidate_names(settings.candidates))
    )
    if not trained:
        yield dg.SkipReason("no candidate has been trained yet: launch the job `train` for one first")
        return
    today = table_recipes(settings)
    common, requested, unreadable = training_set_changes(settings, today), False, []
    for name in trained:
        try:
            why = [*common, *candidate_changes(settings, name)]
            if why:
                requested = True
                # The same training is asked for once a week: again next week, if it failed.
                key = f"{name}-{context.scheduled_execution_time:%G-%V}-{state(settings, name, today)}"
                context.log.info(f"{name}: {'; '.join(why)}")
                yield dg.RunRequest(run_key=key, partition_key=name, tags={WHY_TAG: "; ".join(why)})
        except InputError as problem:
            context.log.error(str(problem))
            unreadable.append(str(problem))
    if not requested:
        compared = (
            "nothing has changed since the last training: compared were the prepared tracks with the manifest, the "
            f"settings and code of manifest, duplicates, splits and loopback, and the settings and training code of "
            f"{', '.join(trained)}"
        )
        yield dg.SkipReason("\n\n".join([*unreadable, compared] if unreadable else [compared]))


nightly_pruning = dg.ScheduleDefinition(
    name="prune",
    job=jobs.prune,
    cron_schedule="30 2 * * *",
    execution_timezone="UTC",
    description="Every night at 02:30 UTC, forget runs that ended longer ago than ISOLATION_HISTORY_DAYS.",
)

SCHEDULES = [weekly_retraining, nightly_pruning]
