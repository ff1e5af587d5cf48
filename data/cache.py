"""What makes a step skip its work: the record that lies beside every output.

One output is one folder. Its `record.json` holds the recipe it was made by, a stamp of each file, and what was
measured on the way. A step whose recipe and files agree with the record has nothing to do. Nothing else in the project
decides whether work is needed.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from data.errors import InputError, os_error
from data.files import publish, publish_folder, sha256_of
from data.recipe import Recipe

RECORD = "record.json"


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


def recall(folder: Path, wanted: str | None = None) -> Record | None:
    """The record of `folder` if every file it names is still there, unchanged; else None.

    With `wanted`, only if it was made under that fingerprint. Size and modification time are trusted; where the time
    differs (a copied storage root), the checksum decides.
    """
    record = _load(folder)
    if record is None or (wanted is not None and record.fingerprint != wanted):
        return None
    moved = False
    for name, stamp in record.files.items():
        try:
            status = (folder / name).stat()
        except FileNotFoundError:
            return None
        if status.st_size != stamp.size:
            return None
        if status.st_mtime_ns != stamp.mtime_ns:
            if sha256_of(folder / name) != stamp.sha256:
                return None
            moved = True
    if moved:
        # Stamp the new times, so that the next look does not read every byte again.
        record = replace(record, files=stamp_files(folder))
        _save(folder, record)
    return record


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
) -> Outcome:
    """Return the record of `folder` if it was made by `recipe`; else do the work.

    `work(partial)` fills an empty folder and returns what it measured (JSON values). The folder appears whole, with
    its record, or not at all. The data version is the recipe's fingerprint; with `version` it is that, or what that
    function says of the finished folder: a step whose output came out the same as before then keeps its data version,
    and changes nothing after it. `linked` holds stamps of files that `work` may link to, whose checksums need not be
    computed again.
    """
    record = recall(folder, recipe.fingerprint)
    if record is not None:
        if record.recipe is None:
            record = replace(record, recipe=recipe)
            _save(folder, record)
        return Outcome(record, cached=True)
    with publish_folder(folder) as partial:
        try:
            measured = work(partial)
        except InputError as problem:
            raise problem.at(partial, folder) from problem
        except OSError as error:
            raise os_error(error, folder.name).at(partial, folder) from error
        stamps = stamp_files(partial, linked or {})
        said = version(partial) if callable(version) else version
        if callable(version) and said == _version_before(folder, version):
            said = require(folder, folder.name).version
        record = Record(recipe.fingerprint, stamps, measured, said or recipe.fingerprint, recipe)
        _save(partial, record)
    return Outcome(record, cached=False)


def _version_before(folder: Path, version: Callable[[Path], str]) -> str | None:
    """What `version` says of the output that is about to be replaced; None where it is not whole or of another kind.

    Asked anew, because an earlier release may have computed the version in its record otherwise.
    """
    try:
        return version(folder) if recall(folder) is not None else None
    except InputError:
        return None


def stamp_files(folder: Path, known: Mapping[str, Stamp] | None = None) -> dict[str, Stamp]:
    """Stamps of all files below `folder`, by relative POSIX path, the record itself left out.

    Checksums of files that are those of `known`, by name, size and time, are taken from there.
    """
    stamps = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path != folder / RECORD:
            name, status = path.relative_to(folder).as_posix(), path.stat()
            same = (known or {}).get(name)
            if same is None or (same.size, same.mtime_ns) != (status.st_size, status.st_mtime_ns):
                same = Stamp(status.st_size, status.st_mtime_ns, sha256_of(path))
            stamps[name] = same
    return stamps


def _load(folder: Path) -> Record | None:
    try:
        content = json.loads((folder / RECORD).read_text())
        stamps = {name: Stamp(**stamp) for name, stamp in content["files"].items()}
        recipe = Recipe(**content["recipe"]) if content.get("recipe") else None
        return Record(content["fingerprint"], stamps, content["measured"], content["version"], recipe)
    except (FileNotFoundError, NotADirectoryError, ValueError, KeyError, TypeError):
        # Absent, or not a record of ours: either way there is nothing to rely on.
        return None


def _save(folder: Path, record: Record) -> None:
    with publish(folder / RECORD) as partial:
        content = {
            "fingerprint": record.fingerprint,
            "version": record.version,
            "recipe": record.recipe.content if record.recipe else None,
            "files": {name: asdict(stamp) for name, stamp in record.files.items()},
            "measured": record.measured,
        }
        partial.write_text(json.dumps(content, indent=1, allow_nan=False))
