"""One track from raw files to the canonical form, each of the two steps cached on its own.

A `TrackJob` can be pickled and `prepare_track` is a plain function, so that any engine can run them anywhere.
"""

from __future__ import annotations

import hashlib
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from data import cache
from data.datasets.base import Dataset
from data.errors import InputError
from data.normalise import CODE_VERSION, normalise_track
from data.settings import Settings
from data.sources import IndexedTrack, checksums_of, indexed_tracks, track_of
from data.tables import read_table
from data.tracks import normalised_folder, stems_folder

METADATA_FILE = "stems.parquet"
STEMS, NORMALISED = "stems", "normalised"
_NO_LABELS = pd.DataFrame()


@dataclass(frozen=True)
class Step:
    """What became of one step of a track: its outcome, the data version it was made of, and how long it took."""

    outcome: cache.Outcome
    made_of: str
    seconds: float


@dataclass(frozen=True)
class TrackJob:
    """A track to prepare: its row of the index, its rows of the metadata table, and the steps that are asked for."""

    root: Path
    dataset: Dataset
    row: IndexedTrack
    labels: pd.DataFrame
    steps: tuple[str, ...] = (STEMS, NORMALISED)

    @property
    def track_id(self) -> str:
        return f"{self.dataset.name}/{self.row.slug}"


@dataclass(frozen=True)
class TrackResult:
    """What became of a track: the steps that were done or found done, and what stopped it if anything did."""

    slug: str
    steps: dict[str, Step] = field(default_factory=dict)
    problem: InputError | None = None
    trace: str = ""  # where the problem is a fault of the program


def metadata_folder(root: Path, dataset: str) -> Path:
    """Folder of a dataset's metadata table."""
    return root / dataset / "metadata"


def track_jobs(
    settings: Settings, dataset: Dataset, steps: tuple[str, ...] = (STEMS, NORMALISED)
) -> dict[str, TrackJob]:
    """A job for every track of the dataset's index, by slug.

    Raises InputError where the index, or the metadata of a dataset that has some, was not materialised yet.
    """
    root, labels = settings.root, {}
    dataset = dataset.configured(settings)
    if dataset.has_metadata:
        table = read_table(metadata_folder(root, dataset.name) / METADATA_FILE)
        labels = {str(name): rows for name, rows in table.groupby("id")}
    return {
        row.slug: TrackJob(root, dataset, row, labels.get(row.details.get("id", ""), _NO_LABELS), steps)
        for row in indexed_tracks(root, dataset.name)
    }


def raw_version(job: TrackJob) -> str:
    """The data version of a track's raw side: the checksums of its files, and what its metadata says."""
    later = [name for name in job.dataset.later_labels if name in job.labels and job.labels[name].isna().all()]
    told = job.labels.drop(columns=later)
    labels = hashlib.sha256(told.to_json(orient="records").encode()).hexdigest() if len(told) else ""
    return cache.fingerprint(code_version="1", parameters={"labels": labels}, inputs=checksums_of(job.row))


def prepare_track(job: TrackJob) -> TrackResult:
    """Do the steps of a track that are not done yet. Never raises for a bad track: the result says what is wrong."""
    steps: dict[str, Step] = {}
    makers: Mapping[str, Callable[[TrackJob], tuple[cache.Outcome, str]]] = {STEMS: _extract, NORMALISED: _normalise}
    try:
        for name in job.steps:
            started = time.monotonic()
            outcome, made_of = makers[name](job)
            steps[name] = Step(outcome, made_of, time.monotonic() - started)
    except InputError as problem:
        about = problem if problem.what.startswith(job.track_id) else problem.about(f"{job.track_id}: {problem.what}")
        return TrackResult(job.row.slug, steps, about)
    except Exception as error:
        unforeseen = InputError(
            job.track_id,
            expected="a track that can be prepared",
            found=f"{type(error).__name__}: {error}",
            remedy="see the traceback in the run's log",
        )
        return TrackResult(job.row.slug, steps, unforeseen, traceback.format_exc())
    return TrackResult(job.row.slug, steps)


def is_prepared(job: TrackJob) -> bool:
    """Whether both steps of a track stand as they would be made now."""
    raw = raw_version(job)
    stems = cache.recall(stems_folder(job.root, job.dataset.name, job.row.slug), _stems_wanted(job, raw))
    if stems is None:
        return False
    folder = normalised_folder(job.root, job.dataset.name, job.row.slug)
    return cache.recall(folder, _normalised_wanted(stems.version)) is not None


def _extract(job: TrackJob) -> tuple[cache.Outcome, str]:
    raw = raw_version(job)
    folder = stems_folder(job.root, job.dataset.name, job.row.slug)

    def work(partial: Path) -> dict[str, Any]:
        return job.dataset.extract(track_of(job.dataset.name, job.row), job.labels, partial)

    return cache.make(folder, _stems_wanted(job, raw), work), raw


def _normalise(job: TrackJob) -> tuple[cache.Outcome, str]:
    name, slug = job.dataset.name, job.row.slug
    stems = stems_folder(job.root, name, slug)
    made = cache.require(stems, f"{name}/stems [{slug}]")
    outcome = cache.make(
        normalised_folder(job.root, name, slug),
        _normalised_wanted(made.version),
        lambda partial: normalise_track(stems, partial),
        linked=made.files,
    )
    return outcome, made.version


def _stems_wanted(job: TrackJob, raw: str) -> str:
    return cache.fingerprint(
        code_version=job.dataset.code_version, parameters=job.dataset.parameters, inputs={"raw": raw}
    )


def _normalised_wanted(stems: str) -> str:
    return cache.fingerprint(code_version=CODE_VERSION, parameters={}, inputs={"stems": stems})
