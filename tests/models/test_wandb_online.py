"""Weights & Biases when its service is away, refuses, or goes away: the training goes on and ends, its run is kept."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("wandb")

ROOT = Path(__file__).parents[2]
NAME = "tiny-2026-11-22-2305"
KEY = "0123456789" * 4

# Waits for a line before it ends, so that the service can be taken away in between.
TRAINING = f"""
import sys
from pathlib import Path
from tiny import tiny_candidate
from data.errors import InputError
from models.progress import Progress, RunStart
from models.reporters import wandb
wandb.SECONDS_TO_FINISH = 1
folder = Path(sys.argv[1])
try:
    reporter = wandb.WandbReporter("online", "a-project", lambda line: print("TOLD", line, flush=True))
except InputError as error:
    sys.exit(str(error))
reporter.start(RunStart({NAME!r}, tiny_candidate(), 9818, 3, 1, 40, None, 0, "cpu", 1, folder))
print("STARTED", flush=True)
sys.stdin.readline()
reporter.progress(Progress(1, 4, 1, 40, 0.5, 1e-3, 1.0, 12.5, 0.0, 0, 1.0, 39.0))
reporter.close()
print("ENDED", flush=True)
"""


class Service(BaseHTTPRequestHandler):
    """As much of the service as beginning a run asks for."""

    def do_HEAD(self) -> None:
        self._answer(200, b"")

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self._answer(200, json.dumps({"data": _ANSWERS}).encode())

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


class Refusing(Service):
    """A service that answers, and takes no runs."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self._answer(501, b"{}")


_PROJECT = {"id": "P", "name": "a-project", "entity": {"id": "E", "name": "somebody"}}
_RUN = {"id": "B", "name": NAME, "displayName": NAME, "config": "{}", "project": _PROJECT, "historyLineCount": 0}
_ANSWERS = {
    "upsertBucket": {"bucket": _RUN, "inserted": True},
    "viewer": {"id": "U", "entity": "somebody", "username": "somebody", "flags": "{}", "teams": {"edges": []}},
    "serverInfo": {"cliVersionInfo": {"max_cli_version": "0.26.1"}, "features": []},
    "model": {"bucket": None},
}


@contextmanager
def _serving(handler: type[Service]) -> Iterator[ThreadingHTTPServer]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _training(folder: Path, port: int, key: str | None = KEY) -> subprocess.Popen[str]:
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("WANDB_")},
        "HOME": str(folder),  # no login of whoever runs this
        "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}:{Path(__file__).parent}",
        "WANDB_BASE_URL": f"http://127.0.0.1:{port}",
        "WANDB_ERROR_REPORTING": "false",
        **({"WANDB_API_KEY": key} if key else {}),
    }
    return subprocess.Popen(
        [sys.executable, "-c", TRAINING, str(folder / "run")],
        env=environment,
        cwd=folder,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def _ended(process: subprocess.Popen[str]) -> str:
    """What a training said that is let end."""
    try:
        out, _ = process.communicate("\n", timeout=60)
    finally:
        process.kill()
    assert process.returncode == 0, out
    assert "ENDED" in out
    assert "Traceback" not in out
    return out


def test_a_service_that_is_away_leaves_an_offline_run(tmp_path: Path) -> None:
    with _serving(Service) as server:
        port = server.server_port
    out = _ended(_training(tmp_path, port))  # nobody listens there any more
    assert f"TOLD Weights & Biases does not answer at http://127.0.0.1:{port}" in out
    assert list((tmp_path / "run" / "wandb").glob(f"offline-run-*-{NAME}/*.wandb"))


def test_a_service_that_refuses_leaves_an_offline_run(tmp_path: Path) -> None:
    with _serving(Refusing) as server:
        out = _ended(_training(tmp_path, server.server_port))
    assert "TOLD Weights & Biases refuses the run" in out
    assert list((tmp_path / "run" / "wandb").glob(f"offline-run-*-{NAME}/*.wandb"))


def test_a_service_that_goes_away_does_not_keep_the_training_from_ending(tmp_path: Path) -> None:
    with _serving(Service) as server:
        process = _training(tmp_path, server.server_port)
        assert process.stdout is not None
        said = ""
        while "STARTED" not in said:
            line = process.stdout.readline()
            assert line, said
            said += line
    assert "TOLD" not in said
    out = _ended(process)
    assert "TOLD Weights & Biases does not answer" in out
    assert list((tmp_path / "run" / "wandb").glob(f"run-*-{NAME}/*.wandb"))


def test_no_key_is_said_at_once(tmp_path: Path) -> None:
    with _serving(Service) as server:
        process = _training(tmp_path, server.server_port, key=None)
        out, _ = process.communicate("", timeout=60)
    assert process.returncode == 1
    assert "ISOLATION_WANDB=online" in out
    assert "WANDB_API_KEY" in out
    assert "STARTED" not in out
