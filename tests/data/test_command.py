"""The boundary of command lines: what ends a command, told in words and by an exit code."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from data.command import PROBLEM_FILE, read_problem, run_command
from data.errors import InputError

ROOT = Path(__file__).parents[2]


def _start(body: str, **settings: object) -> subprocess.Popen[bytes]:
    """Run the function `body` of a program as a command."""
    program = "import os, sys, signal, time, threading\nfrom data.command import *\n" + textwrap.dedent(body)
    program += "\nsys.exit(run_command(body))\n"
    chosen: dict[str, object] = {
        "stdout": subprocess.PIPE,
        "stderr": subprocess.PIPE,
        "stdin": subprocess.PIPE,
        "start_new_session": True,
        "preexec_fn": lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    }
    return subprocess.Popen([sys.executable, "-u", "-c", program], cwd=ROOT, **(chosen | settings))


def _outcome(process: subprocess.Popen[bytes]) -> tuple[int, str, str]:
    printed, errors = process.communicate(timeout=60)
    return process.returncode, (printed or b"").decode(), errors.decode()


WAITS = """
def body():
    try:
        print("ready", flush=True)
        while True:
            time.sleep(0.01)
    finally:
        for _ in range(20):
            time.sleep(0.01)  # a second signal comes in between
        print("cleaned up", flush=True)
