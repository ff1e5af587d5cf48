"""What is being made, what was left half made, and who may take which: with real processes, some of them killed."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import IO

import pytest

from data import cache, files
from data.files import PARTIAL, claim, discard, publish, publish_folder, sweep
from data.recipe import Recipe

PROJECT = Path(__file__).resolve().parents[2]
WRITER = """
import sys
from pathlib import Path
from threading import Thread
from data import cache, files
from data.recipe import Recipe
folder, text = Path(sys.argv[1]), sys.argv[2]
def tell(line):
    print(line, flush=True)
def work(partial):
    (partial / "a.txt").write_text(text)
    tell("working")
    sys.stdin.readline()
    return {}
outcome = cache.make(folder, Recipe(sys.argv[3], {}, {}), work, log=tell)
tell(f"cached {outcome.cached}")
"""
REPLACED = """
import os, sys
from pathlib import Path
from threading import Thread
from data import files
files._exchange = lambda one, other: False
rename, count = os.rename, int(sys.argv[2])
def rename_or_die(source, target):
    global count
    if count == 0:
        os.kill(os.getpid(), 9)
    count -= 1
    rename(source, target)
os.rename = rename_or_die
files._remove = lambda path: os.kill(os.getpid(), 9)
with files.publish_folder(Path(sys.argv[1])) as partial:
    (partial / "a.txt").write_text("new")
