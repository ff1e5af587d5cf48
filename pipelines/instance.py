"""The Dagster instance: its home under the storage root, so that history survives, and the tidying of killed runs."""

from __future__ import annotations

import json
import os
import re
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import yaml
from dagster._core.errors import DagsterUserCodeProcessError  # the one error that is shown without frames (1.13)
from dagster_shared.error import SerializableErrorInfo

from data.engine import cores
from data.errors import InputError
from data.files import publish
from data.layout import Layout
from data.ownership import Process, is_running, own, this_process
from data.settings import Settings

PROCESS_TAG = "isolation/process"
_SERVER_TAG = ".dagster/grpc_info"  # where Dagster's own launcher notes which code server started a run
_NUMBER = re.compile("[1-9][0-9]{0,9}")
_BEFORE_ITS_START = (dg.DagsterRunStatus.NOT_STARTED, dg.DagsterRunStatus.STARTING)
_UNFINISHED = [*_BEFORE_ITS_START, dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]
_STARTS_WITHIN = timedelta(minutes=5)  # Dagster's daemon gives up a run after three

_CONFIGURATION = {
    "telemetry": {"enabled": False},
    "nux": {"enabled": False},  # no dialog that asks for an e-mail address
    "concurrency": {
        # One training at a time: candidates share one GPU (pool "gpu").
        "pools": {"granularity": "op", "default_limit": 1},
        # `dagster job backfill` starts a run for every track, each a process of its own that uses all cores.
        "runs": {
            "max_concurrent_runs": max(2, cores()),
            # Candidates that are retrained share the training set and the leaderboard.
            "tag_concurrency_limits": [{"key": "isolation/alone", "limit": 1}],
        },
    },
    # A killed run must not hold its place in the pool for ever.
    "run_monitoring": {"enabled": True, "free_slots_after_run_end_seconds": 10},
}


def prepare_home(root: Path) -> Path:
    """Create or refresh `DAGSTER_HOME` under the storage root, point this process at it, and return it."""
    home = Layout(root).dagster
    home.mkdir(parents=True, exist_ok=True)
    wanted = yaml.safe_dump(_CONFIGURATION, sort_keys=False)
    configuration = home / "dagster.yaml"
    # As bytes: a damaged one need not be text.
    if not configuration.is_file() or configuration.read_bytes() != wanted.encode():
        with publish(configuration) as partial:
            partial.write_text(wanted)
    os.environ["DAGSTER_HOME"] = str(home)
    return home


def settings_of_a_run(settings: Settings) -> dg.ResourceDefinition:
    """The settings as a resource; a run that holds them has the right to write to the storage root until it ends.

    Side by side with other runs of Dagster, for Dagster orders those itself. A schedule or sensor only looks.
    """

    @dg.resource(description="Settings of the whole project; a run that needs them owns the storage root.")
    def resource(context: dg.InitResourceContext) -> Iterator[Settings]:
        with ExitStack() as until_the_end:
            run = context.run
            if run is not None:
                about = f"run {run.run_id[:8]} of {run.job_name}"
                try:
                    until_the_end.enter_context(own(settings.root, about, together=True))
                except InputError as refused:
                    raise _without_frames(refused) from None
                if context.instance is not None:
                    context.instance.add_run_tags(run.run_id, process_tag(run.run_id))
                    _take_over(settings, context)
            yield settings

    return resource


def _take_over(settings: Settings, context: dg.InitResourceContext) -> None:
    from assets.takeover import take_over  # with all assets, which others than runs do without

    assert context.instance is not None
    assert context.log is not None
    for sentence in take_over(settings, context.instance):
        context.log.info(sentence)


def _without_frames(error: InputError) -> Exception:
    """The error as one message: where in the code a run was refused helps nobody."""
    return DagsterUserCodeProcessError.from_error_info(SerializableErrorInfo(str(error), [], type(error).__name__))


def process_tag(run_id: str) -> dict[str, str]:
    """The tag that names this process as the one that a run ends with."""
    # With the run's own id: a run that is executed again gets a copy of the tags of the first.
    return {PROCESS_TAG: json.dumps({"run": run_id, **asdict(this_process())})}


def end_killed_runs(instance: dg.DagsterInstance) -> list[str]:
    """Mark runs as failed whose process was killed, and give back their places in pools; return their ids.

    A run ends with the process that its tag names; one without a tag, before it started, a while after it was last
    heard of, and later with the code server that started it: whoever launched it would have said so had it been able
    to. Runs in the queue stay there for the next daemon, and those of other machines are left to them.
    """
    ended = []
    for record in instance.get_run_records(dg.RunsFilter(statuses=_UNFINISHED)):
        run = record.dagster_run
        if _ended(run, record.update_timestamp):
            if run.status is dg.DagsterRunStatus.CANCELING:
                instance.report_run_canceled(run, "the process of this run was killed")
            else:
                instance.report_run_failed(run, "the process of this run was killed")
            instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)
            ended.append(run.run_id)
    return ended


def _ended(run: dg.DagsterRun, heard_of: datetime) -> bool:
    tag = run.tags.get(PROCESS_TAG, "")
    process = _process(tag, run.run_id)
    if process is not None:
        return process.lives() is False  # None of a process on another machine
    if run.status in _BEFORE_ITS_START:
        return datetime.now(UTC) - heard_of.astimezone(UTC) > _STARTS_WITHIN
    if _NUMBER.fullmatch(tag):  # all that earlier releases kept
        return not is_running(int(tag))
    server = run.tags.get(_SERVER_TAG)
    return server is not None and not _listens(server)


def _process(tag: str, run_id: str) -> Process | None:
    """The process that the tag of a run names; None where it is of another run, or people typed something else."""
    try:
        told = json.loads(tag)
        if told.pop("run") != run_id or type(told["pid"]) is not int or told["pid"] <= 0:
            return None
        return Process(**told)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None


def _listens(server: str) -> bool:
    """Whether a code server on this machine still takes connections; of others nothing can be said."""
    try:
        path = json.loads(server).get("socket")
        with socket.socket(socket.AF_UNIX) as connection:
            return not path or connection.connect_ex(path) == 0
    except (ValueError, TypeError, AttributeError, RecursionError, OSError):
        return True  # not what Dagster writes
