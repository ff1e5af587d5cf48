from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.utils import make_new_run_id

from data.ownership import this_process
from pipelines import instance as instances
from pipelines.instance import PROCESS_TAG, end_killed_runs, process_tag

UNSTARTED = [dg.DagsterRunStatus.NOT_STARTED, dg.DagsterRunStatus.STARTING]


@pytest.fixture(scope="module")
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.instance_for_test() as instance:
        yield instance


@pytest.fixture
def gone() -> int:
    """The number of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def status_after(
    instance: dg.DagsterInstance,
    tags: dict[str, str],
    status: dg.DagsterRunStatus = dg.DagsterRunStatus.STARTED,
    run_id: str | None = None,
) -> str:
    run = instance.create_run_for_job(job, status=status, tags=tags, run_id=run_id)
    end_killed_runs(instance)
    found = instance.get_run_by_id(run.run_id)
    assert found is not None
    return found.status.value


@dg.job
def job() -> None:
    pass


def test_a_headless_run_ends_with_its_process(instance: dg.DagsterInstance, gone: int) -> None:
    assert status_after(instance, {PROCESS_TAG: str(gone)}) == "FAILURE"
    assert status_after(instance, {PROCESS_TAG: str(os.getpid())}) == "STARTED"


def test_a_run_of_the_ui_ends_with_its_code_server(instance: dg.DagsterInstance, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        path = str(tmp_path / "server")
        server.bind(path)
        server.listen()
        tags = {".dagster/grpc_info": json.dumps({"host": "localhost", "socket": path})}
        assert status_after(instance, tags) == "STARTED"
        server.close()
        assert status_after(instance, tags) == "FAILURE"


def test_of_a_run_elsewhere_nothing_is_said(instance: dg.DagsterInstance) -> None:
    assert status_after(instance, {".dagster/grpc_info": json.dumps({"host": "other", "port": 1})}) == "STARTED"
    assert status_after(instance, {}) == "STARTED"


def tag_of(run_id: str, **changes: Any) -> dict[str, str]:
    """The tag of a run, as another process than this one would have written it."""
    return {PROCESS_TAG: json.dumps({"run": run_id, **asdict(replace(this_process(), **changes))})}


@pytest.mark.parametrize("status", [*UNSTARTED, dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING])
def test_a_run_ends_with_the_process_that_it_names_wherever_it_was_killed(
    instance: dg.DagsterInstance, gone: int, status: dg.DagsterRunStatus
) -> None:
    over = "CANCELED" if status is dg.DagsterRunStatus.CANCELING else "FAILURE"
    for number, (changes, expected) in enumerate(
        (
            ({}, status.value),
            ({"pid": gone}, over),
            ({"began": "1"}, over),  # the number is another process's now
            ({"boot": "of last week"}, over),
            ({"host": "far", "pid": gone}, status.value),  # theirs to say
            ({"space": "pid:[1]", "pid": gone}, status.value),
        )
    ):
        run_id = make_new_run_id()
        assert status_after(instance, tag_of(run_id, **changes), status, run_id) == expected, number


@pytest.mark.parametrize("typed", ["", "mine", "0", "-1", "12x", "²", "9" * 5000, "[" * 5000, "null", '{"pid": "x"}'])
@pytest.mark.parametrize("status", [dg.DagsterRunStatus.NOT_STARTED, dg.DagsterRunStatus.STARTED])
def test_a_tag_that_people_typed_says_nothing(
    instance: dg.DagsterInstance, typed: str, status: dg.DagsterRunStatus
) -> None:
    assert status_after(instance, {PROCESS_TAG: typed}, status) == status.value


@pytest.mark.parametrize("typed", ["", "mine", "[]", '"x"', '{"socket": 1}', json.dumps({"socket": "s" * 500})])
def test_a_server_that_dagster_did_not_write_says_nothing(instance: dg.DagsterInstance, typed: str) -> None:
    assert status_after(instance, {".dagster/grpc_info": typed}) == "STARTED"


def test_a_run_that_is_executed_again_is_not_judged_by_the_process_of_the_first(
    instance: dg.DagsterInstance, gone: int
) -> None:
    copied = tag_of(make_new_run_id(), pid=gone)
    assert status_after(instance, copied, dg.DagsterRunStatus.NOT_STARTED) == "NOT_STARTED"
    assert status_after(instance, {PROCESS_TAG: str(gone)}, dg.DagsterRunStatus.NOT_STARTED) == "NOT_STARTED"


@pytest.mark.parametrize("status", UNSTARTED)
def test_a_run_that_nobody_started_for_long_is_ended_and_one_that_is_being_created_is_not(
    instance: dg.DagsterInstance, status: dg.DagsterRunStatus, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert status_after(instance, {}, status) == status.value
    monkeypatch.setattr(instances, "_STARTS_WITHIN", timedelta(0))
    assert status_after(instance, {}, status) == "FAILURE"


def test_this_process_is_named_by_its_tag(instance: dg.DagsterInstance) -> None:
    run_id = make_new_run_id()
    assert status_after(instance, process_tag(run_id), run_id=run_id) == "STARTED"
