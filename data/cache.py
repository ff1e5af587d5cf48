"""What makes a step skip its work: the record that lies beside every output.

One output is one folder. Its `record.json` holds the recipe it was made by, a stamp of each file, and what was
measured on the way. A step whose recipe and files agree with the record has nothing to do. Nothing else in the project
decides whether work is needed.

A record that was damaged in any way, as its own checksum tells, is none; one that the operating system does not let be
read is bad input, and never taken for an output that is missing.
"""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import os
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import asdict, dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from data.errors import InputError, os_error
from data.files import PARTIAL, claim, discard, filled, link, publish, publish_folder, sha256_of
from data.recipe import Recipe

RECORD = "record.json"
_KEYS = {"fingerprint", "version", "recipe", "files", "measured"}
_LARGEST = 64 << 20  # bytes of a record; true ones have some thousands
_ABSENT = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG)
_log = logging.getLogger(__name__)
_looks: ContextVar[dict[Path, Look] | None] = ContextVar("_looks", default=None)  # while nothing may be written


@dataclass(frozen=True)
class Stamp:
    """One output file as it was written: bytes, modification time in nanoseconds, SHA-256."""

    size: int
    mtime_ns: int
    sha256: str


@dataclass(frozen=True)
class Record:
    """What a folder holds: the fingerprint it was made under, its files by relative path, and what was measured.

    `version` is the data version, which is what later steps depend on; `recipe` what the fingerprint is of, None in
    records from before recipes were kept.
    """

    fingerprint: str
    files: dict[str, Stamp]
    measured: dict[str, Any]
    version: str
    recipe: Recipe | None = None


@dataclass(frozen=True)
class Outcome:
    """A step's record, and whether it was found (`cached`) or made just now."""

    record: Record
    cached: bool


@dataclass(frozen=True)
class Look:
    """What stands in an output's folder: its record, and in words what keeps it from being relied on.

    `record` says what was made also where the files are no longer so; None where none can be read.
    """

    record: Record | None
    trouble: str = ""

    @property
    def whole(self) -> Record | None:
        """The record, if it can be relied on."""
        return None if self.trouble else self.record


@contextmanager
def only_looking() -> Iterator[None]:
    """Inside, outputs are only looked at: no record is stamped anew or mended, and what would have to be made is not.

    Every output is looked at once, so that all that is asked of it is answered alike.
    """
    token = _looks.set({})
    try:
        yield
    finally:
        _looks.reset(token)


def look(folder: Path) -> Look:
    """What stands in `folder`, also where that is nothing. Raises InputError for what is there and cannot be read."""
    known = _looks.get()
    if known is None:
        return _look(folder)
    if folder not in known:
        known[folder] = _look(folder)
    return known[folder]


def differences(found: Look, recipe: Recipe) -> list[str]:
    """Why an output would be made by this recipe, given what stands in its place; empty where that stands by it.

    The one answer to "what has changed?": runs, schedules and `python -m pipelines.why` tell it in these words.
    """
    record = found.whole
    if record is None:
        return [found.trouble]
    if record.fingerprint == recipe.fingerprint:
        return []
    # Values that JSON tells apart and Python does not (1 and 1.0) differ, too.
    return (record.recipe and recipe.differs(record.recipe)) or ["settings, inputs or code changed"]


def recall(folder: Path, wanted: str | None = None) -> Record | None:
    """The record of `folder` if every file it names is still there, unchanged; else None.

    With `wanted`, only if it was made under that fingerprint. Size and modification time are trusted; where the time
    differs (a copied storage root), the checksum decides. Raises InputError for what is there and cannot be read.
    """
    if _looks.get() is not None:
        whole = look(folder).whole
        return whole if whole is None or wanted in (None, whole.fingerprint) else None
    record = _load(folder)
    if record is None or (wanted is not None and record.fingerprint != wanted):
        return None
    return _checked(folder, record).whole


def _look(folder: Path) -> Look:
    record = _load(folder)
    if record is not None:
        return _checked(folder, record)
    if _status(folder) is None:
        return Look(None, "not made yet")
    return Look(None, f"its {RECORD} is {'missing' if _status(folder / RECORD) is None else 'damaged'}")


def _checked(folder: Path, record: Record) -> Look:
    """What a record says, against the files of today."""
    stamps = {}
    for name, stamp in record.files.items():
        same = _same(folder / name, stamp)
        if same is None:
            gone = _status(folder / name) is None
            return Look(record, f"{name} {'is missing' if gone else 'is not as it was written'}")
        stamps[name] = same
    if stamps != record.files:
        # Stamp the new times, so that the next look does not read every byte again; not where it is only looked at.
        record = replace(record, files=stamps)
        if _looks.get() is None:
            with suppress(OSError):
                _save(folder, record)
    return Look(record)


