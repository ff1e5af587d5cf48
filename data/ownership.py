"""Who writes to a storage root: one at a time, or runs of one Dagster side by side, and a clear word to everybody else.

Every writer keeps a record in `.owners` and has it locked for as long as it lives, so that the operating system says
whether it does: a record that nobody has locked was left by a process that was killed, by another boot, or by one whose
number has another process now. Where locks do not reach, on another machine, a writer that lives touches its record
every few seconds. Reading asks nobody. What is half made, output by output, is `data.files`' matter.
"""

from __future__ import annotations

import json
import os
import platform
import stat
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from threading import Event, Thread
from typing import Any

from data.errors import InputError, os_error
from data.files import sweep, try_lock
from data.layout import Layout

_BEAT_S = 15.0
STALE_S = 180.0  # a record from another machine that was not touched for so long is taken over
_LARGEST = 10_000  # bytes of a record
_CHILD = "DEEP_AUDIO_ISOLATION_OWNER"  # tells processes that a writer starts which record they belong to
_held: ContextVar[frozenset[str]] = ContextVar("_held", default=frozenset())


@dataclass(frozen=True)
class Process:
    """A process among all that ever were: its machine, that machine's boot, its number, and when it began.

    `space` is the set of numbers that `pid` is one of, for every container has its own; `began` is in the kernel's
    ticks since the boot, which no clock that is set right changes. Both are empty where the system does not tell.
    """

    host: str
    boot: str
    space: str
    pid: int
    began: str

    def lives(self) -> bool | None:
        """Whether the process is there; None where this one cannot tell, on another machine or in another container."""
        here = this_process()
        if self.host != here.host:
            return None
        if self.boot != here.boot:
            return False
        if self.space != here.space:
            return None
        return is_running(self.pid) and self.began == _began(self.pid)


def this_process() -> Process:
    """The process that asks."""
    boot = _read("/proc/sys/kernel/random/boot_id")
    space = ""
    with suppress(OSError):
        space = os.readlink("/proc/self/ns/pid")  # noqa: PTH115 (no file, and no path)
    return Process(platform.node(), boot, space, os.getpid(), _began(os.getpid()))


