"""Folders for what is needed only while a program runs: they go with it, and those of killed programs go with the next.

Who lives holds a lock on its folder, which the operating system takes back from whoever dies. Outputs do not belong
here: they are published by `data.files`.
"""

from __future__ import annotations

import os
import re
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from data.files import PARTIAL

_PREFIX = f"{PARTIAL}scratch-"
_NAME = re.compile(re.escape(_PREFIX) + r"[0-9a-f]{32}")


@contextmanager
def scratch_folder(place: Path) -> Iterator[Path]:
    """An empty hidden folder in the folder `place`, removed at the end; those that killed programs left there, before.

    Raises OSError where `place` cannot be written to.
    """
    remove_abandoned(place)
    folder, lock = _claim(place)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def require_writable(place: Path) -> None:
    """Make the folder `place` where it is missing, and try it: before hours of work whose results it is to take.

    Raises OSError, which names `place`, where files cannot be written there.
    """
    try:
        place.mkdir(parents=True, exist_ok=True)
        with scratch_folder(place):
            pass
    except OSError as error:
        error.filename = str(place)
        raise


def remove_abandoned(place: Path) -> None:
    """Remove the scratch folders in `place` that nobody holds any more; those of other programs at work stay."""
    with suppress(OSError), os.scandir(place) as entries:
        for entry in entries:
            if _NAME.fullmatch(entry.name) and entry.is_dir(follow_symlinks=False):
                _remove_unless_held(Path(entry.path))


def _claim(place: Path) -> tuple[Path, int]:
    while True:
        folder = place / f"{_PREFIX}{uuid.uuid4().hex}"
        folder.mkdir()
        lock = os.open(folder, os.O_RDONLY)
        _lock(lock, wait=True)
        # Between the two, another program may have taken the folder for an abandoned one.
        if folder.is_dir():
            return folder, lock
        os.close(lock)


def _remove_unless_held(folder: Path) -> None:
    lock = os.open(folder, os.O_RDONLY)
    try:
        if _lock(lock, wait=False):
            shutil.rmtree(folder, ignore_errors=True)
    finally:
        os.close(lock)


def _lock(descriptor: int, wait: bool) -> bool:
    """Whether the folder could be locked; never where the file system has no locks."""
    try:
        import fcntl

        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except (ImportError, OSError):
        return False
    return True
