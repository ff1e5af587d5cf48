"""`python -m pipelines.ui`: Dagster's UI and daemon on 127.0.0.1, with the history under the storage root.

Only the port, the one UI over a storage root, and the beginning and end of everything that runs for it: the programs
themselves are `pipelines.server`.
"""

from __future__ import annotations

import argparse
import errno
import fcntl
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

from data.command import BAD_INPUT, FAILED, run_command
from data.errors import InputError, os_error
from data.layout import Layout
from data.settings import Settings, environment, load_settings
from data.text import say

HOST = "127.0.0.1"
LOCK = "ui.lock"
PATIENCE_S = 200  # for everything to end by itself


def main() -> int:
    """Open the UI until SIGTERM, SIGHUP or Ctrl-C; returns 0, 1 where it ended by itself, 2 for bad input."""
    parser = argparse.ArgumentParser(prog="python -m pipelines.ui", description="Open Dagster for this project.")
    parser.add_argument(
        "--port", type=int, default=3000, help="port on 127.0.0.1; 0 for any that is free (default: %(default)s)"
    )
    port = parser.parse_args().port
    return run_command(lambda: _open(port))


def _open(port: int) -> int:
    settings = load_settings()
    home = Layout(settings.root).dagster
    with _listener(port) as listener, _only_one(home, listener):
        return _run(listener, _environment(settings), settings.root)


@contextmanager
def _listener(port: int) -> Iterator[socket.socket]:
    """The socket that listens on `port`; who connects before the web server is there waits for it.

    Raises InputError where the port cannot be had.
    """
    if not 0 <= port <= 65535:
        raise _bad_port(port, "a number from 0 to 65535", str(port))
    with socket.socket() as listener:
        # So that a port can be had again right after a UI on it has ended.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            _require_free(socket.AF_INET6, "::1", port)  # where a browser may look for `localhost` first
            listener.bind((HOST, port))
            listener.listen()
        except PermissionError as error:
            raise _bad_port(port, "a port that this user may listen on", "the system does not let it have") from error
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise os_error(error, f"port {port}") from error
            raise _bad_port(port, "a port that is free", "another program listens on it") from error
        yield listener


def _require_free(family: socket.AddressFamily, address: str, port: int) -> None:
    """Raises OSError with EADDRINUSE where another program listens there; without the family nothing does."""
    try:
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            probe.bind((address, port))
            probe.listen()
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise


def _bad_port(port: int, expected: str, found: str) -> InputError:
    return InputError(
        f"port {port}",
        expected=expected,
        found=found,
        remedy="choose another one: make ui PORT=3001, or --port 3001",
    )


@contextmanager
def _only_one(home: Path, listener: socket.socket) -> Iterator[None]:
    """Holds the lock of the UI over a history: two daemons would carry out every schedule twice.

    Raises InputError where another UI is open. The system gives the lock back when a process ends, however it does.
    """
    try:
        home.mkdir(parents=True, exist_ok=True)
        lock = open(home / LOCK, "a+", encoding="utf-8")  # noqa: SIM115 - closed below
    except OSError as error:
        raise os_error(error, "Dagster's history", file=home) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            lock.seek(0)
            raise InputError(
                "make ui",
                file=home,
                expected="one UI at a time over a storage root",
                found=f"one is open already: {lock.read().strip() or 'just started'}",
                remedy="use that one, or end it first",
            ) from error
        lock.truncate(0)
        lock.write("http://{}:{}, process {}\n".format(*listener.getsockname(), os.getpid()))
        lock.flush()
        yield


def _environment(settings: Settings) -> dict[str, str]:
    """The environment of the programs: this one's, and below it what `.env` says.

    They start in a folder without `.env`: Dagster would take its values over the environment's.
    """
    told = environment(settings)
    # Programs of the virtual environment are found also where it was not activated; so is the project itself.
    project = str(Path(__file__).resolve().parent.parent)
    return told | {
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), told.get("PATH", os.defpath)]),
        "PYTHONPATH": os.pathsep.join([project, *filter(None, [told.get("PYTHONPATH")])]),
        "DAGSTER_IS_DEV_CLI": "1",
    }


def _run(listener: socket.socket, environment: dict[str, str], root: Path) -> int:
    """Run the programs in a process group of their own until they end or this process is told to; returns a code."""
    watched, held = os.pipe()  # closed when this process ends, SIGKILL included: then the programs end themselves
    command = [sys.executable, "-m", "pipelines.server", "--listener", str(listener.fileno())]
    programs = subprocess.Popen(
        [*command, "--starter", str(watched), "--root", str(root)],
        cwd=Layout(root).dagster,
        env=environment,
        pass_fds=(listener.fileno(), watched),
        start_new_session=True,  # Ctrl-C reaches this process alone, which ends them in their order
    )
    told = False

    def end(number: int, frame: FrameType | None) -> None:
        nonlocal told
        if told:  # twice, or in vain
            _kill(programs.pid)
            return
        told = True
        with suppress(OSError):  # the terminal may be gone
            say("Ending Dagster. Runs that are going on are cancelled; what they have finished is not done again.")
        programs.terminate()
        signal.alarm(PATIENCE_S)

    # SIGINT also where it was ignored, as a shell does for what a script starts in the background.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM):
        signal.signal(number, end)
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # nohup wants it to stay
        signal.signal(signal.SIGHUP, end)
    code = programs.wait()
    _kill(programs.pid)
    os.close(held)
    return 0 if told else code if code == BAD_INPUT else FAILED


def _kill(group: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main())
