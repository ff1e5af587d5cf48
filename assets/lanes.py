"""One lane per dataset: raw archive, labels, stems and normalised audio of every track.

A lane is made by one factory, so that a dataset is one reader and one line in `data.datasets`. Two of its assets are
only looked at, never made: `raw`, a track's raw files and labels as one data version, so that one changed file makes
that track stale and no other; and `prepared`, one data version of all canonical audio, because Dagster does not look
at a hundred partitions or more one by one.
"""

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import pandas as pd

from assets.partitions import TRACKS
from assets.recording import OWNERS, latest_entry, materialise, observe, table_metadata, track_event, upstream
from data import cache
from data.datasets import DATASETS, Dataset
from data.engine import Engine
from data.errors import InputError, TracksFailed
from data.manifest import prepared_version
from data.medleydb_metadata import STEMS as LABELS
from data.normalise import CODE_VERSION as NORMALISE_VERSION
from data.preparation import METADATA_FILE, NORMALISED, STEMS, TrackResult, prepare_track, raw_version, track_jobs
from data.settings import Settings
from data.sources import INDEX, INDEX_FILE, build_index
from data.tables import read_table, write_table
from data.tracks import normalised_folder, stems_folder


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
    if dataset.has_metadata:
        sources, checks = [_archive(dataset), _metadata(dataset)], [_metadata_check(dataset)]
    else:
        sources, checks = [_archive(dataset)], []
    return Lane(dataset, sources, _prepared(dataset), _observed(dataset), checks)


def _observed(dataset: Dataset) -> list[dg.AssetsDefinition]:
    sources = ["archive", "metadata"] if dataset.has_metadata else ["archive"]
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
        _look_at_prepared(context, dataset, settings.root)
        yield from ()

    return [look_at_raw, look_at_prepared]


def _location(dataset: Dataset, settings: Settings) -> str:
    """The data version of a source: where it is. What is in it, track by track, is the version of `raw`."""
    return cache.fingerprint(code_version="1", parameters={"source": dataset.setting(settings)}, inputs={})


def _look_at_raw(context: dg.AssetExecutionContext, dataset: Dataset, settings: Settings) -> None:
    """Record which tracks have new raw files or labels, once both tables are there."""
    try:
        jobs = track_jobs(settings, dataset)
    except InputError:
        return  # the other table comes later in this run, and looks then
    key = dg.AssetKey([dataset.name, "raw"])
    versions: dict[str | None, str] = {slug: raw_version(job) for slug, job in jobs.items()}
    changed = observe(context, key, versions, "raw files and metadata")
    context.log.info(f"{dataset.title}: {len(changed)} of {len(versions)} tracks are new or changed")


def _look_at_prepared(context: dg.AssetExecutionContext, dataset: Dataset, root: Path) -> None:
    key = dg.AssetKey([dataset.name, "prepared"])
    observe(context, key, {None: prepared_version(root, dataset.name)}, "canonical audio of all tracks")


def _archive(dataset: Dataset) -> dg.AssetsDefinition:
    @dg.asset(
        key=[dataset.name, "archive"],
        group_name=dataset.name,
        owners=OWNERS,
        description=f"{dataset.description}. The raw dataset found, downloaded or generated, with the checksum of "
        "every file; registers one partition per track.",
        kinds={"file", "parquet"},
        code_version="1",
    )
    def archive(
        context: dg.AssetExecutionContext, settings: dg.ResourceParam[Settings], engine: dg.ResourceParam[Engine]
    ) -> dg.MaterializeResult[Any]:
        frame = build_index(dataset, settings, context.log.info, engine)
        checksums = {
            f"{row['slug']}/{Path(file['path']).name}": file["sha256"]
            for row in frame.to_dict("records")
            for file in row["files"]
        }
        _register(context, dataset, list(frame["slug"]))

        def work(folder: Path) -> dict[str, Any]:
            write_table(folder / INDEX_FILE, frame, INDEX)
            size = sum(file["size"] for files in frame["files"] for file in files)
            return {"source": dataset.setting(settings), "tracks": len(frame), "gigabytes": round(size / 1e9, 3)}

        result = materialise(
            context,
            settings.root,
            # Files that moved have the same content, but the index must name their new place and time.
            parameters={"files": [[file["path"], file["mtime_ns"]] for files in frame["files"] for file in files]},
            inputs=checksums,
            work=work,
            show=lambda folder: table_metadata(read_table(folder / INDEX_FILE).drop(columns="files"), INDEX),
            version=_location(dataset, settings),
        )
        _look_at_raw(context, dataset, settings)
        return result

    return archive


