"""What downloads and archives share: how far they are, and whether the disk has room for them."""

from __future__ import annotations

import errno
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

from tqdm import tqdm

from data.errors import InputError, os_error

Log = Callable[[str], None]

BLOCK = 1 << 18  # bytes that are copied at a time
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Progress:
    """How far a job of `total` bytes is: a bar on a terminal, elsewhere a line for every tenth."""

    def __init__(self, job: str, total: int | None, start: int, log: Log) -> None:
        self._job, self._total, self._log, self._terminal = job, total, log, sys.stderr.isatty()
        self._tenth = start * 10 // total if total else 0
        self._bar: tqdm[NoReturn] = tqdm(
            total=total, initial=start, desc=job, unit="B", unit_scale=True, leave=False, disable=not self._terminal
        )

    def at(self, position: int) -> None:
        if self._terminal:
            self._bar.update(position - self._bar.n)
        elif self._total and (tenth := min(position * 10 // self._total, 10)) > self._tenth:
            self._tenth = tenth
            self._log(f"{self._job}: {tenth * 10} % of {amount(self._total)}")

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()


@contextmanager
def disk_errors(folder: Path, name: str) -> Iterator[None]:
    """Tell as InputError what the disk refuses while `name` is written into `folder`."""
    try:
        yield
    except OSError as error:
        # Errors of decoders have no number; a seek to nowhere, as a damaged archive makes, has this one.
        if error.errno in (None, errno.EINVAL):
            raise
        if error.errno not in _NO_ROOM:
            raise os_error(error, f"writing {name}") from error
        raise _no_room(folder, f"enough for {name}", f"{error.strerror}; {amount(_free(folder))} free") from error


def require_room(folder: Path, size: int, name: str) -> None:
    if size > (free := _free(folder)):
        raise _no_room(folder, f"{amount(size)} more for {name}", f"{amount(free)} free")


def _free(folder: Path) -> int:
    return shutil.disk_usage(folder).free


def _no_room(folder: Path, expected: str, found: str) -> InputError:
    remedy = "free space, or move the storage root (ISOLATION_STORAGE) to a larger disk; then start again"
    return InputError("space on the disk", file=folder, expected=expected, found=found, remedy=remedy)


def amount(size: int) -> str:
    for unit, name in ((1e9, "GB"), (1e6, "MB")):
        if size >= unit:
            return f"{size / unit:.1f} {name}"
    return f"{size} bytes"
