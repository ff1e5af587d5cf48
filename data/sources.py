"""The index of a dataset's raw files: which tracks there are, what they are made of, and each file's checksum."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pyarrow as pa

from data.datasets.base import Dataset, Log
from data.engine import Engine
from data.errors import InputError
from data.files import sha256_of
from data.layout import Layout
from data.settings import Settings
from data.tables import Table
from data.tracks import SourceTrack

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
)


@dataclass(frozen=True)
class RawFile:
    """A raw file as it was indexed: bytes, modification time, SHA-256; an absent one has no checksum."""

    path: str
    size: int
    mtime_ns: int
    sha256: str

    def stands(self) -> bool:
        """Whether the file still is what was indexed, by size and time; an absent one by being absent."""
        return RawFile.found(Path(self.path), self.sha256) == self

    @staticmethod
    def found(path: Path, sha256: str = "") -> RawFile:
        """The file as it is now, with a checksum that is known otherwise."""
        if not path.is_file():
            return RawFile(str(path), 0, 0, "")
        status = path.stat()
        return RawFile(str(path), status.st_size, status.st_mtime_ns, sha256)


@dataclass(frozen=True)
class IndexedTrack:
    """One row of the index."""

    slug: str
    title: str
    artist: str
    licence: str
    split: str | None
    genre: str
    files: tuple[RawFile, ...]
    details: dict[str, str]


def build_index(dataset: Dataset, settings: Settings, log: Log, engine: Engine) -> pd.DataFrame:
    """Find the dataset's tracks and the checksum of each raw file: a table with the schema INDEX.

    Checksums of files whose size and time are those of the last index are taken from there; the others are computed
    by `engine`. A dataset that is `off` has an empty index. Raises InputError as the dataset's `obtain` and `discover`
    do.
    """
    if dataset.setting(settings) == "off":
        return pd.DataFrame(columns=INDEX.names)
    folder = dataset.obtain(settings, log)
    tracks = dataset.discover(folder)
    log(f"{dataset.title}: {len(tracks)} tracks in {folder}")
    known = _known_files(settings.root, dataset.name)
    found = {path: RawFile.found(path) for track in tracks for path in track.files}
    files = {path: same for path, file in found.items() if (same := _same(known.get(str(path)), file))}
    unknown = [path for path in found if path not in files]
    for number, (path, checksum) in enumerate(engine.as_completed(_checksum, unknown), start=1):
        files[path] = RawFile.found(path, checksum)
        if number % max(1, len(unknown) // 10) == 0 and len(unknown) > 20:
            log(f"{dataset.title}: checksums of {number} of {len(unknown)} files")
    rows = [
        {
            "slug": track.slug,
            "title": track.title,
            "artist": track.artist,
            "licence": track.licence,
            "split": track.split,
            "genre": track.genre,
            "files": [vars(files[path]) for path in track.files],
            "details": list(track.details.items()),
        }
        for track in tracks
    ]
    return pd.DataFrame(rows, columns=INDEX.names)


def read_index(root: Path, dataset: str) -> pd.DataFrame:
    """The index as last built. Raises InputError where there is none yet."""
    return INDEX.read(Layout(root).index(dataset))


def indexed_tracks(root: Path, dataset: str) -> list[IndexedTrack]:
    """The rows of the index as last built. Raises InputError where there is none yet."""
    tracks = []
    for row in read_index(root, dataset).to_dict("records"):
        files = tuple(RawFile(**file) for file in row.pop("files"))
        tracks.append(IndexedTrack(**(row | {"details": dict(row["details"])}), files=files))
    return tracks


def source_changed(dataset: Dataset, root: Path, folder: Path) -> list[str]:
    """What differs between the raw dataset in `folder` and its index, a slug each; without an index, every track.

    Looks at names, sizes and times only. Raises InputError where the folder holds no track.
    """
    index_file = INDEX.path(Layout(root).index(dataset.name))
    known = {track.slug: track for track in indexed_tracks(root, dataset.name)} if index_file.is_file() else {}
    tracks = {track.slug: track for track in dataset.discover(folder)}
    changed = set(known) ^ set(tracks)
    for slug in set(known) & set(tracks):
        indexed = known[slug].files
        same = [file.path for file in indexed] == [str(path) for path in tracks[slug].files]
        if not (same and all(file.stands() for file in indexed)):
            changed.add(slug)
    return sorted(changed)


def track_of(dataset: str, row: IndexedTrack) -> SourceTrack:
    """The track that a row of the index describes. Raises InputError where a raw file is not what was indexed."""
    for file in row.files:
        # An absent file was absent when it was indexed, too: the reader says what it needs.
        if file.sha256 and not file.stands():
            raise InputError(
                f"{dataset}/{row.slug}",
                file=file.path,
                expected=f"the {file.size} bytes that were indexed",
                found="a file that has changed since" if Path(file.path).is_file() else "no such file",
                remedy=f"materialise {dataset}/archive again, so that the index is true",
            )
    return SourceTrack(
        dataset=dataset,
        slug=row.slug,
        title=row.title,
        artist=row.artist,
        licence=row.licence,
        split=row.split,
        genre=row.genre,
        files=tuple(Path(file.path) for file in row.files),
        details=row.details,
    )


def checksums_of(row: IndexedTrack) -> dict[str, str]:
    """Checksum of each raw file of an index row, by file name."""
    return {Path(file.path).name: file.sha256 for file in row.files}


def _checksum(path: Path) -> tuple[Path, str]:
    return path, sha256_of(path) if path.is_file() else ""


def _same(known: RawFile | None, found: RawFile) -> RawFile | None:
    """What is known of a file, if it is still that file."""
    return known if known and (known.size, known.mtime_ns) == (found.size, found.mtime_ns) else None


def _known_files(root: Path, dataset: str) -> dict[str, RawFile]:
    try:
        return {file.path: file for row in indexed_tracks(root, dataset) for file in row.files}
    except InputError:
        return {}  # none yet, or one that an older version wrote
