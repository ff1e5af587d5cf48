from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from data import cache
from data.files import publish, publish_folder, sha256_of


def test_a_file_appears_only_when_its_block_ends_well(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    target.write_text("old")
    with pytest.raises(RuntimeError):  # noqa: PT012
        with publish(target) as partial:
            partial.write_text("half")
            raise RuntimeError
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]
    with publish(target) as partial:
        partial.write_text("new")
        assert target.read_text() == "old"
    assert target.read_text() == "new"


def test_a_folder_replaces_the_former_one_as_a_whole(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    with publish_folder(folder) as partial:
        (partial / "a").write_text("1")
    with publish_folder(folder) as partial:
        (partial / "b").write_text("2")
    assert [path.name for path in folder.iterdir()] == ["b"]
    with pytest.raises(RuntimeError):  # noqa: PT012
        with publish_folder(folder) as partial:
            (partial / "c").write_text("3")
            raise RuntimeError
    assert [path.name for path in folder.iterdir()] == ["b"]
    assert list(tmp_path.iterdir()) == [folder]


def test_what_a_killed_run_left_is_removed_by_the_next(tmp_path: Path) -> None:
    (tmp_path / ".partial-out-0123").mkdir()
    with publish_folder(tmp_path / "out") as partial:
        (partial / "a").write_text("1")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_fingerprint_depends_on_code_parameters_and_inputs_only() -> None:
    def of(code: str = "1", parameter: int = 1, version: str = "x") -> str:
        return cache.fingerprint(code_version=code, parameters={"a": parameter, "b": 0}, inputs={"i": version})

    assert of() == cache.fingerprint(code_version="1", parameters={"b": 0, "a": 1}, inputs={"i": "x"})
    assert len({of(), of(code="2"), of(parameter=2), of(version="y")}) == 4


class Work:
    """Writes one file, and counts how often it was asked to."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, folder: Path) -> dict[str, Any]:
        self.count += 1
        (folder / "sub").mkdir()
        (folder / "sub" / "result.bin").write_bytes(b"result")
        return {"answer": 42}


def test_work_is_done_once_per_fingerprint(tmp_path: Path) -> None:
    work = Work()
    assert not cache.make(tmp_path / "out", "one", work).cached
    again = cache.make(tmp_path / "out", "one", work)
    assert (again.cached, again.record.measured, work.count) == (True, {"answer": 42}, 1)
    assert not cache.make(tmp_path / "out", "two", work).cached
    assert work.count == 2


@pytest.mark.parametrize("damage", ["deleted", "shortened", "altered", "no record", "broken record"])
def test_damaged_output_is_found_and_made_again(tmp_path: Path, damage: str) -> None:
    work, folder = Work(), tmp_path / "out"
    cache.make(folder, "one", work)
    result = folder / "sub" / "result.bin"
    match damage:
        case "deleted":
            result.unlink()
        case "shortened":
            time = result.stat().st_mtime_ns
            result.write_bytes(b"res")
            os.utime(result, ns=(time, time))  # a cut does not always show in the time
        case "altered":
            result.write_bytes(b"RESULT")
            os.utime(result, ns=(1, 1))
        case "no record":
            (folder / cache.RECORD).unlink()
        case "broken record":
            (folder / cache.RECORD).write_text(json.dumps({"fingerprint": "one"}))
    assert cache.recall(folder, "one") is None
    assert not cache.make(folder, "one", work).cached
    assert result.read_bytes() == b"result"


def test_a_copied_output_with_new_times_is_still_trusted(tmp_path: Path) -> None:
    work, folder = Work(), tmp_path / "out"
    cache.make(folder, "one", work)
    os.utime(folder / "sub" / "result.bin", ns=(1, 1))
    assert cache.make(folder, "one", work).cached
    assert json.loads((folder / cache.RECORD).read_text())["files"]["sub/result.bin"]["mtime_ns"] == 1


def test_work_that_fails_leaves_the_former_output(tmp_path: Path) -> None:
    work, folder = Work(), tmp_path / "out"
    cache.make(folder, "one", work)

    def fail(partial: Path) -> dict[str, Any]:
        (partial / "half").write_text("half")
        raise RuntimeError

    with pytest.raises(RuntimeError):
        cache.make(folder, "two", fail)
    assert cache.make(folder, "one", work).cached


def test_a_checksum_is_that_of_the_bytes(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    assert sha256_of(tmp_path / "a") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_a_version_by_content_changes_with_the_files_only(tmp_path: Path) -> None:
    def work(text: str) -> Callable[[Path], dict[str, object]]:
        return lambda folder: {"length": (folder / "a.txt").write_text(text)}

    versions = []
    for wanted, text in (("first", "same"), ("second", "same"), ("third", "other")):
        outcome = cache.make(tmp_path / "out", wanted, work(text), version=cache.BY_CONTENT)
        assert not outcome.cached
        versions.append(outcome.record.version)
    assert versions[0] == versions[1] != versions[2]
    assert cache.make(tmp_path / "out", "third", work("")).record.version == versions[2]


def test_the_version_is_the_fingerprint_or_what_is_given(tmp_path: Path) -> None:
    assert cache.make(tmp_path / "a", "wanted", lambda _: {}).record.version == "wanted"
    assert cache.make(tmp_path / "b", "wanted", lambda _: {}, version="given").record.version == "given"


def test_checksums_of_linked_files_are_not_computed_again(tmp_path: Path) -> None:
    made = cache.make(tmp_path / "a", "a", lambda folder: {"": (folder / "x").write_bytes(b"1") and None})
    stamp = made.record.files["x"]
    forged = {"x": cache.Stamp(stamp.size, stamp.mtime_ns, "known")}
    linked = cache.make(
        tmp_path / "b", "b", lambda folder: {"": os.link(tmp_path / "a" / "x", folder / "x")}, linked=forged
    )
    assert linked.record.files["x"].sha256 == "known"
    other = cache.make(
        tmp_path / "c", "c", lambda folder: {"": (folder / "x").write_bytes(b"2") and None}, linked=forged
    )
    assert other.record.files["x"].sha256 != "known"
