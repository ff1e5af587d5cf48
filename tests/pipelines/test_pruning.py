"""What is forgotten of the history, and what never is: with a real instance and its files."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from data.settings import Settings
from pipelines.definitions import build_definitions
from pipelines.history import forget_runs

TRACKS = dg.StaticPartitionsDefinition(["a", "b"])
LATER = datetime.now(UTC) + timedelta(days=1)


@dg.asset
def table() -> dg.MaterializeResult[Any]:
    return dg.MaterializeResult(data_version=dg.DataVersion("1"))


@dg.asset(partitions_def=TRACKS)
def track() -> None:
    print("said by the step")


@dg.observable_source_asset
def raw() -> dg.DataVersion:
    return dg.DataVersion("raw")


@dg.asset_check(asset=table)
def sound() -> dg.AssetCheckResult:
    return dg.AssetCheckResult(passed=True)


@dg.job
def nothing() -> None:
    pass


DEFINITIONS = dg.Definitions(
    assets=[table, track, raw],
    asset_checks=[sound],
    jobs=[
        nothing,
        dg.define_asset_job("tables", selection=dg.AssetSelection.assets(table).without_checks()),
        dg.define_asset_job("tracks", selection=[track]),
        dg.define_asset_job("raws", selection=[raw]),
        dg.define_asset_job("checks", selection=dg.AssetSelection.checks(sound)),
    ],
    executor=dg.in_process_executor,
)


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    """An instance in a folder as the project has it: SQLite, a file of events for every run, logs in files."""
    (tmp_path / "home").mkdir()
    with dg.instance_for_test(temp_dir=str(tmp_path / "home")) as instance:
        yield instance


def run(instance: dg.DagsterInstance, job: str, partition: str | None = None) -> str:
    made = DEFINITIONS.get_repository_def().get_job(job)
    return made.execute_in_process(instance=instance, partition_key=partition).run_id


def files_of(instance: dg.DagsterInstance, run: str) -> list[Path]:
    return [path for path in Path(instance.root_directory).rglob("*") if run in str(path)]


def test_runs_are_forgotten_unless_they_hold_the_latest_of_something(instance: dg.DagsterInstance) -> None:
    old = [run(instance, *about) for about in (("nothing",), ("tables",), ("tracks", "a"), ("raws",), ("checks",))]
    latest = [
        run(instance, *about) for about in (("tables",), ("tracks", "a"), ("tracks", "b"), ("raws",), ("checks",))
    ]
    assert all(files_of(instance, each) for each in old)
    versions = {key: instance.get_latest_materialization_event(key) for key in (table.key, track.key)}

    assert forget_runs(instance, datetime.now(UTC) - timedelta(days=1)) == (0, 0)
    assert forget_runs(instance, LATER) == (len(old), len(latest))

    assert {each.run_id for each in instance.get_runs()} == set(latest)
    assert not any(files_of(instance, each) for each in old)
    assert all(files_of(instance, each) for each in latest)
    assert {key: instance.get_latest_materialization_event(key) for key in (table.key, track.key)} == versions
    assert instance.get_materialized_partitions(track.key) == {"a", "b"}
    (observed,) = instance.fetch_observations(raw.key, limit=1).records
    assert observed.run_id in latest
    assert forget_runs(instance, LATER) == (0, len(latest))


def test_unfinished_runs_are_never_forgotten(instance: dg.DagsterInstance) -> None:
    for status in (dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING, dg.DagsterRunStatus.NOT_STARTED):
        instance.create_run_for_job(nothing, status=status)
    assert forget_runs(instance, LATER) == (0, 0)
    assert len(instance.get_runs()) == 3


@pytest.mark.parametrize(("days", "left"), [(None, 2), (1, 2)])
def test_the_job_goes_by_the_setting_and_keeps_what_is_young(
    instance: dg.DagsterInstance, tmp_path: Path, days: int | None, left: int
) -> None:
    run(instance, "nothing")
    settings = Settings(storage=tmp_path / "storage", musdb18="off", medleydb="off", own="off", history_days=days)
    job = build_definitions(settings).get_repository_def().get_job("prune")
    result = job.execute_in_process(instance=instance)
    said = [entry.user_message for entry in instance.all_logs(result.run_id)]
    assert any(("ISOLATION_HISTORY_DAYS is not set" if days is None else "0 runs") in line for line in said)
    assert len(instance.get_runs()) == left
