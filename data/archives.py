"""Archives: a zip or a tar unpacked without surprises, all of it or nothing. What is in one does not belong here."""

from __future__ import annotations

import errno
import functools
import lzma
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO

from data.errors import InputError
from data.transfer import BLOCK, Log, Progress, amount, disk_errors, require_room

_UNPACKED_FACTOR = 20  # audio packs poorly: what grows more than this, and beyond the next line, is a bomb
_UNPACKED_ALWAYS = 100 << 20  # bytes
_MEMBERS = 200_000
_MEMBERS_ALWAYS = 10_000  # beyond, a member of audio fills more than the next line
_MEMBER_SIZE = 1000  # bytes of the archive
_DEPTH = 50  # folders in each other; those who walk through them later call themselves for each
_TAR_EXTRA = 1 << 20  # bytes of a tar's extended header, which is read into memory; long names fill some 100
_TAR_PADDING = 64  # blocks of that size at the end of a tar
_BAD_NAME = (errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.EINVAL, errno.EILSEQ)
_DAMAGE = (
    *(zipfile.BadZipFile, tarfile.TarError, EOFError, zlib.error, lzma.LZMAError, struct.error),
    # Other ways in which both readers stumble over damage.
    *(NotImplementedError, RecursionError, RuntimeError, ValueError, ArithmeticError, LookupError, MemoryError),
)


def is_archive(path: Path) -> bool:
    """Whether a file is a zip or a tar, as far as its beginning and its end tell. Raises OSError as the system does."""
    try:
        return zipfile.is_zipfile(path) or tarfile.is_tarfile(path)
    except _DAMAGE:  # of a file that was cut within the header of gzip
        return False


def extract_archive(archive: Path, folder: Path, log: Log = lambda _: None) -> None:
    """Unpack a zip or a tar archive (.gz, .bz2, .xz) into `folder`, all of it or nothing; no file is replaced.

    Files get ordinary permissions. Raises InputError naming the member where one has no name or that of another, would
    land outside the folder or more than 50 folders deep, is encrypted, a link, a device or a file with holes, where
    the archive has no file, or more members than a dataset of its size, unpacks to more than 20 times its size (and
    more than 100 MiB) or than the disk has room for, and for a damaged archive.
    """
    folder.mkdir(parents=True, exist_ok=True)
    unpacking = _Unpacking(archive, folder)
    job, size = f"unpacking {archive.name}", archive.stat().st_size
    try:
        with _archive_errors(archive), open(archive, "rb") as raw, Progress(job, size, 0, log) as progress:
            zipped = raw.peek(4)[:4] in (b"PK\3\4", b"PK\5\6")  # a full one, an empty one
            # One that unpacks itself begins with a program.
            zipped = zipped or (zipfile.is_zipfile(archive) and not tarfile.is_tarfile(archive))
            for member in _zip_members(raw, unpacking) if zipped else _tar_members(raw, folder):
                unpacking.add(member)
                progress.at(raw.tell())
            unpacking.require_files()
    except BaseException:
        unpacking.undo()
        raise
    log(f"unpacked {unpacking.files} files of {amount(unpacking.bytes)} from {archive.name}")


@dataclass(frozen=True)
class _Member:
    """A member as the archive's own headers describe it; `problem` says why it cannot be taken."""

    name: str
    size: int
    is_folder: bool
    problem: str | None
    open: Callable[[], IO[bytes] | None]


def _zip_members(raw: IO[bytes], unpacking: _Unpacking) -> Iterator[_Member]:
    with zipfile.ZipFile(raw) as packed:
        infos = packed.infolist()
        if len(infos) > unpacking.members:
            raise unpacking.too_many(infos[unpacking.members].filename)
        largest = max(infos, key=lambda info: info.file_size, default=None)
        if largest is not None:
            unpacking.require(sum(info.file_size for info in infos), largest.filename)
        for info in infos:
            kind = stat.S_IFMT(info.external_attr >> 16)
            problem = "encrypted" if info.flag_bits & 1 else None
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                problem = "a link or special file"
            # Not is_dir(), which stumbles over an empty name.
            is_folder = info.filename.endswith("/")
            yield _Member(info.filename, info.file_size, is_folder, problem, functools.partial(packed.open, info))


def _tar_members(raw: IO[bytes], folder: Path) -> Iterator[_Member]:
    with tarfile.open(fileobj=raw, tarinfo=_TarHeader) as packed:
        for info in packed:
            problem = None if info.isreg() or info.isdir() else "a link or special file"
            if info.issparse():
                problem = "a file with holes"  # whose map may be of any size
            try:
                tarfile.data_filter(info, str(folder))
            except tarfile.OutsideDestinationError:
                problem = problem or "which would land outside of it"  # tarfile names the place of today
            except tarfile.FilterError as error:
                problem = problem or str(error)
            yield _Member(info.name, info.size, info.isdir(), problem, functools.partial(packed.extractfile, info))
        # gzip and xz keep a checksum at their very end, behind the padding.
        assert packed.fileobj is not None
        if all(packed.fileobj.read(_TAR_EXTRA) for _ in range(_TAR_PADDING)):
            raise tarfile.ReadError("more data after its end than padding needs")


