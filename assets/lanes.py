"""One lane per dataset: raw archive, labels, stems and normalised audio of every track.

A lane is made by one factory, so that a dataset is one reader and one line in `data.datasets`. Two of its assets are
only looked at, never made: `raw`, a track's raw files and labels as one data version, so that one changed file makes
that track stale and no other; and `prepared`, one data version of all canonical audio, because Dagster does not look
at a hundred partitions or more one by one. What is no longer made of the raw files of today is named by the checks
`every_track_current`.
"""

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import pandas as pd

from assets.partitions import TRACKS
from assets.recording import (
    OWNERS,
    latest_entry,
    materialise,
    observe,
    refusals,
    table_metadata,
    track_event,
    upstream,
    with_metadata,
)
from data.datasets import DATASETS, Dataset
from data.engine import Engine, WorkersLost
from data.errors import InputError, TracksFailed
from data.layout import Layout
from data.manifest import look_at_tracks, prepared_version
from data.normalise import CODE_VERSION as NORMALISE_VERSION
from data.preparation import NORMALISED, STEMS, TrackJob, TrackResult, prepare_track, raw_version, track_jobs
from data.recipe import Recipe, listing
from data.settings import Settings
from data.sources import INDEX, find_tracks, index_of
from data.tables import Table
from data.text import one_line
from data.tracks import Found
from data.walk import by_reason

_CODE_VERSION = "2"  # of archive and metadata
_MOST = 20  # names of tracks in a line of the log
_MOST_PASSED_OVER = 200  # lines of metadata


@dataclass(frozen=True)
class Lane:
    """The assets and checks of one dataset: raw sources first, then what is prepared of each track."""

    dataset: Dataset
    sources: Sequence[dg.AssetsDefinition]
    prepared: dg.AssetsDefinition
    observed: Sequence[dg.AssetsDefinition]
    checks: Sequence[dg.AssetChecksDefinition]

    @property
    def assets(self) -> list[dg.AssetsDefinition]:
        return [*self.sources, *self.observed, self.prepared]

    @property
    def tracks(self) -> str:
        """Name of the set of partitions."""
        return TRACKS[self.dataset.name].name or ""

    def key(self, part: str) -> dg.AssetKey:
        return dg.AssetKey([self.dataset.name, part])


def build_lane(dataset: Dataset) -> Lane:
    """All assets of one dataset."""
    if dataset.labels is not None:
        sources, checks = [_archive(dataset), _metadata(dataset, dataset.labels)], [_metadata_check(dataset)]
    else:
        sources, checks = [_archive(dataset)], []
    checks.append(_current_check(dataset))
    return Lane(dataset, sources, _prepared(dataset), _observed(dataset), checks)


def _observed(dataset: Dataset) -> list[dg.AssetsDefinition]:
    sources = ["archive", "metadata"] if dataset.labels is not None else ["archive"]
    raw = dg.AssetSpec(
        [dataset.name, "raw"],
        deps=[[dataset.name, source] for source in sources],
        group_name=dataset.name,
        owners=OWNERS,
        description="Per track, its raw files and what its metadata says, as one data version. Looked at whenever "
        f"{' or '.join(sources)} is materialised.",
        kinds={"file"},
        skippable=True,
    )
    prepared = dg.AssetSpec(
        [dataset.name, "prepared"],
        deps=[[dataset.name, NORMALISED]],
        group_name=dataset.name,
        owners=OWNERS,
        description="All canonical audio of the dataset as one data version. Looked at whenever tracks are prepared; "
        "the manifest goes by it.",
        kinds={"wav"},
        skippable=True,
    )

    @dg.multi_observable_source_asset(
        name=f"{dataset.name}_look_at_raw", specs=[raw], partitions_def=TRACKS[dataset.name], can_subset=True
    )
    def look_at_raw(context: dg.AssetExecutionContext, settings: dg.ResourceParam[Settings]) -> Iterator[Any]:
        _look_at_raw(context, dataset, settings)
        yield from ()

    @dg.multi_observable_source_asset(name=f"{dataset.name}_look_at_prepared", specs=[prepared], can_subset=True)
    def look_at_prepared(context: dg.AssetExecutionContext, settings: dg.ResourceParam[Settings]) -> Iterator[Any]:
        _look_at_prepared(context, dataset, settings)
        yield from ()

    return [look_at_raw, look_at_prepared]