def _register(context: dg.AssetExecutionContext, dataset: Dataset, slugs: list[str]) -> None:
    name = TRACKS[dataset.name].name
    known = set(context.instance.get_dynamic_partitions(name))
    context.instance.add_dynamic_partitions(name, [slug for slug in slugs if slug not in known])
    for gone in known - set(slugs):
        context.log.info(f"{dataset.name}/{gone} is no longer in the source: its partition is withdrawn")
        context.instance.delete_dynamic_partition(name, gone)


def _metadata(dataset: Dataset) -> dg.AssetsDefinition:
    @dg.asset(
        key=[dataset.name, "metadata"],
        group_name=dataset.name,
        owners=OWNERS,
        description="The YAML metadata, parsed and validated: one row per track and stem, voices marked.",
        kinds={"yaml", "parquet"},
        code_version="1",
    )
    def metadata(context: dg.AssetExecutionContext, settings: dg.ResourceParam[Settings]) -> dg.MaterializeResult[Any]:
        off = dataset.setting(settings) == "off"
        frame, problems = (
            (pd.DataFrame(columns=LABELS.names), []) if off else dataset.read_metadata(settings, context.log.info)
        )
        for problem in problems:
            context.log.error(str(problem))

        def work(folder: Path) -> dict[str, Any]:
            write_table(folder / METADATA_FILE, frame, LABELS)
            sung = frame[frame["vocal"].astype(bool)].groupby("id").size()
            return {
                "tracks": int(frame["id"].nunique()),
                "tracks_with_vocals": len(sung),
                "tracks_with_several_vocal_stems": int((sung > 1).sum()),
                "problems": [str(problem) for problem in problems],
            }

        result = materialise(
            context,
            settings.root,
            parameters={"table": frame.to_json(orient="records"), "problems": [str(p) for p in problems]},
            inputs={},
            work=work,
            show=lambda folder: table_metadata(read_table(folder / METADATA_FILE), LABELS),
            version=_location(dataset, settings),
        )
        _look_at_raw(context, dataset, settings)
        return result

    return metadata


def _metadata_check(dataset: Dataset) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=[dataset.name, "metadata"],
        name="every_file_readable",
        description="Every metadata file is valid YAML with the keys that are needed.",
    )
    def every_file_readable(settings: dg.ResourceParam[Settings]) -> dg.AssetCheckResult:
        record = upstream(settings.root, dg.AssetKey([dataset.name, "metadata"]))
        problems = record.measured["problems"]
        return dg.AssetCheckResult(passed=not problems, metadata={"problems": "\n\n".join(problems) or "none"})

    return every_file_readable


def _prepared(dataset: Dataset) -> dg.AssetsDefinition:
    """Stems and normalised audio, two assets of one step.

    One step, so that a track that fails stops neither the other tracks nor their second stage; each asset can still
    be selected alone.
    """
    archive, metadata, raw, stems, normalised = (
        dg.AssetKey([dataset.name, part]) for part in ("archive", "metadata", "raw", STEMS, NORMALISED)
    )
    sources = [archive, metadata] if dataset.has_metadata else [archive]
    keys = {STEMS: stems, NORMALISED: normalised}
    folders = {STEMS: stems_folder, NORMALISED: normalised_folder}
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
        root = settings.root
        source_versions = {key: upstream(root, key).version for key in sources}
        steps = tuple(name for name, key in keys.items() if key in context.selected_asset_keys)
        jobs = track_jobs(settings, dataset, steps)
        before = latest_entry(context.instance)
        wanted = list(context.partition_keys)
        failed = [_not_indexed(dataset, slug) for slug in wanted if slug not in jobs]
        tally = _Tally(context, dataset, len(wanted), failed)
        for result in engine.as_completed(prepare_track, [jobs[slug] for slug in wanted if slug in jobs]):
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
                    folders[name](root, dataset.name, result.slug),
                    step.outcome,
                    step.seconds,
                    code_versions[name],
                    inputs,
                    pointer,
                )
            tally.add(result)
        _look_at_prepared(context, dataset, root)
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
