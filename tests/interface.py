"""The UI in processes of its own, with a training that does not end by itself: what tests of the UI share."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import requests
import torch
from training_root import write_candidate, write_training_root

from benchmarks.processes import descendants

ROOT = Path(__file__).parents[1]
LAUNCH = """mutation($params: ExecutionParams!) { launchRun(executionParams: $params) {
  __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } } }"""
TERMINATE = "mutation($id: String!) { terminateRun(runId: $id) { __typename ... on PythonError { message } } }"
STATUS = "query($id: ID!) { runOrError(runId: $id) { ... on Run { status } } }"
READY = """query { repositoriesOrError { ... on RepositoryConnection { nodes { name location { name } } } } }"""


class Interface:
    """The UI in processes of its own."""

    def __init__(self, folder: Path) -> None:
        self.storage = write_training_root(folder / "storage")
        write_candidate(folder / "candidates", "long", epochs=100_000, steps_per_epoch=4)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        environment = os.environ | {
            "ISOLATION_STORAGE": str(self.storage),
            "ISOLATION_CANDIDATES": str(folder / "candidates"),
            "ISOLATION_DEVICE": "cpu",
            "ISOLATION_TRAINING_PROCESSES": "2",
        }
        self.log = folder / "ui.log"
        with open(self.log, "wb") as output:
            # As a script starts it in the background: without Ctrl-C.
            command = ["bash", "-c", 'trap "" INT; exec "$@"', "ui"]
            command += [sys.executable, "-m", "pipelines.ui", "--port", str(port)]
            self.process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=output, stderr=output)
        self._url = f"http://127.0.0.1:{port}/graphql"

    def ask(self, query: str, **variables: Any) -> Any:
        answer = requests.post(self._url, json={"query": query, "variables": variables}, timeout=60).json()
        assert "errors" not in answer, answer
        (content,) = answer["data"].values()
        return content

    def repository(self) -> dict[str, Any] | None:
        try:
            nodes = self.ask(READY).get("nodes")
        except (requests.RequestException, ValueError):
            return None
        return nodes[0] if nodes else None

    def train(self) -> str:
        repository = self.repository()
        assert repository is not None
        selector = {
            "repositoryName": repository["name"],
            "repositoryLocationName": repository["location"]["name"],
            "jobName": "train",
        }
        tags = [{"key": "dagster/partition", "value": "long"}]
        answer = self.ask(LAUNCH, params={"selector": selector, "executionMetadata": {"tags": tags}})
        assert answer["__typename"] == "LaunchRunSuccess", answer
        return str(answer["run"]["runId"])

    def status(self, run: str) -> str:
        return str(self.ask(STATUS, id=run)["status"])

    def step(self) -> int:
        """The step of the state that the training saved last."""
        states = list(self.storage.glob("separators/unfinished/long/*/state.pt"))
        return torch.load(states[0], weights_only=True)["progressed"]["step"] if states else 0

    def end(self) -> None:
        if self.process.poll() is None:
            for process in descendants(self.process.pid):
                os.kill(process, signal.SIGKILL)
            self.process.wait()

    def wait_until(self, happened: Callable[[], bool]) -> None:
        """Wait for something to become true while the UI is open."""
        deadline = time.monotonic() + 120
        while not happened():
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()[-3000:]
            time.sleep(0.1)  # until it is so: neither the UI's API nor the system calls back


def training_processes(process: int) -> list[int]:
    """The processes of a training that descend from a process."""
    return [each for each in descendants(process) if b"models.train" in Path(f"/proc/{each}/cmdline").read_bytes()]


def lives(process: int) -> bool:
    """Whether a process runs."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{process}/status").read_text()
    except OSError:
        return False


def wait_until(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.1)  # until it is so: the system does not call back