def is_running(pid: int) -> bool:
    """Whether a process has this number."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


@contextmanager
def own(root: Path, what: str, *, together: bool = False) -> Iterator[None]:
    """The right to write to the storage root while the block runs; `what` says to others what this is.

    Alone, or `together` with others that say so too. Processes that are started inside the block, and calls in it,
    belong to it and are let through. Raises InputError that names whoever is in the way. Who finds nobody else there
    removes what killed writers left.
    """
    folder = Layout(root).owners
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _guard(folder) as now:
            holders = _holders(folder, now)
            if _belongs(holders):
                record = None
            else:
                _refuse(root, [holder for holder in holders if not (together and holder.together)])
                record = _Record(folder, what, together)
    except OSError as error:
        raise os_error(error, "storage root", file=error.filename or root) from error
    if record is None:
        yield
        return
    with record.kept():
        if not holders:
            sweep(root)
        yield


@dataclass(frozen=True)
class _Holder:
    """What a record of a living writer says; a damaged one says nothing but that somebody is there."""

    file: Path
    what: str
    together: bool
    since: str
    process: Process | None

    def __str__(self) -> str:
        if self.process is None:
            return f"another run, of which {self.file} says nothing that can be read"
        return f"another run, process {self.process.pid} on host {self.process.host}, since {self.since} ({self.what})"


class _Record:
    """The record of this writer, locked."""

    def __init__(self, folder: Path, what: str, together: bool) -> None:
        self._file = folder / f"{uuid.uuid4().hex}.json"
        since = f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC"
        content = {"what": what, "together": together, "since": since, "process": asdict(this_process())}
        self._descriptor = os.open(self._file, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o644)
        try:
            try_lock(self._descriptor)
            os.write(self._descriptor, json.dumps(content, indent=1).encode())
        except BaseException:
            self._end()
            raise

    @contextmanager
    def kept(self) -> Iterator[None]:
        ended = Event()

        def beat() -> None:
            while not ended.wait(_BEAT_S):
                with suppress(OSError):
                    os.utime(self._descriptor)

        heart = Thread(target=beat, name="owner", daemon=True)
        outer, inherited = _held.get(), os.environ.get(_CHILD)
        try:
            heart.start()
            _held.set(outer | {self._file.name})
            os.environ[_CHILD] = self._file.name
            yield
        finally:
            ended.set()
            heart.join()
            _held.set(outer)
            if inherited is None:
                os.environ.pop(_CHILD, None)
            else:
                os.environ[_CHILD] = inherited
            self._end()

    def _end(self) -> None:
        with suppress(OSError):
            self._file.unlink()
        os.close(self._descriptor)


@contextmanager
def _guard(folder: Path) -> Iterator[float]:
    """One at a time looks who is there and comes in; yields the time by the clock that stamps the records."""
    descriptor = _open(folder / "guard", os.O_CREAT)
    try:
        try_lock(descriptor, wait=True)
        try:
            os.utime(descriptor)
            now = os.fstat(descriptor).st_mtime
        except OSError:  # of another user
            now = time.time()
        yield now
    finally:
        os.close(descriptor)


def _holders(folder: Path, now: float) -> list[_Holder]:
    """Everybody who writes to the root; records of those who no longer do are removed."""
    found = (_holder(file, now) for file in sorted(folder.glob("*.json")))
    return [holder for holder in found if holder is not None]


def _holder(file: Path, now: float) -> _Holder | None:
    try:
        descriptor = _open(file)
    except OSError:
        return None  # gone by now, or nothing that a writer keeps
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            return None
        holder = _parsed(file, os.read(descriptor, _LARGEST))
        got = try_lock(descriptor)
        if got is False or _may_live(holder.process, now - status.st_mtime < STALE_S, asked=got is not None):
            return holder
        with suppress(OSError):
            file.unlink()
        return None
    finally:
        os.close(descriptor)


def _may_live(process: Process | None, fresh: bool, asked: bool) -> bool:
    """Whether a writer lives whose record is not locked; `asked` where locks work here, `fresh` if its heart beats."""
    here = this_process()
    if process is None or not fresh:
        return False
    if process.host == here.host or (process.boot == here.boot and here.boot):
        # The same machine, whose locks would say so; or it was started again since.
        return not asked and process.lives() is not False
    return True


def _parsed(file: Path, content: bytes) -> _Holder:
    try:
        told: Any = json.loads(content)
        process = Process(**told["process"])
        texts = (told["what"], told["since"], process.host, process.boot, process.space, process.began)
        if not all(isinstance(text, str) for text in texts) or type(process.pid) is not int:
            raise TypeError(told)
        return _Holder(file, told["what"], told["together"] is True, told["since"], process)
    except (ValueError, KeyError, TypeError, RecursionError):
        return _Holder(file, "", False, "", None)


def _belongs(holders: list[_Holder]) -> bool:
    """Whether this call is part of what one of them does: made inside its block, or by a process that it started."""
    inherited = os.environ.get(_CHILD)
    for holder in holders:
        own_process = holder.process is not None and holder.process == this_process()
        if holder.file.name in _held.get() or (holder.file.name == inherited and not own_process):
            return True
    return False


def _refuse(root: Path, holders: list[_Holder]) -> None:
    if not holders:
        return
    remedy = "wait until it has ended, or end it; then try again"
    away = [holder for holder in holders if holder.process is not None and holder.process.lives() is None]
    if away:
        files = ", ".join(str(holder.file) for holder in away)
        remedy += f" (if it ended without saying so: in {STALE_S / 60:.0f} minutes, or after removing {files})"
    raise InputError(
        "storage root",
        file=root,
        expected="nobody else who writes to it",
        found="; ".join(map(str, holders)),
        remedy=remedy,
    )


def _open(file: Path, more: int = 0) -> int:
    flags = more | os.O_NONBLOCK | os.O_NOFOLLOW  # a pipe is not waited for
    try:
        return os.open(file, os.O_RDWR | flags, 0o644)
    except PermissionError:
        return os.open(file, os.O_RDONLY | flags, 0o644)  # of another user


def _began(pid: int) -> str:
    # The name of the program stands in brackets, and may hold any character.
    fields = _read(f"/proc/{pid}/stat").rpartition(")")[2].split()
    return fields[19] if len(fields) > 19 and fields[0] not in "ZX" else ""  # not one that has ended


def _read(file: str) -> str:
    try:
        return Path(file).read_text(errors="replace").strip()
    except OSError:
        return ""