def _location(dataset: Dataset, settings: Settings) -> str:
    """The data version of a source: where it is. What is in it, track by track, is the version of `raw`."""
    return Recipe("1", {"source": dataset.setting(settings)}, {}).fingerprint


def _look_at_raw(context: dg.AssetExecutionContext, dataset: Dataset, settings: Settings) -> dict[str, Any]:
    """Record which tracks have new raw files or labels, once both tables are there; metadata that names them."""
    try:
        jobs = track_jobs(settings, dataset)
    except InputError:
        return {}  # the other table comes later in this run, and looks then
    key = dg.AssetKey([dataset.name, "raw"])
    versions: dict[str | None, str] = {slug: raw_version(job) for slug, job in jobs.items()}
    changed = sorted(str(slug) for slug in observe(context, key, versions, "raw files and metadata"))
    names = f": {listing(changed, _MOST)}" if changed else ""
    context.log.info(f"{dataset.title}: {len(changed)} of {len(versions)} tracks are new or changed{names}")
    return {"changed_tracks": len(changed), "changed": ", ".join(changed) or "none"}


def _look_at_prepared(context: dg.AssetExecutionContext, dataset: Dataset, settings: Settings) -> None:
    key = dg.AssetKey([dataset.name, "prepared"])
    observe(context, key, {None: prepared_version(settings, dataset)}, "canonical audio of all tracks")


def _archive(dataset: Dataset) -> dg.AssetsDefinition:
    @dg.asset(
        key=[dataset.name, "archive"],
        group_name=dataset.name,
        owners=OWNERS,
        description=f"{dataset.description}. The raw dataset found, downloaded or generated, with the checksum of "
        "every file; registers one partition per track.",
        kinds={"file", "parquet"},
        code_version=_CODE_VERSION,
    )
    def archive(
        context: dg.AssetExecutionContext, settings: dg.ResourceParam[Settings], engine: dg.ResourceParam[Engine]
    ) -> dg.MaterializeResult[Any]:
        with refusals(f"{dataset.name}/archive"):
            tracks = find_tracks(dataset, settings, context.log.info)
            frame = index_of(dataset, settings, tracks, context.log.info, engine)
        # The words of every track: what a licence or a title says may change while its audio does not.
        words = frame.assign(files=pd.Series([[]] * len(frame), index=frame.index, dtype=object))
        checksums = {
            f"{row['slug']}/{Path(file['path']).name}": file["sha256"]
            for row in frame.to_dict("records")
            for file in row["files"]
        }
        _register(context, dataset, list(frame["slug"]))

        def work(folder: Path) -> dict[str, Any]:
            INDEX.write(folder, frame)
            size = sum(file["size"] for files in frame["files"] for file in files)
            return {
                "source": one_line(dataset.setting(settings)),
                "tracks": len(frame),
                "gigabytes": round(size / 1e9, 3),
            }

        result = materialise(
            context,
            settings.root,
            # Files that moved have the same content, but the index must name their new place and time.
            recipe=Recipe(
                _CODE_VERSION,
                {
                    "files": [[file["path"], file["mtime_ns"]] for files in frame["files"] for file in files],
                    "words": INDEX.version(words),
                },
                checksums,
            ),
            work=work,
            show=lambda folder: table_metadata(INDEX.read(folder).drop(columns="files"), INDEX),
            version=_location(dataset, settings),
        )
        return with_metadata(result, _passed_over(tracks) | _look_at_raw(context, dataset, settings))

    return archive


def _passed_over(tracks: Found) -> dict[str, Any]:
    """What might have been a track and is none, with the reasons: a line each, the first ones of many."""
    reasons = by_reason(tracks.passed_over).items()
    lines = [f"{one_line(path)}: {one_line(reason)}" for reason, paths in reasons for path in paths]
    more = [f"and {len(lines) - _MOST_PASSED_OVER} more"] if len(lines) > _MOST_PASSED_OVER else []
    return {"passed_over": len(lines), "passed_over_because": "\n".join(lines[:_MOST_PASSED_OVER] + more) or "none"}


def _register(context: dg.AssetExecutionContext, dataset: Dataset, slugs: list[str]) -> None:
    name = TRACKS[dataset.name].name
    known = set(context.instance.get_dynamic_partitions(name))
    context.instance.add_dynamic_partitions(name, [slug for slug in slugs if slug not in known])
    for gone in known - set(slugs):
        context.log.info(f"{dataset.name}/{gone} is no longer in the source: its partition is withdrawn")
        context.instance.delete_dynamic_partition(name, gone)