def _same(file: Path, stamp: Stamp) -> Stamp | None:
    """The stamp of a file that still is what it was, with its time of today; None of one that is not."""
    status = _status(file)
    if status is None or not stat.S_ISREG(status.st_mode) or status.st_size != stamp.size:
        return None
    if status.st_mtime_ns == stamp.mtime_ns:
        return stamp
    try:
        return replace(stamp, mtime_ns=status.st_mtime_ns) if sha256_of(file) == stamp.sha256 else None
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _unreadable(error, file) from error


def require(folder: Path, name: str) -> Record:
    """The record of an output that something else is made of, called `name` for people.

    Raises InputError where it is missing or its files are no longer as they were written.
    """
    record = recall(folder)
    if record is None:
        raise InputError(
            name,
            file=folder,
            expected="its output, whole and as it was written",
            found="damaged output" if folder.is_dir() else "no output",
            remedy=f"materialise {name} first",
        )
    return record


def make(
    folder: Path,
    recipe: Recipe,
    work: Callable[[Path], dict[str, Any]],
    *,
    version: str | Callable[[Path], str] | None = None,
    linked: Mapping[str, Stamp] | None = None,
    log: Callable[[str], None] = _log.warning,
) -> Outcome:
    """Return the record of `folder` if it was made by `recipe`; else do the work.

    `work(partial)` fills an empty folder, with one file at least, and returns what it measured (JSON values). The
    folder appears whole, with its record, or not at all. Where another process is making it, this one waits, says so to
    `log`, and takes what that one made. The data version is the recipe's fingerprint; with `version` it is that, or
    what that function says of the finished folder: a step whose output came out the same as before then keeps its data
    version, and changes nothing after it. `linked` holds stamps of files that `work` may link to, whose checksums need
    not be computed again. Raises InputError where what is there cannot be read, and for what would have to be made
    while it is `only_looking`.
    """
    if _looks.get() is not None:
        return _as_it_stands(folder, recipe)
    record = _found(folder, recipe)
    if record is not None:
        return Outcome(record, cached=True)
    with claim(folder, log) as place:
        record = _found(folder, recipe)  # made while this waited
        if record is not None:
            return Outcome(record, cached=True)
        with filled(place, folder) as partial:
            try:
                measured = work(partial)
            except InputError as problem:
                raise problem.at(partial, folder) from problem
            except OSError as error:
                raise os_error(error, folder.name).at(partial, folder) from error
            stamps = stamp_files(partial, linked or {})
            if not stamps:
                raise RuntimeError(f"the work for {folder} ended without writing a file: nothing was published")
            said = version(partial) if callable(version) else version
            if callable(version) and said == _version_before(folder, version):
                said = require(folder, folder.name).version
            record = Record(recipe.fingerprint, stamps, measured, said or recipe.fingerprint, recipe)
            _save(partial, record)
    return Outcome(record, cached=False)


def _as_it_stands(folder: Path, recipe: Recipe) -> Outcome:
    found = look(folder)
    why = differences(found, recipe)
    if why or found.whole is None:
        raise InputError(
            folder.name,
            file=folder,
            expected="an output that stands as it would be made now",
            found="; ".join(why),
            remedy="materialise what it belongs to",
        )
    return Outcome(found.whole, cached=True)


def revise(folder: Path, target: Path, change: Callable[[Path, Record], Record]) -> Record | None:
    """Give the output in `folder` the place `target`, which may be its own, with something changed about it.

    `change(partial, record)` replaces files in a copy of names, never what is in them, and returns the record to be.
    What is there is whole at every moment; a kill leaves it at one of the places, or at both. Returns the new record;
    None, and nothing is done, where there is no whole output.
    """
    record = recall(folder)
    if record is None:
        return None
    with publish_folder(target) as partial:
        for name in record.files:
            (partial / name).parent.mkdir(parents=True, exist_ok=True)
            link(folder / name, partial / name)
        record = change(partial, record)
        record = replace(record, files=stamp_files(partial, record.files))
        _save(partial, record)
    if folder != target:
        discard(folder)
    return record


def _found(folder: Path, recipe: Recipe) -> Record | None:
    """The record of an output that stands by this recipe; one from before recipes were kept learns it."""
    record = recall(folder, recipe.fingerprint)
    if record is not None and record.recipe is None:
        record = replace(record, recipe=recipe)
        with suppress(OSError):
            _save(folder, record)
    return record


