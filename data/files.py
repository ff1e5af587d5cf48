"""Files that appear whole or not at all, and their checksums.

Everything the project writes goes through `publish` or `publish_folder`: written beside the final name, flushed to
disk, then renamed. A killed run leaves at most a `.partial-*` entry, which nothing reads; the next writer of a folder
removes what its predecessor left.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PARTIAL = ".partial-"
_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


@contextmanager
def publish(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; when the block ends well, `path` is that file.

    The temporary name keeps the suffix, because encoders choose their format by it. If the block raises, nothing
    remains and an earlier `path` is untouched.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{PARTIAL}{uuid.uuid4().hex}-{path.name}")
    try:
        yield partial
        flush(partial)
        os.replace(partial, path)
        flush(path.parent)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def publish_folder(folder: Path) -> Iterator[Path]:
    """Yield an empty folder beside `folder`; when the block ends well, it takes the place of `folder` as a whole."""
    folder = Path(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    for stale in folder.parent.glob(f"{PARTIAL}{folder.name}-*"):
        shutil.rmtree(stale, ignore_errors=True)
    partial = folder.with_name(f"{PARTIAL}{folder.name}-{uuid.uuid4().hex}")
    partial.mkdir()
    try:
        yield partial
        for path in sorted(partial.rglob("*")):
            flush(path)
        flush(partial)
        if folder.exists():
            # A folder cannot be replaced in one step: between the two renames there is none, never half of one.
            replaced = folder.with_name(f"{PARTIAL}{folder.name}-{uuid.uuid4().hex}")
            os.rename(folder, replaced)
            os.rename(partial, folder)
            shutil.rmtree(replaced)
        else:
            os.rename(partial, folder)
        flush(folder.parent)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def link(source: Path, target: Path) -> None:
    """One file under two names, which costs no space; a copy where the file system has no links."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def obstacle(path: Path) -> str | None:
    """What keeps `path` from being opened as a file, in words: nothing there, a folder, a pipe. None for a file.

    Opening a pipe that nobody writes to would wait for ever. Raises OSError where the path cannot be looked at.
    """
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return "a link to nothing" if path.is_symlink() else "no such file"
    if stat.S_ISREG(mode):
        return None
    return _KINDS.get(stat.S_IFMT(mode), "something that is not a file")


def sha256_of(path: Path) -> str:
    """The hexadecimal SHA-256 of a file's bytes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def flush(path: Path) -> None:
    """Have the operating system write a file, or the names in a folder, to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