def _metadata(dataset: Dataset, table: Table) -> dg.AssetsDefinition:
    @dg.asset(
        key=[dataset.name, "metadata"],
        group_name=dataset.name,
        owners=OWNERS,
        description=f"The labels of {dataset.title} that come in files of their own, parsed and validated: a table.",
        kinds={"parquet"},
        code_version=_CODE_VERSION,
    )
    def metadata(context: dg.AssetExecutionContext, settings: dg.ResourceParam[Settings]) -> dg.MaterializeResult[Any]:
        off = dataset.setting(settings) == "off"
        frame, problems = (
            (pd.DataFrame(columns=table.names), []) if off else dataset.read_labels(settings, context.log.info)
        )
        for problem in problems:
            context.log.error(str(problem))

        def work(folder: Path) -> dict[str, Any]:
            table.write(folder, frame)
            told = {"tracks": int(frame["id"].nunique()), **dataset.labels_told(frame)}
            return {**told, "problems": [str(problem) for problem in problems]}

        result = materialise(
            context,
            settings.root,
            recipe=Recipe(_CODE_VERSION, {"table": table.version(frame), "problems": [str(p) for p in problems]}, {}),
            work=work,
            show=lambda folder: table_metadata(table.read(folder), table),
            version=_location(dataset, settings),
        )
        return with_metadata(result, _look_at_raw(context, dataset, settings))

    return metadata


def _metadata_check(dataset: Dataset) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=[dataset.name, "metadata"],
        name="every_file_readable",
        description="Every file of labels can be read and says what is needed.",
    )
    def every_file_readable(settings: dg.ResourceParam[Settings]) -> dg.AssetCheckResult:
        record = upstream(settings.root, dg.AssetKey([dataset.name, "metadata"]))
        problems = record.measured["problems"]
        return dg.AssetCheckResult(passed=not problems, metadata={"problems": "\n\n".join(problems) or "none"})

    return every_file_readable


def _current_check(dataset: Dataset) -> dg.AssetChecksDefinition:
    @dg.multi_asset_check(
        name=f"{dataset.name}_every_track_current",
        specs=[
            dg.AssetCheckSpec(
                "every_track_current",
                asset=[dataset.name, step],
                description=f"Every track's {what} stand and are made of its raw files, labels and code of today. "
                "Those that are not are left out of the training set until they are prepared again.",
            )
            for step, what in ((STEMS, "stems"), (NORMALISED, "canonical files"))
        ],
        can_subset=True,
    )
    def every_track_current(
        context: dg.AssetCheckExecutionContext, settings: dg.ResourceParam[Settings]
    ) -> Iterator[dg.AssetCheckResult]:
        outdated = look_at_tracks(settings, [dataset]).outdated
        asked = {key.asset_key.path[-1] for key in context.selected_asset_check_keys}
        for step in sorted(asked):
            # Canonical audio cannot be current where the stems that it is made of are not.
            found = {track: state for track, state in outdated.items() if step == NORMALISED or state.step == step}
            problems = "\n".join(f"{track}: {state}" for track, state in sorted(found.items()))
            yield dg.AssetCheckResult(
                check_name="every_track_current",
                asset_key=[dataset.name, step],
                passed=not found,
                severity=dg.AssetCheckSeverity.WARN,
                metadata={"tracks": len(found), "problems": problems or "none"},
            )

    return every_track_current


