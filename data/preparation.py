"""One track from raw files to the canonical form, each of the two steps cached on its own; and what stands of it.

A `TrackJob` can be pickled and `prepare_track` is a plain function, so that any engine can run them anywhere. Whether
a track is prepared, and if not why, is asked of the same two recipes by which it is made.
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
from data.command import out_of_memory
from data.datasets.base import Dataset
from data.errors import InputError, os_error
from data.layout import Layout
from data.normalise import CODE_VERSION, normalise_track
from data.recipe import Recipe
from data.settings import Settings
from data.sources import checksums_of, indexed_tracks, require_unchanged
from data.tracks import Track

STEMS, NORMALISED = "stems", "normalised"
MADE_OF = "raw_checksums"  # in the record of stems: the checksum of each raw file, by name
_NO_LABELS = pd.DataFrame()


@dataclass(frozen=True)
class Step:
    """What became of one step of a track: its outcome, the data version it was made of, and how long it took."""

    outcome: cache.Outcome
    made_of: str
    seconds: float


@dataclass(frozen=True)
class TrackJob:
    """A track to prepare: as the index has it, its rows of the table of labels, and the steps that are asked for."""

    root: Path
    dataset: Dataset
    row: Track
    labels: pd.DataFrame
    steps: tuple[str, ...] = (STEMS, NORMALISED)

    @property
    def track_id(self) -> str:
        return self.row.track_id


@dataclass(frozen=True)
class TrackResult:
    """What became of a track: the steps that were done or found done, and what stopped it if anything did."""

    slug: str
    steps: dict[str, Step] = field(default_factory=dict)
    problem: InputError | None = None
    trace: str = ""  # where the problem is a fault of the program


@dataclass(frozen=True)
class PreparedTrack:
    """A track whose two steps stand as they would be made now: as the index has it, and both records."""

    row: Track
    stems: cache.Record
    normalised: cache.Record


@dataclass(frozen=True)
class Outdated:
    """A track whose output is missing, damaged, or made of what is no longer there.

    `step` is the first step that does not stand, `reason` says why in words, `files` are the raw files concerned.
    """

    step: str
    reason: str
    files: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.step} {self.reason}" + "".join(f"\n  {file}" for file in self.files)


def track_jobs(
    settings: Settings, dataset: Dataset, steps: tuple[str, ...] = (STEMS, NORMALISED)
) -> dict[str, TrackJob]:
    """A job for every track of the dataset's index, by slug.

    Raises InputError where the index, or the labels of a dataset that has some, were not materialised yet.
    """
    root, labels, none = settings.root, {}, _NO_LABELS
    dataset = dataset.configured(settings)
    if dataset.labels is not None:
        table = dataset.labels.read(Layout(root).labels(dataset.name))
        labels, none = {str(name): rows for name, rows in table.groupby("id")}, table.iloc[:0]
    return {
        row.slug: TrackJob(root, dataset, row, labels.get(row.labelled_as, none), steps)
        for row in indexed_tracks(root, dataset.name)
    }


def raw_version(job: TrackJob) -> str:
    """The data version of a track's raw side: the checksums of its files, and what its labels say."""
    later = [name for name in job.dataset.later_labels if name in job.labels and job.labels[name].isna().all()]
    told = job.labels.drop(columns=later)
    labels = hashlib.sha256(told.to_json(orient="records").encode()).hexdigest() if len(told) else ""
    return Recipe("1", {"labels": labels}, checksums_of(job.row)).fingerprint


def stems_recipe(job: TrackJob) -> Recipe:
    """What a track's stems are made of."""
    version = job.dataset.version_for(path.name for path in job.row.files)
    return Recipe(version, job.dataset.parameters, {"raw": raw_version(job)})


def normalised_recipe(stems: str) -> Recipe:
    """What canonical audio is made of: stems of that data version."""
    return Recipe(CODE_VERSION, {}, {"stems": stems})