"""


class Writer:
    """A process that makes an output, and goes on in the middle of it when it is told to."""

    def __init__(self, folder: Path, text: str = "text", recipe: str = "one") -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(folder), text, recipe],
            cwd=PROJECT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def line(self) -> str:
        return stream(self.process.stdout).readline().strip()

    def end(self) -> str:
        output, _ = self.process.communicate("\n", timeout=60)
        assert self.process.returncode == 0
        return output

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()


def stream(pipe: IO[str] | None) -> IO[str]:
    assert pipe is not None
    return pipe


@contextmanager
def writer(folder: Path, text: str = "text", recipe: str = "one") -> Iterator[Writer]:
    started = Writer(folder, text, recipe)
    try:
        yield started
    finally:
        started.kill()


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("other", ["song-live", "song-2", "song-", "s", "[a-z]*"])
def test_a_neighbour_whose_name_begins_alike_is_left_alone(tmp_path: Path, other: str) -> None:
    with publish_folder(tmp_path / other) as neighbour:
        (neighbour / "b.txt").write_text("b")
        with publish_folder(tmp_path / "song") as partial:
            (partial / "a.txt").write_text("a")
        assert sweep(tmp_path) == 0
        assert (neighbour / "b.txt").read_text() == "b"
    assert names(tmp_path) == sorted([other, "song"])


@pytest.mark.parametrize(
    "name", ["n" * 255, "*", "[song]", "ü" * 127, b"not-\xff-utf8".decode("utf-8", "surrogateescape")]
)
def test_every_name_that_a_file_can_have_can_be_published(tmp_path: Path, name: str) -> None:
    with publish(tmp_path / name) as partial:
        assert partial.name == name
        partial.write_text("a")
    (tmp_path / name).unlink()
    with publish_folder(tmp_path / name) as partial:
        (partial / "a").write_text("a")
    assert names(tmp_path) == [name]


def test_of_two_that_make_the_same_output_the_second_waits_and_finds_it_made(tmp_path: Path) -> None:
    with writer(tmp_path / "out") as first, writer(tmp_path / "out") as second:
        lines = {first.line(), second.line()}
        assert "working" in lines
        assert "out is being written by another process or thread: waiting until it has ended" in lines
        for process in (first, second):
            stream(process.process.stdin).write("\n")
            stream(process.process.stdin).flush()
        ends = {first.end().splitlines()[-1], second.end().splitlines()[-1]}
    assert ends == {"cached False", "cached True"}
    assert names(tmp_path) == ["out"]


def test_the_second_makes_what_a_killed_first_did_not(tmp_path: Path) -> None:
    with writer(tmp_path / "out", "half") as first:
        assert first.line() == "working"
        with writer(tmp_path / "out", "whole") as second:
            assert "waiting" in second.line()
            first.kill()
            assert second.line() == "working"
            assert second.end() == "cached False\n"
    assert (tmp_path / "out" / "a.txt").read_text() == "whole"
    assert names(tmp_path) == ["out"]


def test_threads_that_write_the_same_file_take_turns(tmp_path: Path) -> None:
    def write(number: int) -> None:
        for _ in range(50):
            with publish(tmp_path / "a.txt") as partial:
                partial.write_text(str(number))

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(write, range(8)))  # raises what a thread raised
    assert (tmp_path / "a.txt").read_text() in "01234567"
    assert names(tmp_path) == ["a.txt"]


def test_a_sweep_removes_what_the_dead_left_and_nothing_of_the_living(tmp_path: Path) -> None:
    for number in range(2):
        with writer(tmp_path / "a" / f"dead-{number}") as dead:
            assert dead.line() == "working"
            dead.kill()
    # As earlier releases left them.
    (tmp_path / f"{PARTIAL}{'0' * 32}-name.wav").write_text("half")
    (tmp_path / f"{PARTIAL}song-{'0' * 32}").mkdir()
    for kept in (f"{PARTIAL}download-a.zip", f"{PARTIAL}download-{'0' * 32}", f"{PARTIAL}of-somebody-else"):
        (tmp_path / kept).write_text("kept")
    with writer(tmp_path / "a" / "alive") as alive:
        assert alive.line() == "working"
        assert sweep(tmp_path) == 4
        assert alive.end() == "cached False\n"
    assert names(tmp_path / "a") == ["alive"]
    assert len([name for name in names(tmp_path) if name.startswith(PARTIAL)]) == 3


@pytest.mark.parametrize("renames", [0, 1, 2])
def test_where_two_names_cannot_be_exchanged_a_kill_between_loses_neither_the_old_nor_the_new(
    tmp_path: Path, renames: int
) -> None:
    """Killed before the first rename, between the two, and after the second."""
    folder = tmp_path / "champion"
    with publish_folder(folder) as partial:
        (partial / "a.txt").write_text("old")
    done = subprocess.run([sys.executable, "-c", REPLACED, str(folder), str(renames)], cwd=PROJECT, check=False)
    assert done.returncode == -signal.SIGKILL
    assert sweep(tmp_path) == 1
    assert (folder / "a.txt").read_text() == ("old" if renames == 0 else "new")
    assert names(tmp_path) == ["champion"]


def test_a_folder_is_never_missing_while_it_is_replaced(tmp_path: Path) -> None:
    folder, missing, over = tmp_path / "out", [], False

    def watch() -> None:
        while not over:
            if not folder.is_dir():
                missing.append(1)

    with publish_folder(folder) as partial:
        (partial / "a.txt").write_text("first")
    if not files._exchange(folder, folder):
        pytest.skip("this file system cannot exchange two names")
    watcher = Thread(target=watch)
    watcher.start()
    for number in range(50):
        with publish_folder(folder) as partial:
            (partial / "a.txt").write_text(str(number))
    over = True
    watcher.join()
    assert not missing


def test_a_file_in_the_place_of_a_folder_stays_and_is_told(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("of the user")
    with pytest.raises(NotADirectoryError):
        with publish_folder(tmp_path / "out") as partial:
            (partial / "a.txt").write_text("a")
    assert (tmp_path / "out").read_text() == "of the user"
    assert names(tmp_path) == ["out"]


def test_an_output_that_is_a_link_is_replaced_and_what_it_leads_to_stays(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "a.txt").write_text("kept")
    (tmp_path / "out").symlink_to(tmp_path / "elsewhere")
    with publish_folder(tmp_path / "out") as partial:
        (partial / "b.txt").write_text("b")
    assert names(tmp_path / "out") == ["b.txt"]
    assert names(tmp_path / "elsewhere") == ["a.txt"]


def test_a_folder_is_removed_as_a_whole(tmp_path: Path) -> None:
    with publish_folder(tmp_path / "out") as partial:
        (partial / "a.txt").write_text("a")
    discard(tmp_path / "out")
    discard(tmp_path / "out")
    assert names(tmp_path) == []


def test_without_locks_outputs_are_made_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "try_lock", lambda *_: None)
    with claim(tmp_path / "out") as one, claim(tmp_path / "out") as two:
        assert one != two
    cache.make(tmp_path / "out", Recipe("1", {}, {}), lambda folder: {"size": (folder / "a").write_text("a")})
    assert sweep(tmp_path) == 0
    assert names(tmp_path) == ["out"]


def test_a_claim_whose_folder_was_removed_by_hand_is_given_up_in_peace(tmp_path: Path) -> None:
    with claim(tmp_path / "out") as place:
        shutil.rmtree(place)
    assert names(tmp_path) == []