def _version_before(folder: Path, version: Callable[[Path], str]) -> str | None:
    """What `version` says of the output that is about to be replaced; None where it is not whole or of another kind.

    Asked anew, because an earlier release may have computed the version in its record otherwise.
    """
    try:
        return version(folder) if recall(folder) is not None else None
    except InputError:
        return None


def stamp_files(folder: Path, known: Mapping[str, Stamp] | None = None) -> dict[str, Stamp]:
    """Stamps of all files below `folder`, by relative POSIX path, without the record itself and what is half written.

    Checksums of files that are those of `known`, by name, size and time, are taken from there.
    """
    stamps = {}
    for path in sorted(folder.rglob("*")):
        inside = path.relative_to(folder)
        if path.is_file() and path != folder / RECORD and not any(part.startswith(PARTIAL) for part in inside.parts):
            name, status = inside.as_posix(), path.stat()
            same = (known or {}).get(name)
            if same is None or (same.size, same.mtime_ns) != (status.st_size, status.st_mtime_ns):
                same = Stamp(status.st_size, status.st_mtime_ns, sha256_of(path))
            stamps[name] = same
    return stamps


def _load(folder: Path) -> Record | None:
    file = folder / RECORD
    status = _status(file)
    if status is None or not stat.S_ISREG(status.st_mode) or status.st_size > _LARGEST:
        return None
    try:
        content = json.loads(file.read_bytes())
        told = content.pop("sha256", None)
        # Earlier releases wrote no checksum; one under a damaged name is no such record.
        if told not in (None, _checksum(content)) or not content.keys() <= _KEYS:
            return None
        recipe = content.get("recipe")
        return Record(
            _text(content["fingerprint"]),
            {_name_inside(name): _stamp(**stamp) for name, stamp in content["files"].items()} or _damaged("no files"),
            _dictionary(content["measured"]),
            _text(content["version"]),
            _recipe(**recipe) if recipe is not None else None,
        )
    except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        # Absent, or not a record of ours: either way there is nothing to rely on.
        return None
    except OSError as error:
        raise _unreadable(error, file) from error


def _status(file: Path) -> os.stat_result | None:
    """What the operating system says of a file; None where there is none."""
    try:
        return file.stat()
    except ValueError:
        return None  # a name that no file can have
    except OSError as error:
        if error.errno in _ABSENT:
            return None
        raise _unreadable(error, file) from error


def _unreadable(error: OSError, file: Path) -> InputError:
    return os_error(error, f"output {file.parent.name}", file=file)


def _damaged(what: str) -> Any:
    raise ValueError(what)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(value)
    value.encode()  # half of a surrogate pair cannot be written anywhere
    return value


def _dictionary(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else _damaged("another type")


def _name_inside(name: str) -> str:
    """A name that leads to a file in the folder itself."""
    path = PurePosixPath(name)
    inside = path.parts and not path.is_absolute() and ".." not in path.parts and "\0" not in name
    return name if inside and name != RECORD else _damaged(name)


def _stamp(size: Any, mtime_ns: Any, sha256: Any) -> Stamp:
    if type(size) is not int or type(mtime_ns) is not int:
        raise TypeError(size)
    return Stamp(size, mtime_ns, _text(sha256))


def _recipe(code_version: Any, parameters: Any, inputs: Any) -> Recipe:
    inputs = {_text(name): _text(version) for name, version in _dictionary(inputs).items()}
    return Recipe(_text(code_version), _dictionary(parameters), inputs)


def _checksum(content: Mapping[str, Any]) -> str:
    # Without the times of files: they need not be right, and equal work is to leave equal records.
    files = {name: {**stamp, "mtime_ns": 0} for name, stamp in content["files"].items()}
    return hashlib.sha256(json.dumps({**content, "files": files}, sort_keys=True, allow_nan=False).encode()).hexdigest()


def _save(folder: Path, record: Record) -> None:
    content = {
        "fingerprint": record.fingerprint,
        "version": record.version,
        "recipe": record.recipe.content if record.recipe else None,
        "files": {name: asdict(stamp) for name, stamp in record.files.items()},
        "measured": record.measured,
    }
    # Of the content as it will be read: keys that are numbers become text.
    content = json.loads(json.dumps(content, allow_nan=False))
    with publish(folder / RECORD) as partial:
        partial.write_text(json.dumps(content | {"sha256": _checksum(content)}, indent=1, allow_nan=False))
