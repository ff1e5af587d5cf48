"""What makes a step skip its work: fingerprints of inputs, and the record that lies beside every output.

One output is one folder. Its `record.json` holds the fingerprint it was made under, a stamp of each file, and what was
measured on the way. A step whose fingerprint and files agree with the record has nothing to do. Nothing else in the
project decides whether work is needed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from data.errors import InputError
from data.files import publish, publish_folder, sha256_of

RECORD = "record.json"


@dataclass(frozen=True)
class Stamp:
    """One output file as it was written: bytes, modification time in nanoseconds, SHA-256."""

    size: int
    mtime_ns: int
    sha256: str


@dataclass(frozen=True)
class Record:
    """What a folder holds: the fingerprint it was made under, its files by relative path, and what was measured."""

    fingerprint: str
    files: dict[str, Stamp]
    measured: dict[str, Any]


@dataclass(frozen=True)
class Outcome:
    """A step's record, and whether it was found (`cached`) or made just now."""

    record: Record
    cached: bool


def fingerprint(*, code_version: str, parameters: Mapping[str, Any], inputs: Mapping[str, str]) -> str:
    """SHA-256 over a step's code version, its parameters and the data versions of its inputs.

    All must be plain JSON values; the order of keys does not matter.
    """
    content = {"code_version": code_version, "parameters": dict(parameters), "inputs": dict(inputs)}
    return hashlib.sha256(json.dumps(content, sort_keys=True, allow_nan=False).encode()).hexdigest()


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
        record = Record(record.fingerprint, stamp_files(folder), record.measured)
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


def make(folder: Path, wanted: str, work: Callable[[Path], dict[str, Any]]) -> Outcome:
    """Return the record of `folder` if it stands under the fingerprint `wanted`; else do the work.

    `work(partial)` fills an empty folder and returns what it measured (JSON values). The folder appears whole, with
    its record, or not at all.
    """
    record = recall(folder, wanted)
    if record is not None:
        return Outcome(record, cached=True)
    with publish_folder(folder) as partial:
        measured = work(partial)
        record = Record(wanted, stamp_files(partial), measured)
        _save(partial, record)
    return Outcome(record, cached=False)


def stamp_files(folder: Path) -> dict[str, Stamp]:
    """Stamps of all files below `folder`, by relative POSIX path, the record itself left out."""
    stamps = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path != folder / RECORD:
            status = path.stat()
            stamps[path.relative_to(folder).as_posix()] = Stamp(status.st_size, status.st_mtime_ns, sha256_of(path))
    return stamps


def _load(folder: Path) -> Record | None:
    try:
        content = json.loads((folder / RECORD).read_text())
        stamps = {name: Stamp(**stamp) for name, stamp in content["files"].items()}
        return Record(content["fingerprint"], stamps, content["measured"])
    except (FileNotFoundError, NotADirectoryError, ValueError, KeyError, TypeError):
        # Absent, or not a record of ours: either way there is nothing to rely on.
        return None


def _save(folder: Path, record: Record) -> None:
    with publish(folder / RECORD) as partial:
        partial.write_text(json.dumps(asdict(record), indent=1, allow_nan=False))
