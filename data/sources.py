"""The index of a dataset's raw files: which tracks there are, what they are made of, and each file's checksum."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from data import cache
from data.datasets.base import Dataset, Log
from data.engine import Engine, ExecutorEngine
from data.errors import InputError
from data.files import sha256_of
from data.layout import Layout
from data.names import Named, after, in_letters, kept, read_names, write_names
from data.recipe import Recipe
from data.settings import Settings
from data.tables import Table
from data.text import one_line
from data.tracks import Found, RawFile, Track, named_of, with_names, with_slugs
from data.walk import OURS, PassedOver, left_alone, told

CODE_VERSION = "2"
_FETCHED = ("sample", "download")  # what a source's setting begins with where a publisher is asked for its files
_FILE = pa.struct([("path", pa.string()), ("size", pa.int64()), ("mtime_ns", pa.int64()), ("sha256", pa.string())])
INDEX = Table(
    "tracks.parquet",
    pa.schema(
        [
            pa.field("slug", pa.string(), metadata={"doc": "partition key"}),
            pa.field("title", pa.string(), metadata={"doc": "title as the dataset spells it"}),
            pa.field("artist", pa.string(), metadata={"doc": "artist as the dataset spells it"}),
            pa.field("licence", pa.string(), metadata={"doc": "licence of the audio"}),
            pa.field("split", pa.string(), metadata={"doc": "official split, null where there is none"}),
            pa.field("genre", pa.string(), metadata={"doc": "genre where the dataset names one"}),
            pa.field("files", pa.list_(_FILE), metadata={"doc": "raw files; a missing one has no checksum"}),
            pa.field("details", pa.map_(pa.string(), pa.string()), metadata={"doc": "what the reader needs again"}),
        ]
    ),
    filled=("slug", "files", "details"),
)
_LABELLED_AS = "id"  # among the details of a row


def build_index(dataset: Dataset, settings: Settings, log: Log, engine: Engine) -> pd.DataFrame:
    """Find the dataset's tracks and the checksum of each raw file: `find_tracks`, then `index_of`."""
    return index_of(dataset, settings, find_tracks(dataset, settings, log), log, engine)


def find_tracks(dataset: Dataset, settings: Settings, log: Log) -> Found:
    """The dataset's tracks, and what was passed over; of a dataset that is `off` nothing.

    The slugs are those that the names alone have: `index_of` gives them the ones that they had before. Raises
    InputError as the dataset's `obtain` and `discover` do.
    """
    if dataset.setting(settings) == "off":
        return Found()
    folder = dataset.obtain(settings, log)
    tracks = _discovered(dataset, settings.root, folder)
    passed = (
        f"; {len(tracks.passed_over)} passed over: {told(tracks.passed_over, folder)}" if tracks.passed_over else ""
    )
    log(one_line(f"{dataset.title}: {len(tracks)} tracks in {folder}{passed}"))
    return tracks


