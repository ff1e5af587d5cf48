"""Names that are no plain text: how they are shown, kept in tables, and told apart as slugs.

A slug is a track's partition key, its folder and its place in the splits, so it is given once. Two names may spell one
slug (C and C#, words in letters that ASCII has not); which of them has it is remembered in a table of the storage root.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote_from_bytes, unquote_to_bytes

import pandas as pd
import pyarrow as pa
from slugify import slugify

from data.errors import InputError
from data.tables import Table

_LONGEST = 120  # characters of a slug, before what tells it from another
_SHORTEST_HASH = 8
_ESCAPED = "file://"
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")

NAMES = Table(
    "names.parquet",
    pa.schema(
        [
            pa.field("slug", pa.string(), metadata={"doc": "partition key"}),
            pa.field("name", pa.string(), metadata={"doc": "the name that has it, or had it last"}),
            pa.field("spelt", pa.string(), metadata={"doc": "the slug that the name alone would have"}),
            pa.field("audio", pa.string(), metadata={"doc": "checksum of the track's first file when last seen"}),
        ]
    ),
    filled=("slug", "name", "spelt", "audio"),
)


@dataclass(frozen=True)
class Named:
    """A name, the slug that it alone would have, and the checksum of its track's first file where it is known."""

    name: str
    spelt: str
    audio: str = ""


def in_letters(name: str) -> str:
    """A name as text: bytes that are no UTF-8 are spelt out (`caf\\xe9`), line breaks and tabs are spaces."""
    return _CONTROL.sub(" ", name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace"))


def kept(name: str) -> str:
    """A name or path as a table can hold it: itself where it is text, else escaped, as `as_it_was` understands."""
    return name if _is_text(name) else _ESCAPED + quote_from_bytes(os.fsencode(name))


def as_it_was(text: str) -> str:
    """The name or path that `kept` was given."""
    # No path that is given to it has two slashes in a row.
    return os.fsdecode(unquote_to_bytes(text.removeprefix(_ESCAPED))) if text.startswith(_ESCAPED) else text


def track_slug(name: str) -> str:
    """The slug that a name spells: lower-case ASCII letters, digits and single hyphens, at most 120 of them."""
    return slugify(in_letters(name), max_length=_LONGEST) or "untitled"


def slugs_for(names: Iterable[Named], known: Mapping[str, Named] | None = None) -> dict[str, str]:
    """A slug of its own for each of these names; `known` has, by slug, the names that were given one before.

    A known name keeps its slug, whoever comes or goes. A new name has the slug that it spells if nobody has or ever had
    that and no other new name spells it; else a short hash of the name is added, which follows from the name alone. The
    slug of a name that is gone passes on in one case: to the same audio under another name that is spelt the same
    (capitals, signs, accents). Names are taken as sets: their order says nothing.
    """
    known = known or {}
    slug_of = {named.name: slug for slug, named in known.items()}
    live = {named.name: named for named in names}
    given = {name: slug_of[name] for name in live if name in slug_of}
    waiting = [live[name] for name in sorted(live.keys() - given.keys())]
    gone = {
        slug: known[slug] for slug in sorted(known, key=lambda slug: (len(slug), slug)) if known[slug].name not in live
    }
    for named in waiting:
        for slug, before in gone.items():
            if named.audio and (named.audio, named.spelt) == (before.audio, before.spelt):
                given[named.name] = slug
                del gone[slug]
                break
    taken = set(known)
    waiting = [named for named in waiting if named.name not in given]
    claims = Counter(named.spelt for named in waiting)
    alone = {n.name: n.spelt for n in waiting if claims[n.spelt] == 1 and n.spelt not in taken}
    taken |= set(alone.values())
    given |= alone
    for named in waiting:
        if named.name not in given:
            given[named.name] = _with_hash(named, taken)
            taken.add(given[named.name])
    return given


def after(known: Mapping[str, Named], names: Iterable[Named], given: Mapping[str, str]) -> dict[str, Named]:
    """What is known, by slug, once these names have the slugs that they were given."""
    now = dict(known)
    for named in names:
        slug = given[named.name]
        before = known.get(slug)
        now[slug] = named if named.audio or before is None else Named(named.name, named.spelt, before.audio)
    return now


def read_names(folder: Path) -> dict[str, Named] | None:
    """The names that were given a slug, by slug; None where there is no such table. Raises InputError as tables do."""
    if not NAMES.path(folder).exists():
        return None
    try:
        rows = NAMES.read(folder).itertuples()
    except InputError as error:
        raise InputError(
            "names of tracks",
            file=error.file,
            expected="the table of keys that names were given",
            found=error.found,
            remedy="restore it from a backup, or remove it: tracks that are in the last index keep their keys, others "
            "that were gone may come back under another",
        ) from error
    return {row.slug: Named(as_it_was(row.name), row.spelt, row.audio) for row in rows}


def write_names(folder: Path, names: Mapping[str, Named]) -> None:
    """Write the table, if it says anything new."""
    if read_names(folder) == dict(names):
        return
    rows = [(slug, kept(named.name), named.spelt, named.audio) for slug, named in sorted(names.items())]
    NAMES.write(folder, pd.DataFrame(rows, columns=NAMES.names))


def _with_hash(named: Named, taken: set[str]) -> str:
    digest = hashlib.sha256(os.fsencode(named.name)).hexdigest()
    for length in range(_SHORTEST_HASH, len(digest) + 1):
        slug = f"{named.spelt}-{digest[:length]}"
        if slug not in taken:
            return slug
    raise ValueError(f"{named.spelt}: no slug is free")


def _is_text(name: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in name)