def standing(job: TrackJob) -> PreparedTrack | Outdated:
    """What stands of a track: both steps as they would be made now, or why not."""
    layout, (dataset, slug) = Layout(job.root), (job.dataset.name, job.row.slug)
    folder, recipe = layout.stems(dataset, slug), stems_recipe(job)
    try:
        stems, normalised = cache.look(folder), cache.look(layout.normalised(dataset, slug))
    except InputError as problem:
        return Outdated(STEMS, f"cannot be read ({problem.found})", (problem.file or str(folder),))
    if stems.whole is None:
        return Outdated(STEMS, stems.trouble)
    if stems.whole.fingerprint != recipe.fingerprint:
        return _outdated_stems(job, stems.whole)
    if normalised.whole is None:
        return Outdated(NORMALISED, normalised.trouble)
    if why := cache.differences(normalised, normalised_recipe(stems.whole.version)):
        return Outdated(NORMALISED, f"made before a change: {'; '.join(why)}")
    return PreparedTrack(job.row, stems.whole, normalised.whole)


def stems_differences(job: TrackJob, found: cache.Look) -> list[str]:
    """Why a track's stems would be made again, as `cache.differences` says it; of the raw side, which files changed."""
    recipe = stems_recipe(job)
    why, record = cache.differences(found, recipe), found.whole
    if not why or record is None:
        return why
    changed = _changed_files(job, record)
    told = [f"raw files changed ({', '.join(changed)})"] if changed else []
    if record.recipe is None:
        return told or ["raw files, labels or code changed"]
    # The raw side is one input; where no file of it changed, its labels did.
    labels = record.recipe.inputs != recipe.inputs and not changed
    return told + [text for text in why if not text.endswith("(raw)")] + (["its labels changed"] if labels else [])


def _changed_files(job: TrackJob, stems: cache.Record) -> list[str]:
    """Names of the raw files that are not those which the stems were made of; none where that was not kept."""
    now, then = checksums_of(job.row), stems.measured.get(MADE_OF, {})
    return sorted(name for name in now.keys() | then.keys() if now.get(name) != then.get(name)) if then else []


def _outdated_stems(job: TrackJob, stems: cache.Record) -> Outdated:
    places = {Path(file.path).name: file.path for file in job.row.indexed}
    reason = "; ".join(stems_differences(job, cache.Look(stems)))
    files = tuple(places.get(name, name) for name in _changed_files(job, stems))
    return Outdated(STEMS, f"made before a change: {reason}", files)


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
    except OSError as error:
        return TrackResult(job.row.slug, steps, os_error(error, job.track_id))
    except MemoryError as error:
        remedy = "lower ISOLATION_WORKERS, close other programs, or use a larger machine"
        return TrackResult(job.row.slug, steps, out_of_memory(job.track_id, str(error), remedy))
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
    return isinstance(standing(job), PreparedTrack)


def _extract(job: TrackJob) -> tuple[cache.Outcome, str]:
    recipe = stems_recipe(job)

    def work(partial: Path) -> dict[str, Any]:
        require_unchanged(job.row)
        extracted = job.dataset.extract(job.row, job.labels, partial)
        # A file that was replaced while it was read is not what the checksums of the index say.
        require_unchanged(job.row)
        return {**extracted.said(), MADE_OF: checksums_of(job.row)}

    folder = Layout(job.root).stems(job.dataset.name, job.row.slug)
    return cache.make(folder, recipe, work), recipe.inputs["raw"]


def _normalise(job: TrackJob) -> tuple[cache.Outcome, str]:
    layout, (name, slug) = Layout(job.root), (job.dataset.name, job.row.slug)
    stems = layout.stems(name, slug)
    made = cache.require(stems, f"{name}/stems [{slug}]")
    if made.fingerprint != stems_recipe(job).fingerprint:
        raise InputError(
            f"{name}/normalised [{slug}]",
            file=stems,
            expected="stems that were made of the raw files and labels of today",
            found=_outdated_stems(job, made).reason,
            remedy=f"materialise {name}/stems [{slug}] first",
        )
    outcome = cache.make(
        layout.normalised(name, slug),
        normalised_recipe(made.version),
        lambda partial: normalise_track(stems, partial),
        linked=made.files,
    )
    return outcome, made.version
