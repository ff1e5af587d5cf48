"""What makes a step skip its work: fingerprints of inputs, and the record that lies beside every output.

One output is one folder. Its `record.json` holds the fingerprint it was made under, a stamp of each file, and what was
measured on the way. A step whose fingerprint and files agree with the record has nothing to do. Nothing else in the
project decides whether work is needed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from data.errors import InputError
from data.files import publish, publish_folder, sha256_of

RECORD = "record.json"
BY_CONTENT = "by content"  # asks for a data version made of what the files hold


@dataclass(frozen=True)
class Stamp:
    """One output file as it was written: bytes, modification time in nanoseconds, SHA-256."""

    size: int
    mtime_ns: int
    sha256: str


@dataclass(frozen=True)
class Record:
    """What a folder holds: the fingerprint it was made under, its files by relative path, and what was measured.

    `version` is the data version, which is what later steps depend on.
    """

    fingerprint: str
    files: dict[str, Stamp]
    measured: dict[str, Any]
    version: str


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
    wanted: str,
    work: Callable[[Path], dict[str, Any]],
    *,
    version: str | None = None,
    linked: Mapping[str, Stamp] | None = None,
) -> Outcome:
    """Return the record of `folder` if it stands under the fingerprint `wanted`; else do the work.

    `work(partial)` fills an empty folder and returns what it measured (JSON values). The folder appears whole, with
    its record, or not at all. The data version is the fingerprint; with `version` it is that, or, where that is
    `BY_CONTENT`, a checksum of the files: a step whose output came out the same then changes nothing after it.
    `linked` holds stamps of files that `work` may link to, whose checksums need not be computed again.
    """
    record = recall(folder, wanted)
    if record is not None:
        return Outcome(record, cached=True)
    with publish_folder(folder) as partial:
        measured = work(partial)
        stamps = stamp_files(partial, linked or {})
        if version == BY_CONTENT:
            contents = {name: stamp.sha256 for name, stamp in stamps.items()}
            version = hashlib.sha256(json.dumps(contents, sort_keys=True).encode()).hexdigest()
        record = Record(wanted, stamps, measured, version or wanted)
        _save(partial, record)
    return Outcome(record, cached=False)


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
        return Record(content["fingerprint"], stamps, content["measured"], content["version"])
    except (FileNotFoundError, NotADirectoryError, ValueError, KeyError, TypeError):
        # Absent, or not a record of ours: either way there is nothing to rely on.
        return None


def _save(folder: Path, record: Record) -> None:
    with publish(folder / RECORD) as partial:
        partial.write_text(json.dumps(asdict(record), indent=1, allow_nan=False))
