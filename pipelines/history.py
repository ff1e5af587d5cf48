"""The history of runs, and what of it is forgotten: old runs that hold the latest news of nothing.

What a materialisation is worth to Dagster is in the events of its run: data versions, lineage, what is stale. So a run
stays for as long as it holds the latest materialisation, observation or check of anything.
"""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
from dagster._core.storage.dagster_run import FINISHED_STATUSES
from dagster._core.storage.event_log.sqlite import SqliteEventLogStorage

from data.settings import Settings

_EVENTS = (dg.DagsterEventType.ASSET_MATERIALIZATION, dg.DagsterEventType.ASSET_OBSERVATION)
_AT_A_TIME = 500  # of SQLite's variables in a query


def forget_runs(instance: dg.DagsterInstance, before: datetime) -> tuple[int, int]:
    """Delete the runs that ended before that time, with their events and logs, and the ticks of schedules and sensors.

    Those that hold the latest news of an asset, of a partition, or of a check are kept. Returns how many runs were
    deleted, and how many as old were kept.
    """
    old = dg.RunsFilter(statuses=list(FINISHED_STATUSES), updated_before=before)
    runs = [record.dagster_run.run_id for record in instance.get_run_records(old)]
    kept = _runs_with_news(instance) if runs else set()
    deleted = [run for run in runs if run not in kept and not _has_latest_check(instance, run)]
    for run in deleted:
        instance.compute_log_manager.delete_logs(prefix=[run])
        instance.delete_run(run)
        _delete_file(instance, run)
    for state in instance.all_instigator_state():
        instance.purge_ticks(state.instigator_origin_id, state.selector_id, before.timestamp())
    return len(deleted), len(runs) - len(deleted)


def _runs_with_news(instance: dg.DagsterInstance) -> set[str]:
    """The runs with the latest materialisation and observation of every asset and partition."""
    storage = instance.event_log_storage
    found = {record.asset_entry.last_run_id for record in storage.get_asset_records()}
    for key in instance.all_asset_keys():
        for event in (instance.fetch_materializations(key, limit=1), instance.fetch_observations(key, limit=1)):
            found |= {record.run_id for record in event.records}
        for kind in _EVENTS:
            numbers = sorted(storage.get_latest_storage_id_by_partition(key, kind).values())
            for start in range(0, len(numbers), _AT_A_TIME):
                wanted = dg.EventRecordsFilter(kind, asset_key=key, storage_ids=numbers[start : start + _AT_A_TIME])
                found |= {record.run_id for record in storage.get_event_records(wanted)}
    return {run for run in found if run}


def _has_latest_check(instance: dg.DagsterInstance, run: str) -> bool:
    storage = instance.event_log_storage
    events = storage.get_logs_for_run(run, of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION)
    told = [event.dagster_event.asset_check_evaluation_data for event in events if event.dagster_event]
    latest = storage.get_latest_asset_check_execution_by_key([check.asset_check_key for check in told])
    return any(record.run_id == run for record in latest.values())


def _delete_file(instance: dg.DagsterInstance, run: str) -> None:
    """SQLite keeps the events of every run in a file of its own, which stays when its rows are gone."""
    storage = instance.event_log_storage
    if isinstance(storage, SqliteEventLogStorage):
        for ending in ("", "-wal", "-shm"):
            Path(storage.path_for_shard(run) + ending).unlink(missing_ok=True)


@dg.op(description="Delete the runs that ended longer ago than ISOLATION_HISTORY_DAYS; unset, every run is kept.")
def forget(context: dg.OpExecutionContext, settings: dg.ResourceParam[Settings]) -> None:
    if settings.history_days is None:
        context.log.info("every run is kept: ISOLATION_HISTORY_DAYS is not set")
        return
    before = datetime.now(UTC) - timedelta(days=settings.history_days)
    deleted, kept = forget_runs(context.instance, before)
    context.log.info(
        f"{deleted} runs that ended before {before:%Y-%m-%d} were deleted with their logs, {kept} as old were kept, "
        "for they hold the latest of an output or a check; the room in Dagster's tables is used again by later runs"
    )


@dg.job(description="Forget old runs: see ISOLATION_HISTORY_DAYS.")
def prune() -> None:
    forget()