class _TarHeader(tarfile.TarInfo):
    """A header of a tar; tarfile itself takes one that is damaged, or missing, for the end of the archive."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> _TarHeader:
        try:
            header = super().frombuf(buf, encoding, errors)
        except tarfile.HeaderError as error:
            if len(buf) == tarfile.BLOCKSIZE and not any(buf):
                raise  # the true end
            raise tarfile.ReadError(str(error)) from error
        extended = not (header.isreg() or header.isdir() or header.islnk() or header.issym() or header.isdev())
        if header.size < 0 or (extended and header.size > _TAR_EXTRA):
            raise tarfile.ReadError(f"a header of {header.size} bytes")
        return header


class _Unpacking:
    """What was unpacked so far, the limits on it, and the way back."""

    def __init__(self, archive: Path, folder: Path) -> None:
        self._archive, self._folder = archive, folder
        self._limit = max(_UNPACKED_ALWAYS, _UNPACKED_FACTOR * archive.stat().st_size)
        self.members = min(_MEMBERS, max(_MEMBERS_ALWAYS, archive.stat().st_size // _MEMBER_SIZE))
        self._made: list[Path] = []
        self._members = self.files = self.bytes = 0

    def require(self, size: int, name: str) -> None:
        """Refuse where `size` further bytes are too many."""
        if size < 0 or self.bytes + size > self._limit:
            found = f"{amount(self.bytes + size)} with the member {name!r}"
            raise self._refusal(f"an archive that unpacks to at most {amount(self._limit)}", found)
        require_room(self._folder, size, f"the member {name!r} of {self._archive.name}")

    def require_files(self) -> None:
        """Refuse an archive in which no file was."""
        if not self.files:
            raise self._refusal("an archive with files in it", f"none among its {self._members} members")

    def too_many(self, name: str) -> InputError:
        return self._refusal(
            f"at most {self.members} members in an archive of its size", f"more of them, {name!r} the first"
        )

    def add(self, member: _Member) -> None:
        self._members += 1
        if self._members > self.members:
            raise self.too_many(member.name)
        parts = _parts_inside(member.name)
        if parts is not None and len(parts) > _DEPTH:
            found = f"the member {member.name[:60]!r}..., {len(parts)} deep"
            raise self._refusal(f"files at most {_DEPTH} folders deep", found)
        if member.problem or parts is None or not (parts or member.is_folder):
            expected = "only unencrypted files and folders inside the archive's own folder"
            raise self._refusal(expected, f"the member {member.name!r}" + f", {member.problem}" * bool(member.problem))
        self.require(member.size, member.name)
        with disk_errors(self._folder, self._archive.name):
            target = self._place(parts, member)
            if not member.is_folder:
                self._copy(member, target)

    def _place(self, parts: tuple[str, ...], member: _Member) -> Path:
        """Make the member's folder, and its file, empty: never one that is there already."""
        target = self._folder
        try:
            for part in parts if member.is_folder else parts[:-1]:
                target /= part
                if not target.is_dir():
                    target.mkdir()
                    self._made.append(target)
            if not member.is_folder:
                target /= parts[-1]
                target.touch(exist_ok=False)
                self._made.append(target)
        except OSError as error:
            if error.errno not in _BAD_NAME:
                raise
            found = f"the member {member.name!r}: {error.strerror}"
            raise self._refusal("names that can be, each once and none in place of a folder", found) from error
        return target

    def _copy(self, member: _Member, target: Path) -> None:
        source = member.open()
        assert source is not None
        with source, open(target, "wb") as file:
            while block := source.read(BLOCK):
                self.require(len(block), member.name)  # headers may say less than there is
                file.write(block)
                self.bytes += len(block)
        self.files += 1

    def undo(self) -> None:
        for path in reversed(self._made):
            with suppress(OSError):  # a folder that others use by now
                if path.is_dir():
                    path.rmdir()
                else:
                    path.unlink()

    def _refusal(self, expected: str, found: str) -> InputError:
        remedy = "do not use this archive; get it from its publisher"
        return InputError("archive", file=self._archive, expected=expected, found=found, remedy=remedy)


def _parts_inside(name: str) -> tuple[str, ...] | None:
    """The parts of a member's name; None where some system would take it out of the folder."""
    windows = PureWindowsPath(name)
    if windows.drive or windows.root or ".." in windows.parts or "\\" in name or "\0" in name:
        return None
    return PurePosixPath(name).parts


@contextmanager
def _archive_errors(archive: Path) -> Iterator[None]:
    try:
        yield
    except (*_DAMAGE, OSError) as error:
        # The errors of gzip and bz2 have no number; a seek to nowhere has this one.
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
            raise
        raise InputError(
            "archive",
            file=archive,
            expected="an undamaged zip or tar archive",
            found=str(error).partition("\n")[0] or type(error).__name__,
            remedy="download it again",
        ) from error
