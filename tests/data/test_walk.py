"""Going through folders that are linked, locked, hidden, in circles, or somebody else's."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from data.walk import PassedOver, Walk, change_times, note, told


def folders(top: Path, *leave: Path) -> tuple[list[str], dict[str, str]]:
    """The folders that are gone through, and what is passed over, as paths below `top`."""
    walk = Walk(top, leave)
    seen = [folder.path.relative_to(top).as_posix() for folder in walk]
    return seen, {one.path.relative_to(top).as_posix(): one.reason for one in walk.passed_over}


@pytest.mark.parametrize(
    "name",
    [
        ".Trash-1000",
        ".Trashes",
        ".git",
        ".partial-x",
        ".@__thumb",
        "@eaDir",
        "@Recycle",
        "#recycle",
        "#snapshot",
        "lost+found",
        "System Volume Information",
        "$RECYCLE.BIN",
        "$Recycle.Bin",
        "__MACOSX",
    ],
)
def test_folders_of_systems_and_devices_and_hidden_ones_are_passed_over(tmp_path: Path, name: str) -> None:
    (tmp_path / "album" / name / "inside").mkdir(parents=True)
    seen, passed = folders(tmp_path)
    assert seen == [".", "album"]
    assert list(passed) == [f"album/{name}"]


@pytest.mark.parametrize(
    "name", ["...Baby One More Time", "@onefive - Pinky", "#1 Crush", "lost and found", "-", "a\nb"]
)
def test_names_that_only_look_like_those_are_gone_into(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    assert folders(tmp_path) == ([".", name], {})


def test_the_folder_that_is_asked_for_is_gone_through_whatever_it_is_called(tmp_path: Path) -> None:
    (tmp_path / ".stems" / "a").mkdir(parents=True)
    assert folders(tmp_path / ".stems")[0] == [".", "a"]


def test_linked_folders_are_gone_into_once_and_circles_end(tmp_path: Path) -> None:
    top = tmp_path / "top"
    (top / "z").mkdir(parents=True)
    (tmp_path / "elsewhere" / "inner").mkdir(parents=True)
    (top / "a").symlink_to(top / "z")
    (top / "b").symlink_to(tmp_path / "elsewhere")
    (top / "c").symlink_to(tmp_path / "elsewhere")
    (top / "up").symlink_to("..")
    (top / "self").symlink_to("self")
    (tmp_path / "elsewhere" / "back").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "home").symlink_to(top)
    seen, passed = folders(top)
    assert seen == [".", "z", "b", "b/inner"]
    assert set(passed) == {"a", "c", "up", "b/back", "b/home"}
    assert passed["up"] == "a link to a folder that it lies in"
    assert passed["c"].endswith("which is looked at there")


def test_files_are_regular_files_and_the_rest_is_said_what_it_is(tmp_path: Path) -> None:
    (tmp_path / "b.wav").touch()
    (tmp_path / "a.wav").symlink_to("b.wav")
    (tmp_path / "._b.wav").touch()
    (tmp_path / "folder.wav").mkdir()
    (tmp_path / "broken.wav").symlink_to("nowhere")
    os.mkfifo(tmp_path / "pipe.wav")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket.wav"))
        folder = next(iter(Walk(tmp_path)))
    assert [path.name for path in folder.files] == ["a.wav", "b.wav"]
    assert folder.odd == {
        "folder.wav": "a folder",
        "broken.wav": "a broken link",
        "pipe.wav": "a pipe, socket or device",
        "socket.wav": "a pipe, socket or device",
    }


def test_names_that_are_no_text_are_gone_into(tmp_path: Path) -> None:
    place = tmp_path / os.fsdecode(b"caf\xe9")
    place.mkdir()
    (place / "mix.wav").touch()
    found = [path for folder in Walk(tmp_path) for path in folder.files]
    assert [path.read_bytes() for path in found] == [b""]


def test_a_storage_root_is_passed_over_wherever_it_lies(tmp_path: Path) -> None:
    (tmp_path / "mine" / "dagster").mkdir(parents=True)
    (tmp_path / "mine" / "dagster" / "dagster.yaml").touch()
    (tmp_path / "named").mkdir()
    assert folders(tmp_path, tmp_path / "named") == (
        [
            ".",
        ],
        dict.fromkeys(["mine", "named"], "what this project made"),
    )
    assert folders(tmp_path / "mine")[0] == [".", "dagster"]


def test_what_vanishes_or_cannot_be_read_ends_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "mix.wav").touch()
    scandir = os.scandir

    def refusing(path: Path) -> object:
        if Path(path).name == "b":
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    seen = []
    for folder in (walk := Walk(tmp_path)):
        seen.append(folder.path.name)
        if folder.path == tmp_path:
            (tmp_path / "c" / "mix.wav").unlink()
            (tmp_path / "c").rmdir()
    assert seen == [tmp_path.name, "a"]
    reasons = {one.path.name: one.reason for one in walk.passed_over}
    assert reasons["b"] == "cannot be read (Permission denied)"
    assert reasons["c"].startswith("cannot be read")


def test_a_folder_that_is_not_there_is_passed_over(tmp_path: Path) -> None:
    assert folders(tmp_path / "gone") == ([], {".": "cannot be read (No such file or directory)"})


def test_changes_are_seen_in_files_and_folders_but_not_in_storage(tmp_path: Path) -> None:
    for place in ("a", "storage", ".git"):
        (tmp_path / place).mkdir()
        (tmp_path / place / "file").touch()
    (tmp_path / "a" / "broken").symlink_to("nowhere")
    os.utime(tmp_path / "a" / "file", ns=(5, 5))
    files, changed = change_times(tmp_path, [tmp_path / "storage"])
    assert files == [5]
    assert len(changed) == 2


def test_what_is_passed_over_is_told_by_reason_and_a_thousand_are_summed_up(tmp_path: Path) -> None:
    many = [PassedOver(tmp_path / f"{number}", "hidden") for number in range(1000)]
    one = PassedOver(tmp_path / "X", "no vocals")
    assert told([*many, one], tmp_path, most=2) == "X (no vocals); 0, 1 and 998 more (hidden)"
    assert told([], tmp_path) == ""


def test_a_note_is_text_whatever_lies_there(tmp_path: Path) -> None:
    (tmp_path / "licence.txt").write_bytes("CC BY – é\n".encode() + b"\xe9")
    assert note(tmp_path / "licence.txt") == "CC BY – é\n\ufffd"
    assert note(tmp_path) is None
    os.mkfifo(tmp_path / "pipe")
    assert note(tmp_path / "pipe") is None
