"""MedleyDB's metadata: the YAML files read, checked, and laid out as one table row per track and stem.

Facts about the labels (which instruments are voices) stand here; audio does not. The mixing coefficients that are
published beside the metadata are read here too: a second opinion on how loud a stem is in its mix.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from data.errors import InputError
from data.names import in_letters
from data.tables import Table
from data.walk import Walk
from data.yaml_files import read_yaml

SUFFIX = "_METADATA.yaml"

# The "voices" branch of MedleyDB's instrument taxonomy. `crowd` belongs to it too, but does not sing.
VOCAL_INSTRUMENTS = frozenset(
    {f"{who} {what}" for who in ("male", "female") for what in ("singer", "speaker", "rapper", "screamer")}
    | {"vocalists", "choir", "beatboxing"}
)

STEMS = Table(
    "stems.parquet",
    pa.schema(
        [
            pa.field("id", pa.string(), metadata={"doc": "the track's MedleyDB id"}),
            pa.field("artist", pa.string(), metadata={"doc": "artist as the metadata names it"}),
            pa.field("title", pa.string(), metadata={"doc": "title as the metadata names it"}),
            pa.field("genre", pa.string(), metadata={"doc": "genre"}),
            pa.field("has_bleed", pa.bool_(), metadata={"doc": "whether stems hold sound of each other"}),
            pa.field("instrumental", pa.bool_(), metadata={"doc": "as published; not reliable, the stems decide"}),
            pa.field(
                "stem", pa.string(), metadata={"doc": "key of the stem (S01 ...), null for a track without stems"}
            ),
            pa.field("stem_file", pa.string(), metadata={"doc": "file name of the stem"}),
            pa.field("instrument", pa.string(), metadata={"doc": "instrument; several are joined by '; '"}),
            pa.field("vocal", pa.bool_(), metadata={"doc": "whether the stem is a voice"}),
            pa.field("published_gain", pa.float64(), metadata={"doc": "published mixing coefficient, or null"}),
            pa.field("mixed", pa.string(), metadata={"doc": "labels of a stem that is voice and more, else null"}),
        ]
    ),
)
LATER = ("published_gain", "mixed")  # columns that came later

_COEFFICIENTS = "mixing_coefficients*.yaml"
_BOUNDS = (0.5, 4.0)  # between which the estimates of the second file were searched: a value at one was not found
_LOUDEST = 1e6  # a gain above it is none
_REQUIRED = ("artist", "title", "genre", "has_bleed", "instrumental", "stems")


def is_vocal(instruments: list[str]) -> bool:
    """Whether a stem with these instrument labels is a voice."""
    return any(instrument in VOCAL_INSTRUMENTS for instrument in instruments)


def read_folder(folder: Path) -> tuple[pd.DataFrame, list[InputError]]:
    """Read every `*_METADATA.yaml` below `folder`, and the mixing coefficients where they lie in it or near it.

    Returns the table (schema STEMS) of all files that could be read, and an InputError for each that could not. Of a
    track whose file is there several times the copies count once; where they differ, the track has no rows. Raises
    InputError where there is no such file at all.
    """
    files: dict[str, list[Path]] = {}
    for path in _below(folder):
        if path.name.endswith(SUFFIX):
            files.setdefault(_id_of(path), []).append(path)
    if not files:
        raise InputError(
            "MedleyDB metadata",
            file=folder,
            expected=f"files named <id>{SUFFIX}",
            found="no such file" if folder.is_dir() else "no such folder",
            remedy="set ISOLATION_MEDLEYDB_METADATA to the folder of YAML files, or unset it to have them fetched",
        )
    rows: list[dict[str, Any]] = []
    problems: list[InputError] = []
    for name, copies in files.items():
        told, faults = _read_copies(name, copies)
        rows += told
        problems += faults
    coefficients, unreadable = _published(folder)
    for row in rows:
        number = _number(row["stem"])
        row["published_gain"] = None if number is None else coefficients.get(row["id"], {}).get(number)
    frame = pd.DataFrame(rows, columns=STEMS.names)
    # Of nothing but nulls pandas would make a column of objects.
    return frame.astype({"published_gain": "float64"}), problems + unreadable


def _read_copies(name: str, files: list[Path]) -> tuple[list[dict[str, Any]], list[InputError]]:
    """The rows of the one track that all these files are about, and what is wrong with them."""
    told: dict[Path, list[dict[str, Any]]] = {}
    problems = []
    for path in files:
        try:
            told[path] = read_file(path)
        except InputError as problem:
            problems.append(problem)
    for other in told:
        first = next(iter(told))
        if told[other] != told[first]:
            differ = InputError(
                f"medleydb/{name}: metadata",
                file=first,
                expected="one metadata file a track, or copies that say the same",
                found=f"another that says something else: {other}",
                remedy="remove one of the two",
            )
            return [], [*problems, differ]
    return next(iter(told.values()), []), problems


def read_file(path: Path) -> list[dict[str, Any]]:
    """The table rows of one metadata file, at least one. Raises InputError naming the key that is wrong."""
    name = _id_of(path)
    what, remedy = f"medleydb/{name}: metadata", "mend the file, or fetch it again from the dataset's repository"

    def refuse(expected: str, found: str) -> InputError:
        return InputError(what, file=path, expected=expected, found=found, remedy=remedy)

    content = read_yaml(path, what, expected="a YAML file", remedy=remedy, words=True)
    if not isinstance(content, dict):
        raise refuse("a YAML mapping", "an empty file" if content is None else f"a {type(content).__name__}")
    missing = [key for key in _REQUIRED if key not in content]
    if missing:
        raise refuse(f"the keys {', '.join(_REQUIRED)}", f"no {', '.join(missing)}")
    track: dict[str, Any] = {"id": name}
    for key in ("artist", "title", "genre"):
        value = content[key] or ""
        if not isinstance(value, str):
            raise refuse(f"{key}: words", f"{key}: a {type(value).__name__}")
        track[key] = in_letters(value)
    for key in ("has_bleed", "instrumental"):
        value = content[key]
        if not isinstance(value, str) or value.lower() not in ("yes", "no", "true", "false"):
            raise refuse(f"{key}: 'yes' or 'no'", f"{key}: {value!r:.200}")
        track[key] = value.lower() in ("yes", "true")
    stems = content["stems"] or {}
    if not isinstance(stems, dict):
        raise refuse("stems: a mapping of S01, S02, ...", f"stems: {type(stems).__name__}")
    labels: dict[str, tuple[str, list[str]]] = {}
    rows = []
    for key, stem in stems.items():
        file_name, instruments = _stem(stem)
        if not file_name or not instruments:
            raise refuse(f"stems: {key}: with filename and instrument", f"{key}: {stem!r:.200}")
        before = labels.setdefault(file_name, (str(key), instruments))
        if before[0] != str(key):
            # One file under two keys is one stem: it sounds once.
            if before[1] == instruments:
                continue
            raise refuse("one stem a file", f"{file_name} as {before[0]} and as {key}, with other instruments")
        rows.append(
            {
                **track,
                "stem": str(key),
                "stem_file": file_name,
                "instrument": "; ".join(instruments),
                "vocal": is_vocal(instruments),
                "mixed": _mixed(instruments, stem.get("raw")),
            }
        )
    return rows or [{**track, "stem": None, "stem_file": None, "instrument": None, "vocal": False, "mixed": None}]


def _stem(stem: object) -> tuple[str, list[str]]:
    """File name and instruments of a stem, either of them empty where the entry does not say it as it should."""
    if not isinstance(stem, dict) or not isinstance(stem.get("filename"), str):
        return "", []
    named = stem.get("instrument")
    instruments = [named] if isinstance(named, str) else named if isinstance(named, list) else []
    # A file name, never a path: metadata must not lead out of the track's folder.
    file_name = Path(stem["filename"]).name
    if file_name == ".." or not all(isinstance(instrument, str) for instrument in instruments):
        return "", []
    return file_name, instruments


def _id_of(path: Path) -> str:
    return in_letters(path.name.removesuffix(SUFFIX))


def _below(folder: Path) -> Iterator[Path]:
    return (path for place in Walk(folder) for path in place.files)


def _mixed(instruments: list[str], raw: object) -> str | None:
    """The labels of a stem in which a voice is not alone, None for any other stem.

    Either its own labels name a voice and something else, or its label and those of its raw tracks disagree on
    whether it is a voice.
    """
    tracks = raw.values() if isinstance(raw, dict) else ()
    below: set[str] = set()
    for track in tracks:
        found = track.get("instrument") if isinstance(track, dict) else None
        below |= {found} if isinstance(found, str) else set(map(str, found or ()))
    voices = [instrument in VOCAL_INSTRUMENTS for instrument in instruments]
    if any(voices) and not all(voices):
        return "; ".join(map(str, instruments))
    if any((instrument in VOCAL_INSTRUMENTS) != any(voices) for instrument in below):
        return f"{'; '.join(map(str, instruments))} (raw tracks: {'; '.join(sorted(below))})"
    return None


def _number(stem: str | None) -> int | None:
    """The number of a stem's key: 3 of S03."""
    digits = (stem or "")[1:]
    return int(digits) if digits.isascii() and digits.isdigit() else None


