"""The Dagster instance: its home under the storage root, so that history survives, and the tidying of killed runs."""

from __future__ import annotations

import os
from pathlib import Path

import dagster as dg
import yaml

from data.files import publish

PROCESS_TAG = "isolation/process"

_CONFIGURATION = {
    "telemetry": {"enabled": False},
    "nux": {"enabled": False},  # no dialog that asks for an e-mail address
    # One training at a time: candidates share one GPU (pool "gpu").
    "concurrency": {"pools": {"granularity": "op", "default_limit": 1}},
    # A killed run must not hold its place in the pool for ever.
    "run_monitoring": {"enabled": True, "free_slots_after_run_end_seconds": 10},
}


def prepare_home(root: Path) -> Path:
    """Create or refresh `DAGSTER_HOME` under the storage root, point this process at it, and return it."""
    home = root / "dagster"
    home.mkdir(parents=True, exist_ok=True)
    wanted = yaml.safe_dump(_CONFIGURATION, sort_keys=False)
    configuration = home / "dagster.yaml"
    if not configuration.is_file() or configuration.read_text() != wanted:
        with publish(configuration) as partial:
            partial.write_text(wanted)
    os.environ["DAGSTER_HOME"] = str(home)
    return home


def end_killed_runs(instance: dg.DagsterInstance) -> list[str]:
    """Mark runs as failed whose headless process is gone, and give back their places in pools; return their ids."""
    ended = []
    unfinished = dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.STARTING])
    for run in instance.get_runs(unfinished):
        process = run.tags.get(PROCESS_TAG)
        if process is not None and not _alive(int(process)):
            instance.report_run_failed(run, "the process of this run was killed")
            instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)
            ended.append(run.run_id)
    return ended


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