"""


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_a_command_with_one_line_after_it_has_cleaned_up(signum: signal.Signals) -> None:
    process = _start(WAITS)
    assert process.stdout is not None
    process.stdout.readline()
    process.send_signal(signum)
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGTERM)
    code, printed, errors = _outcome(process)
    assert code - 128 in (signum, signal.SIGINT, signal.SIGTERM)  # whichever is seen first
    assert printed == "cleaned up\n"
    assert errors == f"stopped by {signal.Signals(code - 128).name}\n"


def test_a_signal_that_a_callback_of_a_library_swallowed_ends_the_command_all_the_same() -> None:
    process = _start(
        """
        import ctypes
        @ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)
        def compare(a, b):
            print("ready", flush=True)
            signal.pause()
            return 0
        def body():
            ctypes.CDLL(None).qsort((ctypes.c_int * 2)(2, 1), 2, 4, compare)
            print("it went on", flush=True)
            while True:
                time.sleep(0.01)
        """
    )
    assert process.stdout is not None
    process.stdout.readline()
    process.send_signal(signal.SIGTERM)
    assert _outcome(process) == (128 + signal.SIGTERM, "it went on\n", "stopped by SIGTERM\n")


def test_a_signal_that_a_library_took_for_itself_is_remembered() -> None:
    process = _start(
        """
        def body():
            signal.signal(signal.SIGINT, lambda *_: None)
            signal.signal(signal.SIGTERM, lambda *_: None)
            print("ready", flush=True)
            sys.stdin.read()
            raise_if_stopped()
            return 0
        """
    )
    assert process.stdout is not None
    process.stdout.readline()
    process.send_signal(signal.SIGTERM)
    assert _outcome(process) == (128 + signal.SIGTERM, "", "stopped by SIGTERM\n")


def test_steps_that_belong_together_are_not_torn_apart() -> None:
    process = _start(
        """
        def body():
            with undisturbed():
                print("ready", flush=True)
                sys.stdin.read(1)
                print("both", flush=True)
            print("never")
        """
    )
    assert process.stdout is not None
    assert process.stdin is not None
    process.stdout.readline()
    process.send_signal(signal.SIGTERM)
    process.stdin.write(b"x")
    assert _outcome(process) == (128 + signal.SIGTERM, "both\n", "stopped by SIGTERM\n")


def test_ctrl_c_after_the_work_keeps_a_command_from_cleaning_up_no_more() -> None:
    process = _start(
        """
        import atexit
        def last():
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.01)  # where Python would raise what arrived
            print("cleaned up", flush=True)
        atexit.register(last)
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # as data.loading does for commands
        def body():
            return 0
        """
    )
    assert _outcome(process) == (0, "cleaned up\n", "")


@pytest.mark.parametrize(("kind", "told"), [("BaseException", False), ("Exception", True)])
def test_what_a_library_raises_for_a_signal_is_not_told_where_python_drops_it(kind: str, told: bool) -> None:
    process = _start(
        f"""
        class Interrupted({kind}):
            pass
        class Thing:
            def __del__(self):
                raise Interrupted
        def body():
            Thing()
            return 0
        """
    )
    code, printed, errors = _outcome(process)
    assert (code, printed) == (0, "")
    assert ("Interrupted" in errors) is told


def test_what_a_job_in_the_background_is_to_ignore_stays_ignored_and_sigterm_is_obeyed() -> None:
    process = _start(WAITS, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN))
    assert process.stdout is not None
    process.stdout.readline()
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGTERM)
    assert _outcome(process)[0] == 128 + signal.SIGTERM


def test_a_closed_terminal_does_not_end_what_was_started_with_nohup() -> None:
    process = _start(WAITS, preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
    assert process.stdout is not None
    process.stdout.readline()
    process.send_signal(signal.SIGHUP)
    process.send_signal(signal.SIGTERM)
    assert _outcome(process)[0] == 128 + signal.SIGTERM


def test_output_that_nobody_reads_any_more_ends_a_command_quietly() -> None:
    process = _start(
        """
        def body():
            while True:
                print("line")
        """
    )
    assert process.stdout is not None
    process.stdout.readline()
    process.stdout.close()
    process.stdout = None
    code, _, errors = _outcome(process)
    assert (code, errors) == (128 + signal.SIGPIPE, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no device that is always full")
def test_output_to_a_full_disk_is_told() -> None:
    with open("/dev/full", "wb") as full:
        code, _, errors = _outcome(_start("def body():\n    print('line')\n    return 0", stdout=full))
    assert code == 2
    assert "room on the disk" in errors
    assert "Traceback" not in errors
    assert "Exception ignored" not in errors


def test_a_terminal_that_cannot_show_a_character_sees_it_escaped() -> None:
    body = "def body():\n    print('J\\xfcrgen \\udce9')\n    return 0"
    code, printed, errors = _outcome(_start(body, env=os.environ | {"PYTHONIOENCODING": "ascii:strict"}))
    assert (code, printed, errors) == (0, "J\\xfcrgen \\udce9\n", "")


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "/data/x"), ["file:     /data/x", "room on the disk"]),
        (OSError(errno.EROFS, "Read-only file system", b"/data/\xe9"), ["\\xe9", "not read-only"]),
        (PermissionError(errno.EACCES, "Permission denied", "/data/x"), ["permissions"]),
        (ImportError("libx.so: failed to map segment from shared object"), ["enough memory", "libx.so"]),
        (MemoryError("of 8 GB"), ["enough memory", "of 8 GB"]),
        (InputError("it", expected="a", found="b", remedy="c"), ["expected: a"]),
    ],
)
def test_what_a_system_refuses_is_bad_input(
    error: Exception, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    def body() -> int:
        raise error

    assert run_command(body) == 2
    told = capsys.readouterr().err
    assert all(word in told for word in words)


def test_a_current_folder_that_was_removed_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert run_command(lambda: len(str(Path.cwd()))) == 2
    told = capsys.readouterr().err
    assert "current folder" in told
    assert "one that was removed" in told


def test_a_fault_of_the_program_is_not_hidden() -> None:
    def body() -> int:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run_command(body)


def test_the_handlers_of_the_caller_are_back_after_a_command() -> None:
    before = [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    assert run_command(lambda: 3) == 3
    assert [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)] == before


def test_whoever_started_a_process_gets_its_reason_instead_of_the_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "problem.json"
    monkeypatch.setenv(PROBLEM_FILE, str(file))

    def fail(what: str) -> int:
        raise InputError(what, expected="a", found="b", remedy="c", file="caf\udce9")

    assert run_command(lambda: fail("first")) == 2
    assert run_command(lambda: fail("second")) == 2
    assert capsys.readouterr().err == ""
    problem = read_problem(file)
    assert problem is not None
    assert (problem.what, problem.file) == ("first", "caf\\xe9")
    file.write_text(json.dumps({"other": 1}))
    assert read_problem(file) is None
    assert read_problem(tmp_path / "none") is None