def _prepared(dataset: Dataset) -> dg.AssetsDefinition:
    """Stems and normalised audio, two assets of one step.

    One step, so that a track that fails stops neither the other tracks nor their second stage; each asset can still
    be selected alone.
    """
    archive, metadata, raw, stems, normalised = (
        dg.AssetKey([dataset.name, part]) for part in ("archive", "metadata", "raw", STEMS, NORMALISED)
    )
    sources = [archive, metadata] if dataset.labels is not None else [archive]
    keys = {STEMS: stems, NORMALISED: normalised}
    code_versions = {STEMS: dataset.code_version, NORMALISED: NORMALISE_VERSION}

    @dg.multi_asset(
        name=f"{dataset.name}_prepared",
        specs=[
            dg.AssetSpec(
                stems,
                deps=[*sources, raw],
                group_name=dataset.name,
                owners=OWNERS,
                description="Per track, mixture.wav and vocals.wav as the dataset gives them.",
                kinds={"wav"},
                code_version=dataset.code_version,
                skippable=True,
            ),
            dg.AssetSpec(
                normalised,
                deps=[stems],
                group_name=dataset.name,
                owners=OWNERS,
                description="Per track, the canonical form: 44.1 kHz, stereo, equal lengths; levels measured.",
                kinds={"wav"},
                code_version=NORMALISE_VERSION,
                skippable=True,
            ),
        ],
        partitions_def=TRACKS[dataset.name],
        backfill_policy=dg.BackfillPolicy.single_run(),
        can_subset=True,
    )
    def prepared(
        context: dg.AssetExecutionContext, settings: dg.ResourceParam[Settings], engine: dg.ResourceParam[Engine]
    ) -> Iterator[Any]:
        root, layout = settings.root, Layout(settings.root)
        folders = {STEMS: layout.stems, NORMALISED: layout.normalised}
        source_versions = {key: upstream(root, key).version for key in sources}
        steps = tuple(name for name, key in keys.items() if key in context.selected_asset_keys)
        jobs = track_jobs(settings, dataset, steps)
        before = latest_entry(context.instance)
        wanted = list(context.partition_keys)
        failed = [_not_indexed(dataset, slug) for slug in wanted if slug not in jobs]
        tally = _Tally(context, dataset, len(wanted), failed)
        for result in _results(engine, [jobs[slug] for slug in wanted if slug in jobs]):
            for name, step in result.steps.items():
                if name == STEMS:
                    inputs, pointer = source_versions | {raw: step.made_of}, before
                else:
                    inputs = {stems: step.made_of}
                    pointer = latest_entry(context.instance) if STEMS in result.steps else before
                # Yielded, not logged: Dagster writes what is yielded at once, and what is logged when the step ends.
                yield track_event(
                    keys[name],
                    result.slug,
                    folders[name](dataset.name, result.slug),
                    step.outcome,
                    step.seconds,
                    code_versions[name],
                    inputs,
                    pointer,
                )
            tally.add(result)
        _look_at_prepared(context, dataset, settings)
        tally.conclude()
        # The tracks' own events are all there is to record: the outputs as wholes are left out.

    return prepared


class _Tally:
    """Counts what became of the tracks of a run, and fails at its end if any failed."""

    def __init__(
        self, context: dg.AssetExecutionContext, dataset: Dataset, wanted: int, problems: list[InputError]
    ) -> None:
        self._context, self._dataset, self._wanted = context, dataset, wanted
        self._problems = problems
        self._done, self._cached = len(problems), 0

    def add(self, result: TrackResult) -> None:
        self._done += 1
        self._cached += result.problem is None and all(step.outcome.cached for step in result.steps.values())
        if result.problem:
            self._problems.append(result.problem)
            self._context.log.error("\n".join(filter(None, (str(result.problem), result.trace))))
        if self._done % max(1, self._wanted // 10) == 0 or self._done == self._wanted:
            self._context.log.info(
                f"{self._dataset.title}: {self._done} of {self._wanted} tracks, {self._cached} unchanged"
            )

    def conclude(self) -> None:
        if self._problems:
            self._problems.sort(key=lambda problem: problem.what)
            done = self._wanted - len(self._problems)
            raise dg.Failure(description=str(TracksFailed(self._dataset.title, self._problems, done)))


def _results(engine: Engine, jobs: Sequence[TrackJob]) -> Iterator[TrackResult]:
    """What became of every track, of those too whose process was killed."""
    try:
        yield from engine.as_completed(prepare_track, jobs)
    except WorkersLost as lost:
        for job in lost.jobs:
            killed = InputError(
                job.track_id,
                expected="a process that prepares it and ends by itself",
                found="a process that was killed, which most often means that the computer ran out of memory",
                remedy="lower ISOLATION_WORKERS, close other programs, or use a larger machine",
            )
            yield TrackResult(job.row.slug, problem=killed)


def _not_indexed(dataset: Dataset, slug: str) -> InputError:
    return InputError(
        f"{dataset.name}/{slug}",
        expected="a track that is in the source",
        found="a partition without one",
        remedy=f"materialise {dataset.name}/archive, which withdraws partitions whose track is gone",
    )


with warnings.catch_warnings():
    # Dagster warns that observing several assets in one step is beta; nobody who loads this project can act on it.
    warnings.simplefilter("ignore", dg.BetaWarning)
    LANES = [build_lane(dataset) for dataset in DATASETS.values()]