def index_of(
    dataset: Dataset, settings: Settings, tracks: Found, log: Log, engine: Engine, *, remember: bool = True
) -> pd.DataFrame:
    """The index of these tracks: a table with the schema INDEX, each track under the slug that its name has.

    Checksums of files whose size and time are those of the last index are taken from there; the others are computed
    by `engine`. Slugs that are given for the first time are remembered, unless it is only asked what they would be.
    """
    known = _known_files(settings.root, dataset.name)
    found = {path: RawFile.found(path) for track in tracks for path in track.files}
    files = {path: same for path, file in found.items() if (same := _same(known.get(file.path), file))}
    unknown = [path for path in found if path not in files]
    for number, (path, checksum) in enumerate(engine.as_completed(_checksum, unknown), start=1):
        files[path] = RawFile.found(path, checksum) if checksum else RawFile(kept(str(path)), 0, 0, "")
        if number % max(1, len(unknown) // 10) == 0 and len(unknown) > 20:
            log(f"{dataset.title}: checksums of {number} of {len(unknown)} files")
    checksums = {path: file.sha256 for path, file in files.items()}
    names = _known_names(settings.root, dataset.name, tracks)
    tracks = with_slugs(tracks, names, checksums)
    named = [named_of(track, checksums) for track in tracks]
    given = {track.name: track.slug for track in tracks}
    if tracks and remember:
        write_names(Layout(settings.root).names(dataset.name), after(names, named, given))
    rows = [_row(replace(track, indexed=tuple(files[path] for path in track.files))) for track in tracks]
    return pd.DataFrame(rows, columns=INDEX.names)


def index_recipe(frame: pd.DataFrame) -> Recipe:
    """What an index (table INDEX) is made of: the checksum of every raw file, and what is said of its tracks."""
    files = [(row["slug"], file) for row in frame.to_dict("records") for file in row["files"]]
    # The words of every track: what a licence or a title says may change while its audio does not.
    words = frame.assign(files=pd.Series([[]] * len(frame), index=frame.index, dtype=object))
    return Recipe(
        CODE_VERSION,
        # Files that moved have the same content, but the index must name their new place and time.
        {"files": [[file["path"], file["mtime_ns"]] for _, file in files], "words": INDEX.version(words)},
        {f"{slug}/{Path(file['path']).name}": file["sha256"] for slug, file in files},
    )


def index_today(dataset: Dataset, settings: Settings) -> pd.DataFrame:
    """The index as it would be built now; no slug is remembered, and nobody is asked over a network.

    Files that were downloaded are looked at where they were indexed. Raises InputError where that is not known, and
    as `find_tracks` does.
    """
    value = dataset.setting(settings)
    if not value.startswith(_FETCHED):
        tracks = find_tracks(dataset, settings, _unheard)
        return index_of(dataset, settings, tracks, _unheard, ExecutorEngine(settings.workers), remember=False)
    name = f"{dataset.name}/archive"
    indexed = cache.require(Layout(settings.root).index(dataset.name), name).measured.get("source")
    if indexed != one_line(value):
        raise InputError(
            name, expected=f"an index of {value!r}", found=f"one of {indexed!r}", remedy=f"materialise {name}"
        )
    frame = read_index(settings.root, dataset.name)
    return frame.assign(files=[[vars(_as_it_is(RawFile(**file))) for file in files] for files in frame["files"]])


def read_index(root: Path, dataset: str) -> pd.DataFrame:
    """The index as last built. Raises InputError where there is none yet."""
    return INDEX.read(Layout(root).index(dataset))


def indexed_tracks(root: Path, dataset: str) -> list[Track]:
    """The tracks of the index as last built. Raises InputError where there is none yet."""
    return [_track(dataset, row) for row in read_index(root, dataset).to_dict("records")]


def _row(track: Track) -> dict[str, Any]:
    """A track as a row of the index."""
    labelled = {_LABELLED_AS: track.labelled_as} if track.labelled_as else {}
    return {
        "slug": track.slug,
        "title": in_letters(track.title),
        "artist": in_letters(track.artist),
        "licence": in_letters(track.licence),
        "split": track.split,
        "genre": in_letters(track.genre),
        "files": [vars(file) for file in track.indexed],
        "details": list((labelled | dict(track.details)).items()),
    }


def _track(dataset: str, row: dict[str, Any]) -> Track:
    """The track that a row of the index describes."""
    indexed = tuple(RawFile(**file) for file in row.pop("files"))
    details = dict(row.pop("details"))
    return Track(
        dataset=dataset,
        name="",
        files=tuple(file.place for file in indexed),
        indexed=indexed,
        labelled_as=details.pop(_LABELLED_AS, ""),
        details=details,
        **row,
    )


def source_changed(dataset: Dataset, root: Path, folder: Path) -> list[str]:
    """What differs between the raw dataset in `folder` and its index, a slug each; without an index, every track.

    Looks at names, sizes and times only. Raises InputError where the folder holds no track.
    """
    index_file = INDEX.path(Layout(root).index(dataset.name))
    known = {track.slug: track for track in indexed_tracks(root, dataset.name)} if index_file.is_file() else {}
    found = _discovered(dataset, root, folder)
    tracks = {track.slug: track for track in with_slugs(found, _known_names(root, dataset.name, found))}
    changed = set(known) ^ set(tracks)
    for slug in set(known) & set(tracks):
        indexed = known[slug].indexed
        same = [file.path for file in indexed] == [kept(str(path)) for path in tracks[slug].files]
        if not (same and all(file.stands() for file in indexed)):
            changed.add(slug)
    return sorted(changed)


def require_unchanged(track: Track) -> None:
    """Raise InputError where a raw file of an indexed track is not what was indexed."""
    for file in track.indexed:
        # An absent file was absent when it was indexed, too: the reader says what it needs.
        if file.sha256 and not file.stands():
            raise InputError(
                track.track_id,
                file=file.path,
                expected=f"the {file.size} bytes that were indexed",
                found="a file that has changed since" if file.place.is_file() else "no such file",
                remedy=f"materialise {track.dataset}/archive again, so that the index is true",
            )


def checksums_of(track: Track) -> dict[str, str]:
    """Checksum of each raw file of an indexed track, by file name."""
    return {Path(file.path).name: file.sha256 for file in track.indexed}


def _discovered(dataset: Dataset, root: Path, folder: Path) -> Found:
    """What the dataset's reader finds in a folder, without what lies where nobody's music is."""
    tracks = with_names(dataset.discover(folder), folder)
    passed = {track.name: reason for track in tracks if (reason := _left_alone(track.files[0], folder, root))}
    kept_out = [PassedOver(track.files[0], passed[track.name]) for track in tracks if track.name in passed]
    return Found((track for track in tracks if track.name not in passed), [*tracks.passed_over, *kept_out])


def _left_alone(file: Path, folder: Path, root: Path) -> str | None:
    """Why a file below a source's folder is left alone, whichever reader found it; None where it is not."""
    home = os.path.realpath(root)
    if Path(os.path.realpath(file)).is_relative_to(home) and not Path(os.path.realpath(folder)).is_relative_to(home):
        return OURS
    parts = file.relative_to(folder).parts if file.is_relative_to(folder) else ()
    return next((reason for part in parts if (reason := left_alone(part))), None)


def _known_names(root: Path, dataset: str, tracks: Found) -> dict[str, Named]:
    """The names that were given a slug, by slug. Of an index from before they were remembered: those of its files."""
    names = read_names(Layout(root).names(dataset))
    if names is not None:
        return names
    try:
        rows = {track.indexed[0].path: track for track in indexed_tracks(root, dataset) if track.indexed}
    except InputError:
        return {}  # none yet, or one that an older version wrote
    known = {}
    for track in tracks:
        row = rows.get(kept(str(track.files[0])))
        if row is not None:
            known[row.slug] = replace(named_of(track), audio=row.indexed[0].sha256)
    return known


def _checksum(path: Path) -> tuple[Path, str]:
    """A file's checksum, empty where it cannot be read: the reader says so when its track is prepared."""
    try:
        return path, sha256_of(path) if path.is_file() else ""
    except OSError:
        return path, ""


def _as_it_is(known: RawFile) -> RawFile:
    """The file that was indexed as it is today, with the checksum that it has now."""
    found = RawFile.found(known.place)
    if (found.size, found.mtime_ns) == (known.size, known.mtime_ns):
        return known
    return RawFile.found(known.place, _checksum(known.place)[1])


def _unheard(line: str) -> None:
    """A log for what is only looked at."""


def _same(known: RawFile | None, found: RawFile) -> RawFile | None:
    """What is known of a file, if it is still that file."""
    return known if known and (known.size, known.mtime_ns) == (found.size, found.mtime_ns) else None


def _known_files(root: Path, dataset: str) -> dict[str, RawFile]:
    try:
        return {file.path: file for track in indexed_tracks(root, dataset) for file in track.indexed}
    except InputError:
        return {}  # none yet, or one that an older version wrote
