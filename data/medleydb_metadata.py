"""MedleyDB's metadata: the YAML files read, checked, and laid out as one table row per track and stem.

Facts about the labels (which instruments are voices) stand here; audio does not.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import yaml

from data.errors import InputError
from data.tables import Table

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
        ]
    ),
)

_REQUIRED = ("artist", "title", "genre", "has_bleed", "instrumental", "stems")


def is_vocal(instruments: list[str]) -> bool:
    """Whether a stem with these instrument labels is a voice."""
    return any(instrument in VOCAL_INSTRUMENTS for instrument in instruments)


def read_folder(folder: Path) -> tuple[pd.DataFrame, list[InputError]]:
    """Read every `*_METADATA.yaml` below `folder`.

    Returns the table (schema STEMS) of all files that could be read, and an InputError for each that could not.
    Raises InputError where there is no such file at all.
    """
    files = sorted(path for path in folder.rglob(f"*{SUFFIX}") if not path.name.startswith("._"))
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
    for path in files:
        try:
            rows += read_file(path)
        except InputError as problem:
            problems.append(problem)
    return pd.DataFrame(rows, columns=STEMS.names), problems


def read_file(path: Path) -> list[dict[str, Any]]:
    """The table rows of one metadata file, at least one. Raises InputError naming the key that is wrong."""
    name = path.name.removesuffix(SUFFIX)

    def refuse(expected: str, found: str) -> InputError:
        return InputError(
            f"medleydb/{name}: metadata",
            file=path,
            expected=expected,
            found=found,
            remedy="mend the file, or fetch it again from the dataset's repository",
        )

    try:
        # The C loader is an order of magnitude faster; PyYAML brings it in every wheel.
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=yaml.CSafeLoader)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise refuse("a YAML file", " ".join(str(error).split())) from error
    if not isinstance(content, dict):
        raise refuse("a YAML mapping", f"{type(content).__name__}")
    missing = [key for key in _REQUIRED if key not in content]
    if missing:
        raise refuse(f"the keys {', '.join(_REQUIRED)}", f"no {', '.join(missing)}")
    track: dict[str, Any] = {
        "id": name,
        "artist": str(content["artist"]),
        "title": str(content["title"]),
        "genre": str(content["genre"]),
    }
    for key in ("has_bleed", "instrumental"):
        value = content[key]
        # The published files quote 'yes' and 'no'; unquoted, YAML makes booleans of them.
        if value not in ("yes", "no", True, False):
            raise refuse(f"{key}: 'yes' or 'no'", f"{key}: {value!r}")
        track[key] = value in ("yes", True)
    stems = content["stems"] or {}
    if not isinstance(stems, dict):
        raise refuse("stems: a mapping of S01, S02, ...", f"stems: {type(stems).__name__}")
    rows = []
    for key, stem in stems.items():
        if not isinstance(stem, dict) or not stem.get("filename") or not stem.get("instrument"):
            raise refuse(f"stems: {key}: with filename and instrument", f"{key}: {stem!r}"[:200])
        instruments = [stem["instrument"]] if isinstance(stem["instrument"], str) else list(stem["instrument"])
        # A file name, never a path: metadata must not lead out of the track's folder.
        file_name = Path(str(stem["filename"])).name
        rows.append(
            {
                **track,
                "stem": str(key),
                "stem_file": file_name,
                "instrument": "; ".join(map(str, instruments)),
                "vocal": is_vocal(instruments),
            }
        )
    return rows or [{**track, "stem": None, "stem_file": None, "instrument": None, "vocal": False}]
