"""Files that appear whole or not at all, and their checksums.

Everything the project writes goes through `publish` or `publish_folder`: written in a hidden folder beside the final
name, flushed to disk, then renamed. That folder, `.partial-<checksum of the name>`, belongs to one output alone and is
locked by whoever writes it, so that two never write the same output at a time and nobody takes what is being written
for a left-over. What a killed writer left is removed by the next one of the same output, and by `sweep`.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import hashlib
import logging
import os
import re
import shutil
import stat
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from data.errors import InputError

PARTIAL = ".partial-"
_LOCK = f"{PARTIAL}lock"
_REPLACED = f"{PARTIAL}replaced"
_CLAIM = re.compile(rf"{re.escape(PARTIAL)}[0-9a-f]{{32}}")
# Earlier releases put the name of the output beside a random number, and locked nothing. What else begins alike has
# owners of its own.
_EARLIER = re.compile(rf"{re.escape(PARTIAL)}(?!download-|scratch-)([0-9a-f]{{32}}-.+|.+-[0-9a-f]{{32}})", re.DOTALL)
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL, errno.EBADF)
_log = logging.getLogger(__name__)
_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}
_NOTHING = ("no such file", "a link to nothing")


@contextmanager
def publish(path: Path) -> Iterator[Path]:
    """Yield a temporary path near `path`; when the block ends well, `path` is that file.

    The temporary file has the same name, because encoders choose their format by it. If the block raises, nothing
    remains and an earlier `path` is untouched. Waits while somebody else writes `path`. Raises InputError where
    something is at `path` that is no file: a folder, a pipe, a device (which a rename would do away with).
    """
    path = Path(path)
    _require_name_of_file(path)
    with claim(path) as place:
        partial = place / path.name
        try:
            yield partial
            flush(partial)
            os.replace(partial, path)
        except OSError as error:
            if error.filename == str(partial):
                error.filename, error.filename2 = str(path), None  # nobody knows the other name
            raise
        flush(path.parent)


@contextmanager
def publish_folder(folder: Path) -> Iterator[Path]:
    """Yield an empty folder; when the block ends well, it takes the place of `folder` as a whole.

    Waits while somebody else writes `folder`. An earlier one is there until the new one is, wherever the operating
    system can exchange two names in one step.
    """
    with claim(folder) as place, filled(place, folder) as partial:
        yield partial


@contextmanager
def claim(path: Path, log: Callable[[str], None] = _log.warning) -> Iterator[Path]:
    """The right to write `path`, for one at a time among all processes and threads; yields an empty folder to do it in.

    The folder lies beside `path` and is gone when the block ends. Waits, and says so to `log`, while another holds it.
    Not to be asked for again inside the block. An OSError names `path`, not the place that it was written in.
    """
    path = Path(path)
    with _named(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with _claimed(path, log) as place:
            yield place


@contextmanager
def _claimed(path: Path, log: Callable[[str], None]) -> Iterator[Path]:
    place = path.with_name(PARTIAL + hashlib.sha256(os.fsencode(path.name)).hexdigest()[:32])
    try:
        lock = _locked(place)
    except BlockingIOError:
        log(f"{path.name} is being written by another process or thread: waiting until it has ended")
        lock = _locked(place, wait=True)
    if lock is None:  # a file system without locks: a place of our own, which nobody can tell from one that was left
        place = path.with_name(PARTIAL + uuid.uuid4().hex)
        place.mkdir()
    try:
        yield place
    finally:
        _give_up(place, lock)


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Have what an operating system refuses name the file or folder that was to be, not the one in a hidden place."""
    try:
        yield
    except OSError as error:
        if error.filename is not None:
            error.filename = _final(error.filename, path)
        raise


def _final(name: object, path: Path) -> object:
    if not isinstance(name, str | bytes | os.PathLike):  # a descriptor
        return name
    below, depth = Path(os.fsdecode(name)).parts, len(path.parent.parts)
    if below[:depth] != path.parent.parts or not below[depth:] or not below[depth].startswith(PARTIAL):
        return name
    return str(path.joinpath(*below[depth + 2 :]))


@contextmanager
def filled(place: Path, folder: Path) -> Iterator[Path]:
    """Yield an empty folder in `place`, claimed for `folder`; when the block ends well, it becomes `folder`."""
    folder = Path(folder)
    partial = place / folder.name
    partial.mkdir()
    yield partial
    for path in sorted(partial.rglob("*")):
        if not path.is_symlink():
            flush(path)
    flush(partial)
    flush(place)
    if not os.path.lexists(folder):
        os.rename(partial, folder)
    elif not folder.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(folder))
    elif not _exchange(partial, folder):
        # Between the two renames there is no folder, never half of one; who is killed there is completed by the next.
        os.rename(folder, place / _REPLACED)
        os.rename(partial, folder)
    flush(folder.parent)


