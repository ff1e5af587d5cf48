"""Records that were damaged, and outputs that cannot be read: none is trusted, and none ends in a traceback."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data import cache
from data.recipe import Recipe

PROJECT = Path(__file__).resolve().parents[2]
RECIPE = Recipe("1", {"rate": 0.5}, {"a": "x"})
NOBODY = 65534


def work(folder: Path) -> dict[str, Any]:
    (folder / "a.txt").write_text("a")
    return {"seconds": 1.5, "names": ["ü", "b"]}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    cache.make(tmp_path / "out", RECIPE, work)
    return tmp_path / "out"


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """An output to which every user's processes find."""
    with tempfile.TemporaryDirectory() as place:
        Path(place).chmod(0o755)
        cache.make(Path(place) / "storage" / "out", RECIPE, work)
        yield Path(place) / "storage" / "out"


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An output whose record is damaged and mended again and again."""
    folder = tmp_path_factory.mktemp("kept") / "out"
    cache.make(folder, RECIPE, work)
    return folder


@given(st.data())
def test_no_flipped_bit_is_trusted(kept: Path, data: st.DataObject) -> None:
    file = kept / cache.RECORD
    good = file.read_bytes()
    known = json.loads(good)
    try:
        bad = bytearray(good)
        for at in data.draw(st.lists(st.integers(0, len(good) * 8 - 1), min_size=1, max_size=4, unique=True)):
            bad[at // 8] ^= 1 << at % 8
        file.write_bytes(bad)
        found = cache.recall(kept)
        # Space between two values may turn into other space.
        assert found is None or json.loads(bytes(bad)) == known
    finally:
        file.write_bytes(good)


def rewritten(**changes: object) -> Callable[[Path], None]:
    """A record as somebody else may have written it: without a checksum, as those of earlier releases are."""

    def write(file: Path) -> None:
        content = json.loads(file.read_text())
        del content["sha256"]
        file.write_text(json.dumps(content | changes))

    return write


def stamp(name: str, **changes: object) -> dict[str, object]:
    return {name: {"size": 1, "mtime_ns": 1, "sha256": "x"} | changes}


def pipe(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


def subfolder(file: Path) -> None:
    file.unlink()
    file.mkdir()


def loop(file: Path) -> None:
    file.unlink()
    file.symlink_to(file)


DAMAGE: dict[str, Callable[[Path], object]] = {
    "empty": lambda file: file.write_bytes(b""),
    "not UTF-8": lambda file: file.write_bytes(b"\xff\xfe{"),
    "nested": lambda file: file.write_text("[" * 100_000),
    "nested measurement": lambda file: file.write_text('{"measured":' + '{"a":' * 900 + "1" + "}" * 901),
    "huge number": lambda file: file.write_text("1" * 100_000),
    "a list": lambda file: file.write_text("[]"),
    "null": lambda file: file.write_text("null"),
    "not a number": lambda file: file.write_text(file.read_text().replace("1.5", "NaN")),
    "infinite": lambda file: file.write_text(file.read_text().replace("1.5", "1e999")),
    "a measurement changed": lambda file: file.write_text(file.read_text().replace("1.5", "2.5")),
    "pipe": pipe,
    "folder": subfolder,
    "link to itself": loop,
    "no files": rewritten(files={}),
    "files are a list": rewritten(files=[]),
    "files are text": rewritten(files="a.txt"),
    "outside": rewritten(files=stamp("../x")),
    "outside, later": rewritten(files=stamp("a/../../x")),
    "absolute": rewritten(files=stamp("/etc/passwd")),
    "the folder itself": rewritten(files=stamp(".")),
    "no name": rewritten(files=stamp("")),
    "NUL": rewritten(files=stamp("a\0b")),
    "half a surrogate pair": rewritten(files=stamp("\ud800")),
    "a name too long": rewritten(files=stamp("n" * 5000)),
    "size is true": rewritten(files=stamp("a.txt", size=True)),
    "size is text": rewritten(files=stamp("a.txt", size="1")),
    "time is a fraction": rewritten(files=stamp("a.txt", mtime_ns=0.5)),
    "checksum is a number": rewritten(files=stamp("a.txt", sha256=1)),
    "unknown stamp": rewritten(files=stamp("a.txt", more=1)),
    "fingerprint is a number": rewritten(fingerprint=1),
    "version is null": rewritten(version=None),
    "version cannot be written": rewritten(version="\udc80"),
    "measured is a list": rewritten(measured=[]),
    "recipe is text": rewritten(recipe="1"),
    "recipe of other parts": rewritten(recipe={"code": 1}),
    "inputs are numbers": rewritten(recipe={"code_version": "1", "parameters": {}, "inputs": {"a": 1}}),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
def test_a_damaged_record_is_no_record_and_the_output_is_made_again(
    folder: Path, damage: Callable[[Path], object]
) -> None:
    damage(folder / cache.RECORD)
    assert cache.recall(folder) is None
    assert not cache.make(folder, RECIPE, work).cached
    assert cache.recall(folder, RECIPE.fingerprint) is not None


def test_a_file_that_became_a_pipe_is_not_waited_for(folder: Path) -> None:
    status = (folder / "a.txt").stat()
    (folder / "a.txt").unlink()
    os.mkfifo(folder / "a.txt")
    record = json.loads((folder / cache.RECORD).read_text())
    del record["sha256"]
    record["files"]["a.txt"]["size"] = 0
    (folder / cache.RECORD).write_text(json.dumps(record))
    assert status.st_size == 1
    assert cache.recall(folder) is None


def test_work_that_writes_no_file_is_a_fault_and_nothing_is_published(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="without writing a file"):
        cache.make(tmp_path / "out", RECIPE, lambda partial: {"made": str((partial / "folder").mkdir())})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.getuid() != 0, reason="only root may become somebody else")
@pytest.mark.parametrize("closed", ["folder", "record"])
def test_what_may_not_be_read_is_told_and_not_made_again(open_folder: Path, closed: str) -> None:
    """As another user, for whom the storage root or one file in it is closed."""
    (open_folder.parent if closed == "folder" else open_folder / cache.RECORD).chmod(0o700)
    script = f"""
import os
from pathlib import Path
from data import cache
from data.errors import InputError
from data.recipe import Recipe
os.setuid({NOBODY})
for ask in (lambda f: cache.recall(f), lambda f: cache.make(f, Recipe("2", {{}}, {{}}), lambda _: 1 / 0)):
    try:
        ask(Path({str(open_folder)!r}))
    except InputError as error:
        print(error)
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=PROJECT, capture_output=True, text=True, check=False)
    assert done.stdout.count("found:    Permission denied") == 2, done.stdout + done.stderr
    assert done.stdout.count(str(open_folder / cache.RECORD)) == 2
    assert (open_folder / "a.txt").read_text() == "a"


@pytest.mark.skipif(os.getuid() != 0, reason="only root may become somebody else")
def test_a_copied_output_is_read_where_nothing_may_be_written(open_folder: Path) -> None:
    os.utime(open_folder / "a.txt", ns=(1, 1))
    script = f"""
import os
from pathlib import Path
from data import cache
os.setuid({NOBODY})
print(cache.recall(Path({str(open_folder)!r})).measured["seconds"])
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=PROJECT, capture_output=True, text=True, check=False)
    assert done.stdout == "1.5\n", done.stderr
