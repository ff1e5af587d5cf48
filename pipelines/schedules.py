"""When things run by themselves. All schedules start stopped: switch them on in the UI."""

from __future__ import annotations

from collections.abc import Iterator

import dagster as dg

from assets.partitions import CANDIDATES
from assets.separators import CHECKPOINT
from pipelines.jobs import retrain


@dg.schedule(
    job=retrain,
    cron_schedule="0 3 * * 1",
    execution_timezone="UTC",
    description="Every Monday at 03:00 UTC, train the candidates again that have been trained before. Where neither "
    "data nor settings changed, their steps find that and do nothing.",
)
def weekly_retraining(context: dg.ScheduleEvaluationContext) -> Iterator[dg.RunRequest | dg.SkipReason]:
    trained = context.instance.get_materialized_partitions(CHECKPOINT) & set(CANDIDATES.get_partition_keys())
    if not trained:
        yield dg.SkipReason("no candidate has been trained yet: launch the job `train` for one first")
    for name in sorted(trained):
        # The key holds the week, so that a second tick of one week starts nothing.
        yield dg.RunRequest(run_key=f"{name}-{context.scheduled_execution_time:%G-%V}", partition_key=name)


SCHEDULES = [weekly_retraining]
