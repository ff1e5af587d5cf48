"""The index of a dataset's raw files: which tracks there are, what they are made of, and each file's checksum."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from data.datasets.base import Dataset, Log
from data.errors import InputError
from data.files import sha256_of
from data.settings import Settings
from data.tables import read_table
from data.tracks import SourceTrack

INDEX_FILE = "tracks.parquet"

_FILE = pa.struct([("path", pa.string()), ("size", pa.int64()), ("mtime_ns", pa.int64()), ("sha256", pa.string())])
INDEX = pa.schema(
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
)


def index_folder(root: Path, dataset: str) -> Path:
    """Folder of a dataset's index."""
    return root / dataset / "archive"


def build_index(dataset: Dataset, settings: Settings, log: Log) -> pd.DataFrame:
    """Find the dataset's tracks and the checksum of each raw file: a table with the schema INDEX.

    Checksums of files whose size and time are those of the last index are taken from there. A dataset that is `off`
    has an empty index. Raises InputError as the dataset's `obtain` and `discover` do.
    """
    if dataset.setting(settings) == "off":
        return pd.DataFrame(columns=INDEX.names)
    folder = dataset.obtain(settings, log)
    tracks = dataset.discover(folder)
    log(f"{dataset.title}: {len(tracks)} tracks in {folder}")
    known = _known_checksums(index_folder(settings.root, dataset.name) / INDEX_FILE)
    rows = []
    for track in tracks:
        rows.append(
            {
                "slug": track.slug,
                "title": track.title,
                "artist": track.artist,
                "licence": track.licence,
                "split": track.split,
                "genre": track.genre,
                "files": [_file_row(path, known) for path in track.files],
                "details": list(track.details.items()),
            }
        )
    return pd.DataFrame(rows, columns=INDEX.names)


def read_index(root: Path, dataset: str) -> pd.DataFrame:
    """The index as last built. Raises InputError where there is none yet."""
    return read_table(index_folder(root, dataset) / INDEX_FILE, INDEX)


def track_of(dataset: str, row: Any) -> SourceTrack:
    """The track that an index row (as `DataFrame.itertuples` gives it) describes.

    Raises InputError where a raw file is not the one that was indexed.
    """
    paths = []
    for file in row.files:
        path = Path(file["path"])
        paths.append(path)
        if not file["sha256"]:
            continue  # it was missing already: the reader says what it needs
        if not path.is_file() or (path.stat().st_size, path.stat().st_mtime_ns) != (file["size"], file["mtime_ns"]):
            raise InputError(
                f"{dataset}/{row.slug}",
                file=path,
                expected=f"the {file['size']} bytes that were indexed",
                found="a file that has changed since" if path.is_file() else "no such file",
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
        files=tuple(paths),
        details=dict(row.details),
    )


def checksums_of(row: Any) -> dict[str, str]:
    """Checksum of each raw file of an index row, by file name."""
    return {Path(file["path"]).name: file["sha256"] for file in row.files}


def _file_row(path: Path, known: dict[tuple[str, int, int], str]) -> dict[str, Any]:
    if not path.is_file():
        return {"path": str(path), "size": 0, "mtime_ns": 0, "sha256": ""}
    status = path.stat()
    key = (str(path), status.st_size, status.st_mtime_ns)
    return dict(zip(("path", "size", "mtime_ns"), key, strict=True)) | {"sha256": known.get(key) or sha256_of(path)}


def _known_checksums(table: Path) -> dict[tuple[str, int, int], str]:
    if not table.is_file():
        return {}
    files = [file for files in read_table(table)["files"] for file in files]
    return {(file["path"], file["size"], file["mtime_ns"]): file["sha256"] for file in files}