def _published(folder: Path) -> tuple[dict[str, dict[int, float]], list[InputError]]:
    """The published gain of each stem by track and number, and an InputError for each file that cannot be read.

    Looked for below `folder`, and beside it as in the repository, where metadata lies in `data/Metadata` and the
    coefficients in `resources`. A gain that somebody set by ear counts most, then the one of the first file, whose
    estimates have no bounds, then the mean of the second file's two.
    """
    beside = [place for parent in folder.absolute().parents[:2] for place in (parent, parent / "resources")]
    files = {path.name: path for place in reversed(beside) for path in place.glob(_COEFFICIENTS)}
    files |= {path.name: path for path in _below(folder) if fnmatch(path.name, _COEFFICIENTS)}
    kinds: dict[str, dict[str, dict[int, float]]] = {"mean": {}, "first": {}, "manual": {}}
    problems = []
    for path in files.values():
        expected = "a YAML mapping of tracks to the gains of their stems"
        remedy = "fetch the file again from the dataset's repository, or remove it"
        what = "MedleyDB mixing coefficients"
        try:
            content = read_yaml(path, what, expected=expected, remedy=remedy)
            if not isinstance(content, dict):
                kind = f"a {type(content).__name__}, not a mapping of tracks"
                raise InputError(what, file=path, expected=expected, found=kind, remedy=remedy)
        except InputError as problem:
            problems.append(problem)
            continue
        for name, gains in content.items():
            for origin, numbers in _gains(gains).items():
                kinds[origin].setdefault(str(name), {}).update(numbers)
    tracks = {name for found in kinds.values() for name in found}
    return {
        name: kinds["mean"].get(name, {}) | kinds["first"].get(name, {}) | kinds["manual"].get(name, {})
        for name in tracks
    }, problems


def _gains(entry: object) -> dict[str, dict[int, float]]:
    """One track's gains by what they are: `first`, `manual`, or the `mean` of two estimates within their bounds."""
    if not isinstance(entry, dict):
        return {}
    if not any(key in entry for key in ("manual", "audio", "stft")):
        return {"first": _numbers(entry)}
    audio, stft = (
        {number: gain for number, gain in _numbers(entry.get(kind)).items() if _BOUNDS[0] < gain < 0.999 * _BOUNDS[1]}
        for kind in ("audio", "stft")
    )
    mean = {number: (gain + stft[number]) / 2 for number, gain in audio.items() if number in stft}
    return {"manual": _numbers(entry.get("manual")), "mean": mean}


def _numbers(gains: object) -> dict[int, float]:
    return {
        int(number): float(gain)
        for number, gain in (gains.items() if isinstance(gains, Mapping) else ())
        if isinstance(number, int) and isinstance(gain, int | float) and 0.0 <= gain < _LOUDEST
    }