def sweep(root: Path) -> int:
    """Remove what killed writers left anywhere below `root`; returns of how many outputs.

    What is being written is left alone, and so are downloads that can be gone on with.
    """
    removed = 0
    for folder, names, files in os.walk(root):
        here = Path(folder)
        for name in [name for name in names if name.startswith(PARTIAL)]:
            names.remove(name)
            if _CLAIM.fullmatch(name):
                removed += _recovered(here / name)
            elif _EARLIER.fullmatch(name):
                removed += _removed(here / name)
        for name in files:
            if _EARLIER.fullmatch(name):
                removed += _removed(here / name)
    return removed


def discard(folder: Path) -> None:
    """Remove a folder; a process that is killed meanwhile leaves no half of it under its name."""
    with claim(folder) as place, suppress(FileNotFoundError):
        os.rename(folder, place / folder.name)


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
        return _NOTHING[path.is_symlink()]
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


def try_lock(descriptor: int, wait: bool = False) -> bool | None:
    """Lock an open file for as long as it stays open; False where another has it locked, None where nobody can."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        return None
    return True


def _require_name_of_file(path: Path) -> None:
    found = obstacle(path) if path.name else "a folder"
    if found is None or found in _NOTHING:
        return
    raise InputError(
        "file", file=path, expected="a file, or a name that is free", found=found, remedy="choose another name"
    )


def _locked(place: Path, wait: bool = False) -> int | None:
    """A claim's folder, made, locked and emptied of what an earlier holder left: the descriptor that holds the lock.

    None where the file system has no locks; raises BlockingIOError where another holds it. The lock is on a file in
    the folder, for network file systems lock no folders.
    """
    while True:
        with suppress(FileExistsError):  # not `exist_ok`, which looks again: the former holder may be removing it
            place.mkdir()
        try:
            lock = os.open(place / _LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
        except FileNotFoundError:
            continue  # its former holder has just removed it
        try:
            got = try_lock(lock, wait)
            # The former holder may have removed the file between our opening and locking it.
            if got and _is(lock, place / _LOCK):
                _recover(place)
                return lock
        except BaseException:
            os.close(lock)
            raise
        os.close(lock)
        if got is None:
            with suppress(OSError):
                (place / _LOCK).unlink()
                place.rmdir()
            return None
        if not got:
            raise BlockingIOError(errno.EWOULDBLOCK, os.strerror(errno.EWOULDBLOCK), str(place))


def _is(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.lstat())
    except FileNotFoundError:
        return False


def _recover(place: Path) -> None:
    """Empty a claim's folder. A folder that was about to be replaced is replaced first: its place may be empty."""
    if (place / _REPLACED).is_dir():
        for path in place.iterdir():
            if path.name not in (_LOCK, _REPLACED) and not os.path.lexists(place.with_name(path.name)):
                os.rename(path, place.with_name(path.name))
                flush(place.parent)
    for path in place.iterdir():
        if path.name != _LOCK:
            _remove(path)


def _give_up(place: Path, lock: int | None) -> None:
    """Remove a claim's folder with what is left in it, and the lock last of all."""
    try:
        for path in place.iterdir():
            if path.name != _LOCK:
                with suppress(OSError):
                    _remove(path)
        with suppress(OSError):
            (place / _LOCK).unlink(missing_ok=True)
    except FileNotFoundError:
        pass  # removed by hand
    finally:
        if lock is not None:
            os.close(lock)
    # Not empty where the next holder came in meanwhile, who will remove it.
    with suppress(OSError):
        place.rmdir()


def _recovered(place: Path) -> bool:
    """Whether what a killed writer left was removed; not so where the writer lives."""
    try:
        lock = _locked(place)
    except OSError:
        return False
    if lock is not None:
        _give_up(place, lock)
    return lock is not None


def _removed(path: Path) -> bool:
    with suppress(OSError):
        _remove(path)
    return not os.path.lexists(path)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def _exchange(one: Path, other: Path) -> bool:
    """Exchange two names in one step; False where this system, or this file system, cannot."""
    call = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    here, exchange = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    return call is not None and call(here, os.fsencode(one), here, os.fsencode(other), exchange) == 0
