"""One track from raw files to the canonical form, each of the two steps cached on its own."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pandas as pd

from data import cache
from data.datasets.base import Dataset
from data.errors import InputError
from data.normalise import CODE_VERSION, normalise_track
from data.sources import checksums_of, track_of
from data.tables import read_table
from data.tracks import normalised_folder, stems_folder

METADATA_FILE = "stems.parquet"


def metadata_folder(root: Path, dataset: str) -> Path:
    """Folder of a dataset's metadata table."""
    return root / dataset / "metadata"


def metadata_of(root: Path, dataset: Dataset) -> pd.DataFrame:
    """The dataset's metadata table, indexed by the slug of the track; empty for a dataset without.

    Raises InputError where it was not materialised yet.
    """
    if not dataset.has_metadata:
        return pd.DataFrame()
    return read_table(metadata_folder(root, dataset.name) / METADATA_FILE)


def extract_stems(root: Path, dataset: Dataset, row: Any, metadata: pd.DataFrame) -> cache.Outcome:
    """Write a track's `mixture.wav` and `vocals.wav` as the dataset gives them, unless they are there already.

    `row` is the track's row of the index, `metadata` the dataset's metadata table. Raises InputError naming the track.
    """
    own = metadata[metadata["id"] == dict(row.details)["id"]] if len(metadata) else metadata
    labels = hashlib.sha256(own.to_json(orient="records").encode()).hexdigest() if len(own) else ""
    wanted = cache.fingerprint(
        code_version=dataset.code_version, parameters={"labels": labels}, inputs=checksums_of(row)
    )
    track_id = f"{dataset.name}/{row.slug}"
    try:
        return cache.make(
            stems_folder(root, dataset.name, row.slug),
            wanted,
            lambda folder: dataset.extract(track_of(dataset.name, row), own, folder),
        )
    except InputError as problem:
        raise _about(problem, track_id) from problem


def normalise(root: Path, dataset: Dataset, slug: str) -> tuple[cache.Outcome, str]:
    """Bring a track's stems into the canonical form, unless that is done already.

    Returns the outcome and the data version of the stems it was made of. Raises InputError naming the track, also
    where its stems are missing or damaged.
    """
    track_id = f"{dataset.name}/{slug}"
    stems = stems_folder(root, dataset.name, slug)
    made = cache.require(stems, f"{dataset.name}/stems [{slug}]")
    wanted = cache.fingerprint(code_version=CODE_VERSION, parameters={}, inputs={"stems": made.fingerprint})
    try:
        folder = normalised_folder(root, dataset.name, slug)
        return cache.make(folder, wanted, lambda partial: normalise_track(stems, partial)), made.fingerprint
    except InputError as problem:
        raise _about(problem, track_id) from problem


def _about(problem: InputError, track_id: str) -> InputError:
    return problem if problem.what.startswith(track_id) else problem.about(f"{track_id}: {problem.what}")
