"""What runs while the UI is open: the guarded web server, one code server and the daemon, as `dagster dev` has them.

`pipelines.ui` starts this in a process group of its own, over a port that it listens on already, and ends it. How
long they live is decided here; who may speak to the web server stands in `pipelines.guard`.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import dagster as dg
import uvicorn
import yaml

# Dagster's own and not public: as `dagster dev` of 1.13.27 uses them.
from dagster._cli.proxy_server_manager import ProxyServerManager
from dagster._core.storage.tags import GRPC_INFO_TAG
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import WorkspaceFileTarget
from dagster._utils.log import configure_loggers
from dagster_webserver.version import __version__

from data.command import Stopped, run_command
from pipelines.guard import GuardedWebserver
from pipelines.instance import end_killed_runs, prepare_home

WORKSPACE = Path(__file__).resolve().parent.parent / "workspace.yaml"
PATIENCE_S = 60  # for the daemon, then the runs, then the code server to end by themselves
POLL_MS = 2000  # how often the UI asks what assets are doing
_GOING_ON = dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.STARTING])
_log = logging.getLogger("dagster.ui")


def main() -> int:
    """Serve until SIGTERM or SIGINT, or until the process that started this one is gone; returns 2 for bad input."""
    parser = argparse.ArgumentParser(prog="python -m pipelines.server", description="Started by pipelines.ui.")
    parser.add_argument("--listener", type=int, required=True, help="descriptor of the listening socket")
    parser.add_argument("--starter", type=int, required=True, help="descriptor of a pipe that its starter holds open")
    parser.add_argument("--root", type=Path, required=True, help="the storage root")
    options = parser.parse_args()
    threading.Thread(target=_end_with_the_starter, args=(options.starter,), daemon=True).start()
    with socket.socket(fileno=options.listener) as listener:
        return run_command(lambda: _run(listener, options.root))


def _run(listener: socket.socket, root: Path) -> int:
    configure_loggers(log_level="INFO")
    home = prepare_home(root)
    with suppress(Stopped), dg.DagsterInstance.get() as instance:
        end_killed_runs(instance)
        with _code_server(instance) as workspace, _daemon(workspace, home):
            _serve(instance, workspace, listener)
    return 0


def _serve(instance: dg.DagsterInstance, workspace: Path, listener: socket.socket) -> None:
    instance.optimize_for_webserver(statement_timeout=15_000, pool_recycle=3600, max_overflow=20)
    target = WorkspaceFileTarget([str(workspace)])
    with WorkspaceProcessContext(instance, target, version=__version__) as context:
        app = GuardedWebserver(context, live_data_poll_rate=POLL_MS).create_asgi_app()
        # h11 takes nothing that two readers could read differently; who asks says so itself, not a proxy before it.
        config = uvicorn.Config(
            app, http="h11", proxy_headers=False, log_level="warning", timeout_graceful_shutdown=2, lifespan="off"
        )
        host, port = listener.getsockname()
        _log.info("Dagster is open on http://%s:%d; Ctrl-C ends it", host, port)
        uvicorn.Server(config).run(sockets=[listener])


@contextmanager
def _code_server(instance: dg.DagsterInstance) -> Iterator[Path]:
    """The code server, on a socket in a file of this user; yields a workspace that names it.

    It loads definitions anew when the UI asks for it. When it ends, the runs that it carries out end too.
    """
    with ProxyServerManager(instance, WorkspaceFileTarget([str(WORKSPACE)]), "warning") as manager:
        with tempfile.TemporaryDirectory() as folder:
            workspace = Path(folder) / "workspace.yaml"
            workspace.write_text(yaml.safe_dump({"load_from": list(manager.get_code_server_specs())}))
            try:
                yield workspace
            finally:
                _cancel_runs(instance)
    for process in manager._grpc_server_registry._all_processes:
        with suppress(subprocess.TimeoutExpired):
            process.wait(PATIENCE_S)


def _cancel_runs(instance: dg.DagsterInstance) -> None:
    """End the runs that a code server carries out, as cancelling them in the UI does; those that wait go on waiting."""
    cancelled = []
    for run in instance.get_runs(_GOING_ON):
        if GRPC_INFO_TAG in run.tags and instance.run_launcher.terminate(run.run_id):
            _log.info("Run %s of %s is cancelled; what it has finished stays", run.run_id, run.job_name)
            cancelled.append(run.run_id)
    # Until they say so: a code server that is told to end may leave them behind.
    unfinished = dg.RunsFilter(run_ids=cancelled, statuses=[*_GOING_ON.statuses, dg.DagsterRunStatus.CANCELING])
    ends = time.monotonic() + PATIENCE_S
    while cancelled and instance.get_runs(unfinished) and time.monotonic() < ends:
        time.sleep(0.2)  # until it is so: Dagster's history does not call


@contextmanager
def _daemon(workspace: Path, home: Path) -> Iterator[None]:
    """The daemon, which carries out schedules, sensors and what is queued. Should it end by itself, all ends."""
    command = [sys.executable, "-m", "dagster._daemon", "run", "--log-level", "info", "-w", str(workspace)]
    daemon, ending = subprocess.Popen(command, cwd=home), threading.Event()

    def watch() -> None:
        daemon.wait()
        if not ending.is_set():
            _log.error("The daemon ended by itself (code %d)", daemon.returncode)
            os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()
    try:
        yield
    finally:
        ending.set()
        daemon.send_signal(signal.SIGTERM)
        try:
            daemon.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            daemon.kill()
            daemon.wait()


def _end_with_the_starter(pipe: int) -> None:
    """End as SIGTERM does when the other end of `pipe` is closed, as it is when the starter is killed."""
    os.read(pipe, 1)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(3 * PATIENCE_S)  # what all parts together may take to end; only what hangs is still here after it
    os.killpg(os.getpgrp(), signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main())
