from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest

from pipelines.instance import PROCESS_TAG, end_killed_runs


@pytest.fixture
def gone() -> int:
    """The number of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def status_after(instance: dg.DagsterInstance, tags: dict[str, str]) -> str:
    run = instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED, tags=tags)
    end_killed_runs(instance)
    found = instance.get_run_by_id(run.run_id)
    assert found is not None
    return found.status.value


@dg.job
def job() -> None:
    pass


def test_a_headless_run_ends_with_its_process(gone: int) -> None:
    with dg.instance_for_test() as instance:
        assert status_after(instance, {PROCESS_TAG: str(gone)}) == "FAILURE"
        assert status_after(instance, {PROCESS_TAG: str(os.getpid())}) == "STARTED"


def test_a_run_of_the_ui_ends_with_its_code_server(tmp_path: Path) -> None:
    with dg.instance_for_test() as instance, socket.socket(socket.AF_UNIX) as server:
        path = str(tmp_path / "server")
        server.bind(path)
        server.listen()
        tags = {".dagster/grpc_info": json.dumps({"host": "localhost", "socket": path})}
        assert status_after(instance, tags) == "STARTED"
        server.close()
        assert status_after(instance, tags) == "FAILURE"


def test_of_a_run_elsewhere_nothing_is_said() -> None:
    with dg.instance_for_test() as instance:
        assert status_after(instance, {".dagster/grpc_info": json.dumps({"host": "other", "port": 1})}) == "STARTED"
        assert status_after(instance, {}) == "STARTED"
