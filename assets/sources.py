"""The raw side of a lane: `archive`, the index of a dataset's raw files, and `metadata`, its table of labels."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import dagster as dg
import pandas as pd

from assets.observing import look_at_raw
from assets.partitions import TRACKS
from assets.recording import materialise, refusals, table_metadata, with_metadata
from data.datasets import Dataset
from data.engine import Engine
from data.errors import InputError
from data.recipe import Recipe
from data.settings import Settings
from data.sources import CODE_VERSION, INDEX, find_tracks, index_of, index_recipe, index_today
from data.tables import Table
from data.text import one_line
from data.tracks import Found
from data.walk import by_reason

_LABELS_CODE = "2"
_MOST_PASSED_OVER = 200  # lines of metadata


def archive_asset(dataset: Dataset) -> dg.AssetsDefinition:
    """The index of a dataset's raw files."""

    @dg.asset(
        key=[dataset.name, "archive"],
        description=f"{dataset.description}. The raw dataset found, downloaded or generated, with the checksum of "
        "every file; registers one partition per track.",
        kinds={"file", "parquet"},
        code_version=CODE_VERSION,
    )
    def archive(
        context: dg.AssetExecutionContext, settings: dg.ResourceParam[Settings], engine: dg.ResourceParam[Engine]
    ) -> dg.MaterializeResult[Any]:
        with refusals(f"{dataset.name}/archive"):
            tracks = find_tracks(dataset, settings, context.log.info)
            frame = index_of(dataset, settings, tracks, context.log.info, engine)
        _register(context, dataset, list(frame["slug"]))

        def work(folder: Path) -> dict[str, Any]:
            INDEX.write(folder, frame)
            gigabytes = sum(file["size"] for files in frame["files"] for file in files) / 1e9
            source = one_line(dataset.setting(settings))
            return {"source": source, "tracks": len(frame), "gigabytes": round(gigabytes, 3)}

        result = materialise(
            context,
            settings.root,
            recipe=index_recipe(frame),
            work=work,
            show=lambda folder: table_metadata(INDEX.read(folder).drop(columns="files"), INDEX),
            version=_location(dataset, settings),
        )
        return with_metadata(result, _passed_over(tracks) | look_at_raw(context, dataset, settings))

    return archive


def metadata_asset(dataset: Dataset, table: Table) -> dg.AssetsDefinition:
    """The table of a dataset's labels."""

    @dg.asset(
        key=[dataset.name, "metadata"],
        description=f"The labels of {dataset.title} that come in files of their own, parsed and validated: a table.",
        kinds={"parquet"},
        code_version=_LABELS_CODE,
    )
    def metadata(context: dg.AssetExecutionContext, settings: dg.ResourceParam[Settings]) -> dg.MaterializeResult[Any]:
        frame, problems = _labels(dataset, table, settings, context.log.info)
        for problem in problems:
            context.log.error(str(problem))

        def work(folder: Path) -> dict[str, Any]:
            table.write(folder, frame)
            told = {"tracks": int(frame["id"].nunique()), **dataset.labels_told(frame)}
            return {**told, "problems": [str(problem) for problem in problems]}

        result = materialise(
            context,
            settings.root,
            recipe=_labels_recipe(table, frame, problems),
            work=work,
            show=lambda folder: table_metadata(table.read(folder), table),
            version=_location(dataset, settings),
        )
        return with_metadata(result, look_at_raw(context, dataset, settings))

    return metadata


def archive_recipe(settings: Settings, dataset: Dataset) -> Recipe:
    """What a dataset's index would be made of now. Raises InputError where that cannot be seen without making it."""
    return index_recipe(index_today(dataset, settings))


def metadata_recipe(settings: Settings, dataset: Dataset, table: Table) -> Recipe:
    """What a dataset's labels would be made of now. Raises InputError where these cannot be read."""
    return _labels_recipe(table, *_labels(dataset, table, settings, lambda _: None))


def _labels_recipe(table: Table, frame: pd.DataFrame, problems: Sequence[InputError]) -> Recipe:
    return Recipe(_LABELS_CODE, {"table": table.version(frame), "problems": [str(each) for each in problems]}, {})


def _labels(
    dataset: Dataset, table: Table, settings: Settings, log: Callable[[str], None]
) -> tuple[pd.DataFrame, Sequence[InputError]]:
    """The labels of a dataset, and every file of them that could not be read."""
    if dataset.setting(settings) == "off":
        return pd.DataFrame(columns=table.names), []
    return dataset.read_labels(settings, log)


def _location(dataset: Dataset, settings: Settings) -> str:
    """The data version of a source: where it is. What is in it, track by track, is the version of `raw`."""
    return Recipe("1", {"source": dataset.setting(settings)}, {}).fingerprint


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
