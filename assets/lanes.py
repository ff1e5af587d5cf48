"""One lane per dataset: raw archive, labels, stems and normalised audio of every track.

A lane is made by one factory, so that a dataset is one reader and one line in `data.datasets`.
"""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import pandas as pd

from assets.partitions import TRACKS
from assets.recording import OWNERS, materialise, table_metadata, track_event, upstream
from data.datasets import DATASETS, Dataset
from data.errors import InputError, TracksFailed
from data.medleydb_metadata import STEMS
from data.normalise import CODE_VERSION as NORMALISE_VERSION
from data.preparation import METADATA_FILE, extract_stems, metadata_of, normalise
from data.settings import Settings
from data.sources import INDEX, INDEX_FILE, build_index, read_index
from data.tables import read_table, write_table
from data.tracks import normalised_folder, stems_folder


@dataclass(frozen=True)
class Lane:
    """The assets and checks of one dataset: raw sources first, then what is prepared of each track."""

    dataset: Dataset
    sources: Sequence[dg.AssetsDefinition]
    prepared: dg.AssetsDefinition
    checks: Sequence[dg.AssetChecksDefinition]

    @property
    def assets(self) -> list[dg.AssetsDefinition]:
        return [*self.sources, self.prepared]

    @property
    def normalised(self) -> dg.AssetKey:
        """What everything after the lane depends on."""
        return dg.AssetKey([self.dataset.name, "normalised"])


def build_lane(dataset: Dataset) -> Lane:
    """All assets of one dataset."""
    if dataset.has_metadata:
        sources, checks = [_archive(dataset), _metadata(dataset)], [_metadata_check(dataset)]
    else:
        sources, checks = [_archive(dataset)], []
    return Lane(dataset, sources, _prepared(dataset), checks)


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
    def archive(context: dg.AssetExecutionContext, settings: dg.ResourceParam[Settings]) -> dg.MaterializeResult[Any]:
        frame = build_index(dataset, settings, context.log.info)
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

        return materialise(
            context,
            settings.root,
            # Files that moved have the same content, but the index must name their new place.
            parameters={"paths": [file["path"] for files in frame["files"] for file in files]},
            inputs=checksums,
            work=work,
            show=lambda folder: table_metadata(read_table(folder / INDEX_FILE).drop(columns="files"), INDEX),
        )

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
            (pd.DataFrame(columns=STEMS.names), []) if off else dataset.read_metadata(settings, context.log.info)
        )
        for problem in problems:
            context.log.error(str(problem))

        def work(folder: Path) -> dict[str, Any]:
            write_table(folder / METADATA_FILE, frame, STEMS)
            sung = frame[frame["vocal"].astype(bool)].groupby("id").size()
            return {
                "tracks": int(frame["id"].nunique()),
                "tracks_with_vocals": len(sung),
                "tracks_with_several_vocal_stems": int((sung > 1).sum()),
                "problems": [str(problem) for problem in problems],
            }

        return materialise(
            context,
            settings.root,
            parameters={"table": frame.to_json(orient="records"), "problems": [str(p) for p in problems]},
            inputs={},
            work=work,
            show=lambda folder: table_metadata(read_table(folder / METADATA_FILE), STEMS),
        )

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
    archive, metadata, stems, normalised = (
        dg.AssetKey([dataset.name, part]) for part in ("archive", "metadata", "stems", "normalised")
    )
    sources = [archive, metadata] if dataset.has_metadata else [archive]

    @dg.multi_asset(
        name=f"{dataset.name}_prepared",
        specs=[
            dg.AssetSpec(
                stems,
                deps=sources,
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
    def prepared(context: dg.AssetExecutionContext, settings: dg.ResourceParam[Settings]) -> Iterator[Any]:
        root = settings.root
        index = {row.slug: row for row in read_index(root, dataset.name).itertuples()}
        metadata_table = metadata_of(root, dataset)
        source_versions = {key: upstream(root, key).fingerprint for key in sources}
        wanted = context.selected_asset_keys

        def prepare(slug: str) -> Iterator[dg.AssetMaterialization]:
            if slug not in index:
                raise _not_indexed(dataset, slug)
            if stems in wanted:
                started = time.monotonic()
                outcome = extract_stems(root, dataset, index[slug], metadata_table)
                folder, seconds = stems_folder(root, dataset.name, slug), time.monotonic() - started
                yield track_event(stems, slug, folder, outcome, seconds, dataset.code_version, source_versions)
            if normalised in wanted:
                started = time.monotonic()
                outcome, made_of = normalise(root, dataset, slug)
                folder, seconds = normalised_folder(root, dataset.name, slug), time.monotonic() - started
                yield track_event(normalised, slug, folder, outcome, seconds, NORMALISE_VERSION, {stems: made_of})

        _prepare_all(context, dataset, prepare)
        # The tracks' own events are all there is to record: the outputs as wholes are left out.
        yield from ()

    return prepared


def _prepare_all(
    context: dg.AssetExecutionContext,
    dataset: Dataset,
    prepare: Callable[[str], Iterator[dg.AssetMaterialization]],
) -> None:
    """Prepare every partition of the run on all cores, recording each; fail at the end if any failed."""

    def attempt(slug: str) -> tuple[list[dg.AssetMaterialization], InputError | None]:
        events = []
        try:
            for event in prepare(slug):
                events.append(event)
        except InputError as problem:
            return events, problem
        except Exception as error:
            context.log.exception(f"{dataset.name}/{slug}")
            return events, InputError(
                f"{dataset.name}/{slug}",
                expected="a track that can be prepared",
                found=f"{type(error).__name__}: {error}",
                remedy="see the traceback in the run's log",
            )
        return events, None

    slugs = list(context.partition_keys)
    problems: list[InputError] = []
    cached = 0
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        for done, future in enumerate(as_completed([pool.submit(attempt, slug) for slug in slugs]), start=1):
            events, problem = future.result()
            for event in events:
                context.log_event(event)
            if problem:
                problems.append(problem)
                context.log.error(str(problem))
            cached += bool(events) and all(event.metadata["cached"].value for event in events)
            if done % max(1, len(slugs) // 10) == 0 or done == len(slugs):
                context.log.info(f"{dataset.title}: {done} of {len(slugs)} tracks, {cached} unchanged")
    if problems:
        problems.sort(key=lambda problem: problem.what)
        raise dg.Failure(description=str(TracksFailed(dataset.title, problems, len(slugs) - len(problems))))


def _not_indexed(dataset: Dataset, slug: str) -> InputError:
    return InputError(
        f"{dataset.name}/{slug}",
        expected="a track that is in the source",
        found="a partition without one",
        remedy=f"materialise {dataset.name}/archive, which withdraws partitions whose track is gone",
    )


LANES = [build_lane(dataset) for dataset in DATASETS.values()]
