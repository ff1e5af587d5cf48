from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from data import cache
from data.errors import InputError
from data.files import publish, publish_folder, sha256_of
from data.recipe import Recipe


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


@pytest.mark.parametrize("kind", ["folder", "pipe", "device", "nothing", "above"])
def test_a_file_takes_the_place_of_no_folder_pipe_or_device(tmp_path: Path, kind: str) -> None:
    path = {"nothing": Path(), "above": Path("..")}.get(kind, tmp_path / kind)
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/null")
    with pytest.raises(InputError) as refused, publish(path) as partial:
        partial.write_text("new")
    assert refused.value.file == str(path)
    assert refused.value.found == f"a {kind}" if kind in ("folder", "pipe", "device") else "a folder"
    assert [found.name for found in tmp_path.iterdir()] == ([] if kind in ("nothing", "above") else [kind])
    assert not path.is_file()


@pytest.mark.parametrize("publishing", [publish, publish_folder])
def test_what_cannot_be_written_is_named_by_its_final_place(
    tmp_path: Path, publishing: Callable[[Path], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for place in (Path("out"), tmp_path / "in" / "out"):
        with pytest.raises(FileNotFoundError) as missing, publishing(place) as partial:
            (partial / "nowhere" / "x.wav").read_bytes()
        assert missing.value.filename == str(place / "nowhere" / "x.wav")
    (tmp_path / "file").touch()
    for place, named in ((tmp_path / "file" / "out", tmp_path / "file"), (Path("/proc/out"), Path("/proc/out"))):
        with pytest.raises((NotADirectoryError, FileExistsError, FileNotFoundError)) as refused, publishing(place):
            pass
        assert refused.value.filename == str(named)


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


def test_a_fingerprint_depends_on_code_parameters_and_inputs_only() -> None:
    def of(code: str = "1", parameter: int = 1, version: str = "x") -> str:
        return Recipe(code, {"a": parameter, "b": 0}, {"i": version}).fingerprint

    assert of() == Recipe("1", {"b": 0, "a": 1}, {"i": "x"}).fingerprint
    assert len({of(), of(code="2"), of(parameter=2), of(version="y")}) == 4


def by(name: str) -> Recipe:
    return Recipe(name, {}, {})


def one_file(folder: Path) -> dict[str, Any]:
    (folder / "a.txt").write_text("a")
    return {}


def content(folder: Path) -> str:
    return (folder / "a.txt").read_text()


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
    assert not cache.make(tmp_path / "out", by("one"), work).cached
    again = cache.make(tmp_path / "out", by("one"), work)
    assert (again.cached, again.record.measured, work.count) == (True, {"answer": 42}, 1)
    assert not cache.make(tmp_path / "out", by("two"), work).cached
    assert work.count == 2


@pytest.mark.parametrize("damage", ["deleted", "shortened", "altered", "no record", "broken record"])
def test_damaged_output_is_found_and_made_again(tmp_path: Path, damage: str) -> None:
    work, folder = Work(), tmp_path / "out"
    cache.make(folder, by("one"), work)
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
    assert cache.recall(folder, by("one").fingerprint) is None
    assert not cache.make(folder, by("one"), work).cached
    assert result.read_bytes() == b"result"


def test_a_copied_output_with_new_times_is_still_trusted(tmp_path: Path) -> None:
    work, folder = Work(), tmp_path / "out"
    cache.make(folder, by("one"), work)
    os.utime(folder / "sub" / "result.bin", ns=(1, 1))
    assert cache.make(folder, by("one"), work).cached
    assert json.loads((folder / cache.RECORD).read_text())["files"]["sub/result.bin"]["mtime_ns"] == 1


def test_work_that_fails_leaves_the_former_output(tmp_path: Path) -> None:
    work, folder = Work(), tmp_path / "out"
    cache.make(folder, by("one"), work)

    def fail(partial: Path) -> dict[str, Any]:
        (partial / "half").write_text("half")
        raise RuntimeError

    with pytest.raises(RuntimeError):
        cache.make(folder, by("two"), fail)
    assert cache.make(folder, by("one"), work).cached


def test_a_checksum_is_that_of_the_bytes(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    assert sha256_of(tmp_path / "a") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_a_version_by_content_changes_with_the_content_only(tmp_path: Path) -> None:
    def work(text: str) -> Callable[[Path], dict[str, object]]:
        return lambda folder: {"length": (folder / "a.txt").write_text(text)}

    versions = []
    for wanted, text in (("first", "same"), ("second", "same"), ("third", "other")):
        outcome = cache.make(tmp_path / "out", by(wanted), work(text), version=content)
        assert not outcome.cached
        versions.append(outcome.record.version)
    assert versions[0] == versions[1] != versions[2]
    assert cache.make(tmp_path / "out", by("third"), work("")).record.version == versions[2]


def test_content_that_stayed_keeps_the_version_that_an_earlier_release_gave_it(tmp_path: Path) -> None:
    def work(folder: Path) -> dict[str, object]:
        return {"length": (folder / "a.txt").write_text("same")}

    cache.make(tmp_path / "out", by("first"), work, version="of the file's bytes")
    again = cache.make(tmp_path / "out", by("second"), work, version=content)
    assert (again.cached, again.record.version) == (False, "of the file's bytes")


def test_the_version_is_the_fingerprint_or_what_is_given(tmp_path: Path) -> None:
    assert cache.make(tmp_path / "a", by("wanted"), one_file).record.version == by("wanted").fingerprint
    assert cache.make(tmp_path / "b", by("wanted"), one_file, version="given").record.version == "given"


def test_checksums_of_linked_files_are_not_computed_again(tmp_path: Path) -> None:
    made = cache.make(tmp_path / "a", by("a"), lambda folder: {"": (folder / "x").write_bytes(b"1") and None})
    stamp = made.record.files["x"]
    forged = {"x": cache.Stamp(stamp.size, stamp.mtime_ns, "known")}
    linked = cache.make(
        tmp_path / "b", by("b"), lambda folder: {"": os.link(tmp_path / "a" / "x", folder / "x")}, linked=forged
    )
    assert linked.record.files["x"].sha256 == "known"
    other = cache.make(
        tmp_path / "c", by("c"), lambda folder: {"": (folder / "x").write_bytes(b"2") and None}, linked=forged
    )
    assert other.record.files["x"].sha256 != "known"


def test_a_record_tells_its_recipe_and_what_differs_from_it(tmp_path: Path) -> None:
    before = Recipe("1", {"training": {"rate": 0.002, "steps": 5}, "seed": 0}, {"a": "x", "b": "y", "c": "z"})
    cache.make(tmp_path / "out", before, one_file)
    record = cache.recall(tmp_path / "out")
    assert record is not None
    assert record.recipe == before
    now = Recipe("2", {"training": {"rate": 0.001, "steps": 5}}, {"a": "x", "b": "other", "d": "new"})
    assert now.differs(record.recipe) == [
        "code version 1 -> 2",
        "seed 0 -> nothing",
        "training.rate 0.002 -> 0.001",
        "1 new (d)",
        "1 gone (c)",
        "1 changed (b)",
    ]
    assert before.differs(record.recipe) == []


def test_a_record_from_before_recipes_were_kept_is_still_true_and_learns_its_recipe(tmp_path: Path) -> None:
    cache.make(tmp_path / "out", by("one"), one_file)
    file = tmp_path / "out" / cache.RECORD
    old = json.loads(file.read_text())
    del old["recipe"], old["sha256"]
    file.write_text(json.dumps(old))
    assert cache.make(tmp_path / "out", by("one"), one_file).cached
    record = cache.recall(tmp_path / "out")
    assert record is not None
    assert record.recipe == by("one")
