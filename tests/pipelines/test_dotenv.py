"""The environment and a `.env` that disagree, under Dagster's own programs: data and history lie where it says."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from pipelines_site import PROJECT
from small_datasets import write_hq_dataset

PROGRAMS = Path(sys.executable).parent
PATIENCE_S = 240
_LAUNCH = """mutation { launchRun(executionParams: {selector: {repositoryLocationName: "pipelines.definitions",
repositoryName: "__repository__", jobName: "ingest"}, runConfigData: {}}) { __typename } }"""
_STATUS = "{ runsOrError { ... on Runs { results { status } } } instance { info } }"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder whose `.env` names another storage root, and another home of Dagster, than the environment will."""
    write_hq_dataset(tmp_path / "musdb18", train=2, test=1, seconds=0.5)
    lines = ["ISOLATION_STORAGE=b", "DAGSTER_HOME=/nowhere", "ISOLATION_MUSDB18=musdb18", "ISOLATION_MEDLEYDB=off"]
    (tmp_path / ".env").write_text("\n".join(lines))
    return tmp_path


def environment(**changes: str) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("ISOLATION_", "DAGSTER_"))}
    return inherited | {"PYTHONPATH": str(PROJECT), "ISOLATION_STORAGE": "a"} | changes


@pytest.mark.skipif(
    not Path("/proc/self/environ").exists(), reason="the system does not tell what a process began with"
)
def test_dg_launch_works_where_the_environment_says(folder: Path) -> None:
    home = folder / "a" / "dagster"
    home.mkdir(parents=True)
    (folder / ".env").write_text((folder / ".env").read_text().replace("DAGSTER_HOME=/nowhere", ""))
    command = [str(PROGRAMS / "dg"), "launch", "--job", "ingest", "-m", "pipelines.definitions"]
    done = subprocess.run(
        command, cwd=folder, env=environment(DAGSTER_HOME=str(home)), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert (folder / "a/musdb18/archive/tracks.parquet").is_file()
    assert not (folder / "b").exists()


def test_the_ui_keeps_data_and_history_where_the_environment_says(folder: Path) -> None:
    with ui(folder) as ask:
        wait_until(lambda: ask(_LAUNCH)["launchRun"]["__typename"] == "LaunchRunSuccess")
        wait_until(lambda: [run["status"] for run in ask(_STATUS)["runsOrError"]["results"]] == ["SUCCESS"])
        told = ask(_STATUS)["instance"]["info"]
    assert "telemetry:\n  enabled: false" in told
    assert (folder / "a/musdb18/archive/tracks.parquet").is_file()
    assert (folder / "a/dagster/history/runs.db").is_file()
    assert not (folder / "b").exists()


@contextmanager
def ui(folder: Path) -> Iterator[Any]:
    """The UI, started in `folder`; yields a function that asks it by GraphQL, and answers {} while nobody listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "pipelines.ui", "--port", str(port)]
    with (folder / "ui.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, env=environment(), stdout=log, stderr=subprocess.STDOUT)

    def ask(query: str) -> Any:
        assert process.poll() is None, (folder / "ui.log").read_text()
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/graphql",
            json.dumps({"query": query}).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)["data"]

    try:
        yield ask
    finally:
        process.terminate()
        process.wait(timeout=60)


def wait_until(happened: Any) -> None:
    ends = time.monotonic() + PATIENCE_S
    while True:
        try:
            if happened():
                return
        except OSError:
            pass  # nobody listens yet
        assert time.monotonic() < ends
        time.sleep(0.3)  # until it is so: the server is asked, it does not call
