"""The boundary of every command line: what ends a command, in words for a person and as an exit code.

Every `main` of the project hands its work to `run_command`, so that bad input, an operating system that refuses, and
signals are told in the same way everywhere, without a traceback. A traceback is a fault of the program, and nothing
else. What a command does never belongs here.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import TextIO

from data.errors import InputError, os_error
from data.text import say

FAILED = 1
BAD_INPUT = 2
BY_SIGNAL = 128  # and the number of the signal, as shells count

# Where a process that another one started writes why it failed, instead of telling a person: the other one will.
PROBLEM_FILE = "DEEP_AUDIO_ISOLATION_PROBLEM_FILE"

_ENDING = [signal.SIGINT, signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else [])]


class Stopped(KeyboardInterrupt):
    """This process was asked to end: Ctrl-C, SIGTERM, or a terminal that was closed.

    A KeyboardInterrupt, so that whatever cleans up after Ctrl-C cleans up after all of them. `said` is what a person
    should know beyond that.
    """

    def __init__(self, signum: int, said: str = "") -> None:
        super().__init__(signal.Signals(signum).name)
        self.signum = signum
        self.said = said


def run_command(body: Callable[[], int]) -> int:
    """Do the work of a command and return its exit code: what `body` returns, or that of what ended it.

    2 where input, the operating system or the memory does not allow it, 128 and the signal's number where a signal
    ended it, 141 where nobody reads what it prints. What argparse refuses exits with 2 by itself.
    """
    _prepare_streams()
    with _signals_raise():
        try:
            code = body()
            sys.stdout.flush()
            return code
        except InputError as problem:
            return _refused(problem)
        except KeyboardInterrupt as interrupt:
            signum = interrupt.signum if isinstance(interrupt, Stopped) else signal.SIGINT
            said = interrupt.said if isinstance(interrupt, Stopped) else ""
            if PROBLEM_FILE not in os.environ:
                _tell(f"stopped by {signal.Signals(signum).name}" + (f"; {said}" if said else ""))
            return BY_SIGNAL + signum
        except MemoryError as error:
            return _refused(out_of_memory("memory", str(error), "close other programs, or use a larger machine"))
        except ImportError as error:
            if "failed to map segment" not in str(error):
                raise
            return _refused(out_of_memory("memory", str(error), "close other programs, or use a larger machine"))
        except BrokenPipeError as error:
            # `... | head` has read enough.
            return BY_SIGNAL + signal.SIGPIPE if output_is_closed() else _refused(_unnamed(error))
        except OSError as error:
            return _refused(_unnamed(error))
        finally:
            _let_go_of_broken_streams()


def out_of_memory(what: str, found: str, remedy: str) -> InputError:
    """Too little memory, as bad input of `what`."""
    return InputError(what, expected="enough memory", found=found or "not enough for what was asked", remedy=remedy)


def raise_if_stopped() -> None:
    """Raise `Stopped` where a signal arrived that a library took for itself (Dagster has handlers of its own)."""
    if _arrived is not None and (signum := _arrived.first()) is not None:
        _ignore_further()
        raise Stopped(signum)


@contextmanager
def undisturbed() -> Iterator[None]:
    """Signals that arrive in the block end the command after it: for a few steps that belong together."""
    global _holding
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    _holding += 1
    try:
        yield
    finally:
        _holding -= 1
    if not _holding and _held:
        raise Stopped(_held.pop())


def output_is_closed() -> bool:
    """Whether standard output is a pipe that nobody reads any more."""
    try:
        descriptor = sys.stdout.fileno()
    except (AttributeError, OSError, ValueError):
        return False
    if not hasattr(select, "poll"):
        return False
    asked = select.poll()
    asked.register(descriptor, 0)
    return any(found & (select.POLLERR | select.POLLHUP) for _, found in asked.poll(0))


def read_problem(file: Path) -> InputError | None:
    """Why a process failed that was started with `PROBLEM_FILE` set to `file`; None where it could not say."""
    try:
        return InputError(**json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def write_problem(file: Path, problem: InputError) -> None:
    """Leave the reason of a failure for whoever started this process; the first of several processes is heard."""
    content = {name: getattr(problem, name) for name in ("what", "expected", "found", "remedy", "file")}
    with suppress(OSError), open(file, "x", encoding="utf-8") as written:
        json.dump(content, written)


def _refused(problem: InputError) -> int:
    if PROBLEM_FILE in os.environ:
        write_problem(Path(os.environ[PROBLEM_FILE]), problem)
    else:
        _tell(str(problem))
    return BAD_INPUT


def _unnamed(error: OSError) -> InputError:
    if isinstance(error, FileNotFoundError) and not error.filename:
        try:
            os.getcwd()  # noqa: PTH109 - what a path is taken from
        except FileNotFoundError:
            return InputError(
                "current folder",
                expected="a folder that is there",
                found="one that was removed",
                remedy="change to a folder that is there (cd), then try again",
            )
    # What is printed goes to a file, too, where a shell says so; that one has no name here.
    return os_error(error, "file" if error.filename else "file or standard output")


def _tell(text: str) -> None:
    # Nobody may be there any more: the terminal is closed, the disk that the log goes to is full.
    with suppress(OSError, ValueError):
        say(text)


_AGAIN_S = 1.0  # between looks whether what was raised for a signal arrived

_holding = 0
_held: list[int] = []
_stopping: int = signal.SIGINT
_unheeded: set[int] = set()
_arrived: _Arrived | None = None


class _Arrived:
    """Which signals arrived, in their order, whoever handles them."""

    def __init__(self) -> None:
        self._reader, self._writer = socket.socketpair()
        self._reader.setblocking(False)
        self._writer.setblocking(False)
        self._before = signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)

    def first(self) -> int | None:
        """The first signal since the last look that asks this process to end."""
        with suppress(BlockingIOError):
            asked = [number for number in self._reader.recv(4096) if number in _ENDING and number not in _unheeded]
            return asked[0] if asked else None
        return None

    def close(self) -> None:
        signal.set_wakeup_fd(self._before)
        self._reader.close()
        self._writer.close()


@contextmanager
def _signals_raise() -> Iterator[None]:
    """Have the signals that ask a process to end raise `Stopped`; once one did, nothing disturbs the cleaning up."""
    global _arrived
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {each: signal.getsignal(each) for each in _ENDING}
    # What whoever started this process has it ignore stays ignored (nohup; background jobs of a script), also where a
    # library gives SIGTERM the handler of SIGINT. But whoever waits for the reason of a failure speaks by SIGINT.
    _unheeded.update(each for each, handler in before.items() if handler is signal.SIG_IGN)
    if PROBLEM_FILE in os.environ:
        _unheeded.discard(signal.SIGINT)
    _arrived = _Arrived()
    unraisable, sys.unraisablehook = sys.unraisablehook, _lost
    for each in _ENDING:
        if each == signal.SIGINT or each not in _unheeded:
            signal.signal(each, _stop)
    try:
        yield
    finally:
        if hasattr(signal, "setitimer"):
            signal.setitimer(signal.ITIMER_REAL, 0)
        sys.unraisablehook = unraisable
        stopped = signal.getsignal(signal.SIGTERM) is _ignored
        _arrived.close()
        _arrived = None
        _unheeded.clear()
        if not stopped:
            for each, handler in before.items():
                # Only a command that `data.loading` made ready has this one. It is done: Ctrl-C in the last moment is
                # to keep it from cleaning up no more.
                over = each == signal.SIGINT and handler is signal.SIG_DFL
                signal.signal(each, _ignored if over else handler)


def _stop(signum: int, frame: FrameType | None) -> None:
    if signum in _unheeded:
        return
    others = signal.getsignal(signal.SIGINT)
    if callable(others) and others is not _stop:
        # A library handles Ctrl-C at the moment, but does not know this signal.
        others(signal.SIGINT, frame)
        return
    _ignore_further()
    if _holding:
        _held.append(signum)
        return
    global _stopping
    _stopping = signum
    if hasattr(signal, "setitimer"):
        signal.signal(signal.SIGALRM, _raise_again)
        signal.setitimer(signal.ITIMER_REAL, _AGAIN_S, _AGAIN_S)
    raise Stopped(signum)


def _raise_again(signum: int, frame: FrameType | None) -> None:
    """Raise what was lost: an exception within a callback of a C library (soundfile's) goes nowhere.

    Where something is cleaned up because of it, it was not lost.
    """
    handled = sys.exc_info()[1]
    while handled is not None:
        if isinstance(handled, Stopped):
            return
        handled = handled.__context__
    if not _holding:
        raise Stopped(_stopping)


def _lost(found: sys.UnraisableHookArgs) -> None:
    """Say nothing of what a signal raised where Python drops it (as something is forgotten): it is raised again.

    Stopped, or what a library raises for signals of its own accord: no mere Exception, so that nobody catches it.
    """
    if found.exc_value is None or isinstance(found.exc_value, Exception):
        sys.__unraisablehook__(found)


def _ignore_further() -> None:
    for each in _ENDING:
        signal.signal(each, _ignored)


def _ignored(signum: int, frame: FrameType | None) -> None:
    """Instead of SIG_IGN: Python complains of a signal that arrived before it was ignored, and is handled after."""


def _prepare_streams() -> None:
    """Have standard output and error take any text: what a terminal cannot show is escaped."""
    for name in ("stdout", "stderr"):
        stream: TextIO | None = getattr(sys, name)
        if stream is None:  # closed by whoever started this process
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def _let_go_of_broken_streams() -> None:
    # What cannot be written now would be tried again when Python ends, with a message of its own.
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            with suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
