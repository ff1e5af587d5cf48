"""The Dagster instance: its home under the storage root, so that history survives, and the tidying of killed runs."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path

import dagster as dg
import yaml

from data.engine import cores
from data.files import publish
from data.layout import Layout

PROCESS_TAG = "isolation/process"
_SERVER_TAG = ".dagster/grpc_info"  # where Dagster's own launcher notes which code server started a run

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
    if not configuration.is_file() or configuration.read_text() != wanted:
        with publish(configuration) as partial:
            partial.write_text(wanted)
    os.environ["DAGSTER_HOME"] = str(home)
    return home


def end_killed_runs(instance: dg.DagsterInstance) -> list[str]:
    """Mark runs as failed whose process was killed, and give back their places in pools; return their ids.

    A headless run is gone with its process, a run of the UI with the code server that started it: whoever launched it
    would have said so had it been able to.
    """
    ended = []
    unfinished = dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.STARTING])
    for run in instance.get_runs(unfinished):
        process, server = run.tags.get(PROCESS_TAG), run.tags.get(_SERVER_TAG)
        if (process and not _alive(int(process))) or (server and not _listens(server)):
            instance.report_run_failed(run, "the process of this run was killed")
            instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)
            ended.append(run.run_id)
    return ended


def _listens(server: str) -> bool:
    """Whether a code server on this machine still takes connections; of others nothing can be said."""
    path = json.loads(server).get("socket")
    if not path:
        return True
    with socket.socket(socket.AF_UNIX) as connection:
        return connection.connect_ex(path) == 0


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
