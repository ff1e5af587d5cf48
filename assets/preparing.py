"""The prepared side of a lane: stems and normalised audio of every track, two assets of one step.

One step, so that a track that fails stops neither the other tracks nor their second stage; each asset can still be
selected alone. How a track is prepared stands in `data.preparation`.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import dagster as dg

from assets.observing import RAW, look_at_prepared, source_keys
from assets.partitions import TRACKS
from assets.recording import folder_of, latest_entry, track_event, upstream
from data.datasets import Dataset
from data.engine import Engine, WorkersLost
from data.errors import InputError, TracksFailed
from data.normalise import CODE_VERSION as NORMALISE_VERSION
from data.preparation import NORMALISED, STEMS, TrackJob, TrackResult, prepare_track, track_jobs
from data.settings import Settings


def prepared_assets(dataset: Dataset) -> dg.AssetsDefinition:
    """Stems and normalised audio of a dataset's tracks."""
    stems, normalised = (dg.AssetKey([dataset.name, part]) for part in (STEMS, NORMALISED))

    @dg.multi_asset(
        name=f"{dataset.name}_prepared",
        specs=[
            dg.AssetSpec(
                stems,
                deps=[*source_keys(dataset), dg.AssetKey([dataset.name, RAW])],
                description="Per track, mixture.wav and vocals.wav as the dataset gives them.",
                kinds={"wav"},
                code_version=dataset.code_version,
                skippable=True,
            ),
            dg.AssetSpec(
                normalised,
                deps=[stems],
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
        steps = tuple(key.path[-1] for key in (stems, normalised) if key in context.selected_asset_keys)
        jobs = track_jobs(settings, dataset, steps)
        wanted = list(context.partition_keys)
        unknown = [_not_indexed(dataset, slug) for slug in wanted if slug not in jobs]
        events, tally = _Events(context, dataset, settings), _Tally(context, dataset, len(wanted), unknown)
        for result in _results(engine, [jobs[slug] for slug in wanted if slug in jobs]):
            # Yielded, not logged: Dagster writes what is yielded at once, and what is logged when the step ends.
            yield from events.of(result)
            tally.add(result)
        look_at_prepared(context, dataset, settings)
        tally.conclude()
        # The tracks' own events are all there is to record: the outputs as wholes are left out.

    return prepared


class _Events:
    """What Dagster is told of every track: an event of its own for each of its steps."""

    def __init__(self, context: dg.AssetExecutionContext, dataset: Dataset, settings: Settings) -> None:
        self._instance, self._name, self._root = context.instance, dataset.name, settings.root
        self._sources = {key: upstream(settings.root, key).version for key in source_keys(dataset)}
        self._code_versions = {STEMS: dataset.code_version, NORMALISED: NORMALISE_VERSION}
        self._before = latest_entry(context.instance)

    def of(self, result: TrackResult) -> Iterator[dg.AssetMaterialization]:
        """The events of what became of a track."""
        for name, step in result.steps.items():
            key, inputs, pointer = dg.AssetKey([self._name, name]), dict(self._sources), self._before
            if name == STEMS:
                inputs[dg.AssetKey([self._name, RAW])] = step.made_of
            else:
                inputs = {dg.AssetKey([self._name, STEMS]): step.made_of}
                pointer = latest_entry(self._instance) if STEMS in result.steps else pointer
            folder, version = folder_of(self._root, key, result.slug), self._code_versions[name]
            yield track_event(key, result.slug, folder, step.outcome, step.seconds, version, inputs, pointer)


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
