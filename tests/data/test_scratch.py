"""Scratch folders: gone with their program, or with the next one."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from data.scratch import remove_abandoned, require_writable, scratch_folder

HOLDER = """
import sys
from pathlib import Path
from data.scratch import scratch_folder
with scratch_folder(Path(sys.argv[1])) as folder:
    (folder / "large.wav").write_bytes(bytes(1000))
    print(folder, flush=True)
    sys.stdin.read()
"""


def _holder(place: Path) -> tuple[subprocess.Popen[str], Path]:
    command = [sys.executable, "-c", HOLDER, str(place)]
    process = subprocess.Popen(
        command, cwd=Path(__file__).parents[2], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    return process, Path(process.stdout.readline().strip())


def test_a_scratch_folder_is_gone_after_its_block_also_where_that_fails(tmp_path: Path) -> None:
    def fail() -> None:
        with scratch_folder(tmp_path) as folder:
            (folder / "below").mkdir()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_program_left_is_removed_by_the_next_one_and_what_a_live_one_holds_is_not(tmp_path: Path) -> None:
    killed, left = _holder(tmp_path)
    alive, held = _holder(tmp_path)
    try:
        killed.send_signal(signal.SIGKILL)
        killed.wait(timeout=30)
        assert left.is_dir()
        with scratch_folder(tmp_path) as own:
            assert set(tmp_path.iterdir()) == {held, own}
            assert (held / "large.wav").is_file()
    finally:
        alive.communicate(timeout=30)
        killed.communicate(timeout=30)
    assert list(tmp_path.iterdir()) == []


def test_nothing_else_in_the_place_is_touched(tmp_path: Path) -> None:
    others = [".partial-scratch-notes", ".partial-0123456789abcdef0123456789abcdef", "Song"]
    for name in others:
        (tmp_path / name).mkdir()
    (tmp_path / f".partial-scratch-{'0' * 32}").symlink_to(tmp_path / "Song")
    remove_abandoned(tmp_path)
    assert len(list(tmp_path.iterdir())) == len(others) + 1


def test_a_place_for_results_is_made_and_tried_beforehand(tmp_path: Path) -> None:
    require_writable(tmp_path / "new" / "er")
    assert not list((tmp_path / "new" / "er").iterdir())
    (tmp_path / "file").touch()
    for place in (tmp_path / "file", tmp_path / "file" / "below", Path("/proc/place")):
        with pytest.raises((FileExistsError, NotADirectoryError, FileNotFoundError)) as refused:
            require_writable(place)
        assert refused.value.filename == str(place)
