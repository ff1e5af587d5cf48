"""Who may write to a storage root: with real processes, and with records as killed and far ones leave them."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from threading import Barrier, Thread
from typing import IO, Any

import pytest

from data.errors import InputError
from data.files import claim
from data.layout import Layout
from data.ownership import STALE_S, own, this_process

PROJECT = Path(__file__).resolve().parents[2]
OWNER = """
import subprocess, sys
from pathlib import Path
from data.errors import InputError
from data.ownership import own
root, what, together = Path(sys.argv[1]), sys.argv[2], sys.argv[3] == "together"
try:
    with own(root, what, together=together):
        print("in", flush=True)
        line = sys.stdin.readline().strip()
        if line:
            sys.exit(subprocess.run([sys.executable, "-c", line, str(root)]).returncode)
except InputError as error:
    print(error, flush=True)
    sys.exit(2)
"""
HALF_MADE = """
import os, sys
from pathlib import Path
from data.files import claim
held = claim(Path(sys.argv[1]) / "out")
held.__enter__()
os.kill(os.getpid(), 9)
"""
CHILD = (
    "import sys; from pathlib import Path; from data.ownership import own; own(Path(sys.argv[1]), 'child').__enter__()"
)


class Other:
    """Another process that owns a storage root, or wants to."""

    def __init__(self, root: Path, what: str, how: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", OWNER, str(root), what, how],
            cwd=PROJECT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def line(self) -> str:
        return stream(self.process.stdout).readline().strip()

    def end(self, last: str = "") -> tuple[int, str]:
        output, _ = self.process.communicate(f"{last}\n", timeout=60)
        return self.process.returncode, output

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()


def stream(pipe: IO[str] | None) -> IO[str]:
    assert pipe is not None
    return pipe


@contextmanager
def other(root: Path, what: str = "make run", how: str = "alone") -> Iterator[Other]:
    started = Other(root, what, how)
    try:
        yield started
    finally:
        started.kill()


def records(root: Path) -> list[Path]:
    return sorted(Layout(root).owners.glob("*.json"))


def left(root: Path, age_s: float = 0.0, name: str = "0" * 32, **changes: Any) -> Path:
    """A record as this process, or one that differs from it, would have left it without a lock."""
    process = asdict(replace(this_process(), **changes))
    file = Layout(root).owners / f"{name}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({"what": "make run", "together": False, "since": "2026-01-01", "process": process}))
    os.utime(file, (time.time() - age_s,) * 2)
    return file


def test_the_second_is_told_who_the_first_is_and_what_to_do(tmp_path: Path) -> None:
    with other(tmp_path, "the first") as first:
        assert first.line() == "in"
        with pytest.raises(InputError) as refused, own(tmp_path, "the second"):
            pass
        process = this_process()
        for told in (
            f"another run, process {first.process.pid} on host {process.host}, since 20",
            "(the first)",
            "wait",
        ):
            assert told in str(refused.value)
        assert "removing" not in str(refused.value)
        assert first.end() == (0, "")
    with own(tmp_path, "the second"):
        assert len(records(tmp_path)) == 1
    assert not records(tmp_path)


def test_runs_of_one_dagster_go_side_by_side_and_not_beside_one_that_is_alone(tmp_path: Path) -> None:
    with other(tmp_path, "one", "together") as one, other(tmp_path, "two", "together") as two:
        assert (one.line(), two.line()) == ("in", "in")
        with other(tmp_path, "three", "alone") as three:
            code, told = three.end()
        assert code == 2
        assert "(one)" in told
        assert "(two)" in told
    with other(tmp_path, "alone", "alone") as alone:
        assert alone.line() == "in"
        with other(tmp_path, "late", "together") as late:
            code, told = late.end()
        assert code == 2
        assert "(alone)" in told


def test_a_killed_owner_is_taken_over_and_what_it_left_half_made_removed(tmp_path: Path) -> None:
    with other(tmp_path) as owner:
        assert owner.line() == "in"
        subprocess.run([sys.executable, "-c", HALF_MADE, str(tmp_path)], cwd=PROJECT, check=False)
        owner.kill()
    assert len(records(tmp_path)) == 1
    assert len(list(tmp_path.glob(".partial-*"))) == 1
    with own(tmp_path, "next"):
        assert len(records(tmp_path)) == 1
        assert not list(tmp_path.glob(".partial-*"))


def test_what_one_of_several_is_writing_is_not_swept_away(tmp_path: Path) -> None:
    with claim(tmp_path / "out") as place, own(tmp_path, "one"):
        assert place.is_dir()


@pytest.mark.parametrize(
    "changes",
    [
        {"began": "1"},
        {"pid": 2**22 + 1},
        {"boot": "of last week"},
        {"space": "pid:[1]"},
        {"host": "renamed"},
        {"host": "far", "boot": "far", "age_s": STALE_S + 60},
    ],
    ids=["number used again", "process gone", "other boot", "other container", "host renamed", "silent for long"],
)
def test_a_record_that_a_dead_process_left_is_taken_over(tmp_path: Path, changes: dict[str, Any]) -> None:
    file = left(tmp_path, **changes)
    with own(tmp_path, "next"):
        assert not file.exists()


def test_a_writer_on_another_machine_that_is_heard_of_is_not_taken_over_and_its_file_is_named(tmp_path: Path) -> None:
    file = left(tmp_path, host="far", boot="far", age_s=STALE_S / 2)
    with pytest.raises(InputError) as refused, own(tmp_path, "next"):
        pass
    assert "on host far" in str(refused.value)
    assert str(file) in refused.value.remedy
    assert file.exists()


GARBAGE = [
    b"",
    b"{",
    b"[]",
    b"null",
    b"\xff\xfe",
    b"[" * 5000,
    b"{}" * 9000,
    b'{"what": 1}',
    b'{"what": "x", "process": {"pid": "1"}}',
    json.dumps({"what": "x", "since": "y", "process": asdict(replace(this_process(), pid="1"))}).encode(),  # type: ignore
]


@pytest.mark.parametrize("content", GARBAGE)
def test_a_damaged_record_is_taken_over_unless_somebody_holds_it(tmp_path: Path, content: bytes) -> None:
    file = left(tmp_path)
    file.write_bytes(content)
    with open(file) as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(InputError, match="says nothing that can be read"), own(tmp_path, "next"):
            pass
    with own(tmp_path, "next"):
        assert not file.exists()


def test_what_is_no_file_is_no_record(tmp_path: Path) -> None:
    folder = Layout(tmp_path).owners
    folder.mkdir()
    (folder / "folder.json").mkdir()
    os.mkfifo(folder / "pipe.json")
    (folder / "loop.json").symlink_to("loop.json")
    with own(tmp_path, "next"):
        pass


def test_calls_and_processes_of_the_owner_belong_to_it(tmp_path: Path) -> None:
    with own(tmp_path, "outer"), own(tmp_path, "inner", together=True), own(tmp_path, "innermost"):
        assert len(records(tmp_path)) == 1
    with other(tmp_path) as owner:
        assert owner.line() == "in"
        assert owner.end(CHILD) == (0, "")
    # A stranger's mark of an owner that has ended is no key.
    assert not records(tmp_path)


def test_of_many_that_find_a_dead_owner_exactly_one_comes_in(tmp_path: Path) -> None:
    left(tmp_path, boot="of last week")
    together, done, inside = Barrier(12), Barrier(12), []

    def take(number: int) -> None:
        together.wait()
        try:
            with own(tmp_path, f"thread {number}"):
                inside.append(number)
                done.wait()
        except InputError:
            done.wait()

    threads = [Thread(target=take, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(inside) == 1
    assert not records(tmp_path)


def test_a_root_that_cannot_be_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="storage root"), own(tmp_path / "file", "next"):
        pass
    (tmp_path / "root").mkdir()
    Layout(tmp_path / "root").owners.write_text("")
    with pytest.raises(InputError, match=r"\.owners"), own(tmp_path / "root", "next"):
        pass
