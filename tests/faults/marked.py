"""Processes that can be found again: all that one starts carry its mark in their environment."""

from __future__ import annotations

import os
import signal
import subprocess
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

_MARK = "FAULTS_MARK"
_LOOK = 0.01  # seconds between two looks at a log or a process: nobody calls back
PATIENCE = 300.0  # seconds after which something counts as hanging; the machine may be busy


class Marked:
    """A process in a session of its own that writes to `log`; what is left of it at the end is killed."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], log: Path, folder: Path) -> None:
        self.mark = uuid.uuid4().hex
        self._log = log
        self._started = time.monotonic()
        with open(log, "wb") as output:
            self.process = subprocess.Popen(
                command,
                cwd=folder,
                env={**environment, _MARK: self.mark, "PYTHONUNBUFFERED": "1"},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                # These tests may run behind a script, which has its children ignore Ctrl-C.
                preexec_fn=_heed_signals,
            )

    def __enter__(self) -> Marked:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.living():
            _signal(process, signal.SIGKILL)
        self.process.wait()

    def text(self) -> str:
        return self._log.read_text(errors="replace")

    def code(self) -> int:
        """The exit code. Fails where the process does not end."""
        return self.process.wait(PATIENCE)

    def follow(self) -> list[tuple[float, str]]:
        """Every line that the process writes until it ends, with the second in which it was seen."""
        lines: list[tuple[float, str]] = []

        def ended() -> bool:
            over = self.process.poll() is not None
            for line in self.text().splitlines()[len(lines) :]:
                lines.append((time.monotonic() - self._started, line))
            return over

        until(ended, PATIENCE)
        return [*lines, (time.monotonic() - self._started, "")]

    def saw(self, word: str) -> bool:
        """Wait until `word` is in the log; whether it is, when the process ended before."""
        until(lambda: word in self.text() or self.process.poll() is not None, PATIENCE)
        return word in self.text()

    def lasts(self, seconds: float) -> bool:
        """Whether the process is still there after so many seconds."""
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return True
        return False

    def signal(self, number: signal.Signals, *, group: bool) -> None:
        """Send a signal to the process alone, or to its whole group, as a terminal does."""
        if group:
            os.killpg(self.process.pid, number)
        else:
            _signal(self.process.pid, number)

    def living(self) -> list[int]:
        """Processes that carry the mark and live: this one, and what it started."""
        wanted = f"{_MARK}={self.mark}".encode()
        return [
            int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit() and wanted in _environ(entry)
        ]

    def orphans(self) -> list[str]:
        """What is still there once the process has ended and its children had time to notice, as command lines."""
        self.process.wait(PATIENCE)
        deadline = time.monotonic() + 60
        while (left := self.living()) and time.monotonic() < deadline:
            time.sleep(_LOOK)
        return [
            _read(Path(f"/proc/{process}/cmdline")).replace(b"\0", b" ").decode(errors="replace") for process in left
        ]


def until(condition: Callable[[], bool], patience: float = PATIENCE) -> None:
    """Wait for a condition. Fails after `patience` seconds."""
    deadline = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < deadline, "it never came to that"
        time.sleep(_LOOK)


def _heed_signals() -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def _environ(entry: Path) -> bytes:
    return _read(entry / "environ")


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:  # it ended meanwhile
        return b""


def _signal(process: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.kill(process, number)
