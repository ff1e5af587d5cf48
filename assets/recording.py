"""How Dagster is told what a step did: the adapter between `data.cache` and materialisation events.

Every asset goes through `materialise` (one output) or `track_event` (one track of many). What to compute never
belongs here.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dagster as dg
import pandas as pd
from dagster._core.definitions.data_version import (
    CODE_VERSION_TAG,
    DATA_VERSION_IS_USER_PROVIDED_TAG,
    DATA_VERSION_TAG,
    get_input_data_version_tag,
    get_input_event_pointer_tag,
)

from data import cache
from data.errors import os_error
from data.recipe import Recipe
from data.tables import Table
from data.text import markdown, one_line

Metadata = dict[str, Any]
PREVIEW_ROWS = 30
_ACTING = frozenset("![]<>`\\&")
OWNERS = ["team:separation"]


def folder_of(root: Path, key: dg.AssetKey, partition: str | None = None) -> Path:
    """Where an asset's output lies: its key, and its partition, as folders under the storage root."""
    return root.joinpath(*key.path, *([partition] if partition else []))


def upstream(root: Path, key: dg.AssetKey, partition: str | None = None) -> cache.Record:
    """The record of an upstream asset. Raises InputError where it is missing or its files were changed."""
    name = key.to_user_string() + (f" [{partition}]" if partition else "")
    return cache.require(folder_of(root, key, partition), name)


@contextmanager
def refusals(what: str) -> Iterator[None]:
    """What an operating system refuses in the block, as bad input of `what`."""
    try:
        yield
    except OSError as error:
        raise os_error(error, what) from error


def materialise(
    context: dg.AssetExecutionContext,
    root: Path,
    *,
    recipe: Recipe,
    work: Callable[[Path], dict[str, Any]],
    show: Callable[[Path], Metadata] = lambda _: {},
    version: str | Callable[[Path], str] | None = None,
) -> dg.MaterializeResult[Any]:
    """Do an asset's work unless its output stands already by this recipe, and tell Dagster about either.

    `work` fills the folder and returns measurements; `show` makes richer metadata (tables, pictures) of the finished
    folder; `version` is a data version other than the recipe's fingerprint, as `cache.make` takes it.
    """
    # A run over a partition has a key also for those of its assets that have no partitions.
    partition = context.partition_key if context.assets_def.partitions_def else None
    folder = folder_of(root, context.asset_key, partition)
    why = "; ".join(cache.differences(cache.look(folder), recipe))
    started = time.monotonic()
    try:
        outcome = cache.make(folder, recipe, work, version=version, log=context.log.info)
    except OSError as error:
        # A full disk, say: nothing is left of the output, and the step fails in words of what to do.
        raise os_error(error, context.asset_key.to_user_string(), file=error.filename or folder) from error
    seconds = time.monotonic() - started
    context.log.info("unchanged" if outcome.cached else f"done in {seconds:.1f} s ({why})")
    metadata = outcome_metadata(folder, outcome, seconds) | ({} if outcome.cached else {"why": why}) | show(folder)
    return dg.MaterializeResult(metadata=metadata, data_version=dg.DataVersion(outcome.record.version))


def with_metadata(result: dg.MaterializeResult[Any], more: Metadata) -> dg.MaterializeResult[Any]:
    """The same result with more to show."""
    return dg.MaterializeResult(metadata={**(result.metadata or {}), **more}, data_version=result.data_version)


def with_parameters(
    asset: dg.AssetsDefinition, parameters: Mapping[dg.AssetKey, Mapping[str, Any]]
) -> dg.AssetsDefinition:
    """The asset with a code version that tells the settings it goes by, so that the UI calls it stale when they change.

    An asset without `parameters` stays as it is.
    """

    def versioned(spec: dg.AssetSpec) -> dg.AssetSpec:
        if spec.key not in parameters:
            return spec
        settings = Recipe("", parameters[spec.key], {}).fingerprint[:8]
        return spec.replace_attributes(code_version=f"{spec.code_version} with settings {settings}")

    return asset.map_asset_specs(versioned)


def track_event(
    key: dg.AssetKey,
    partition: str,
    folder: Path,
    outcome: cache.Outcome,
    seconds: float,
    code_version: str,
    inputs: Mapping[dg.AssetKey, str],
    pointer: int,
) -> dg.AssetMaterialization:
    """The event of one track in a run over many.

    A run over a range of partitions records one data version for all of them when it ends, and nothing where it fails.
    An event of its own for every track keeps its own data version, and what was done before another track failed.
    `pointer` is the number of a history entry after which the inputs did not change: Dagster asks whether a newer
    version of them came later, and calls the track stale if so.
    """
    tags = {
        DATA_VERSION_TAG: outcome.record.version,
        DATA_VERSION_IS_USER_PROVIDED_TAG: "true",
        CODE_VERSION_TAG: code_version,
        **{get_input_data_version_tag(name): version for name, version in inputs.items()},
        **{get_input_event_pointer_tag(name): str(pointer) for name in inputs},
    }
    return dg.AssetMaterialization(
        asset_key=key, partition=partition, metadata=outcome_metadata(folder, outcome, seconds), tags=tags
    )


def observe(
    context: dg.AssetExecutionContext, key: dg.AssetKey, versions: Mapping[str | None, str], about: str
) -> list[str | None]:
    """Record the data versions of an asset that other steps only look at, by partition, where they are new.

    None as partition stands for an asset without partitions. Returns the partitions that changed.
    """
    known = _observed(context.instance, key, list(versions))
    changed = [partition for partition, version in versions.items() if known.get(partition) != version]
    for partition in changed:
        tags = {DATA_VERSION_TAG: versions[partition], DATA_VERSION_IS_USER_PROVIDED_TAG: "true"}
        context.log_event(
            dg.AssetObservation(asset_key=key, partition=partition, metadata={"content": about}, tags=tags)
        )
    return changed


def _observed(
    instance: dg.DagsterInstance, key: dg.AssetKey, partitions: Sequence[str | None]
) -> Mapping[str | None, str]:
    if partitions == [None]:
        (record,) = instance.fetch_observations(key, limit=1).records or (None,)
        tags = record.asset_observation.tags if record and record.asset_observation else {}
        return {None: tags.get(DATA_VERSION_TAG, "")}
    # One query for all partitions: one for each would take seconds at a thousand tracks.
    found = instance.event_log_storage.get_latest_tags_by_partition(
        key, dg.DagsterEventType.ASSET_OBSERVATION, [DATA_VERSION_TAG], asset_partitions=[p for p in partitions if p]
    )
    return {partition: tags[DATA_VERSION_TAG] for partition, tags in found.items()}


def latest_entry(instance: dg.DagsterInstance) -> int:
    """The number of the newest entry of the history."""
    return instance.event_log_storage.get_maximum_record_id() or 0


def outcome_metadata(folder: Path, outcome: cache.Outcome, seconds: float) -> Metadata:
    """What every materialisation shows: cached or not, seconds, where the files are, and the plain measurements."""
    plain = {name: value for name, value in outcome.record.measured.items() if isinstance(value, (str, int, float))}
    return {
        "cached": dg.MetadataValue.bool(outcome.cached),
        "seconds": dg.MetadataValue.float(round(seconds, 3)),
        "folder": dg.MetadataValue.path(str(folder)),
        **plain,
    }


def table_metadata(frame: pd.DataFrame, table: Table) -> Metadata:
    """Row count, declared columns with their documentation, and a preview of a table."""
    columns = [
        dg.TableColumn(field.name, str(field.type), description=table.docs()[field.name]) for field in table.schema
    ]
    return {
        "dagster/row_count": len(frame),
        "dagster/column_schema": dg.MetadataValue.table_schema(dg.TableSchema(columns=columns)),
        "preview": dg.MetadataValue.md(markdown_table(frame.head(PREVIEW_ROWS))),
    }


def markdown_table(frame: pd.DataFrame, show: Callable[[object], str] = markdown) -> str:
    """A table in Markdown: numbers to two decimals, small ones to three digits, missing values as a dash, lists cut.

    `show` makes text of what stands in the table; on a terminal nothing has to be escaped.
    """

    def cell(value: Any) -> str:
        if isinstance(value, float):
            small = 0 < abs(value) < 0.1
            return "–" if value != value else f"{value:.3g}" if small else f"{value:.2f}"
        if value is None or value is pd.NA:
            return "–"
        text = one_line(value)
        return show(text if len(text) <= 60 else text[:57] + "...")

    lines = ["| " + " | ".join(map(show, frame.columns)) + " |", "|" + "---|" * len(frame.columns)]
    lines += ["| " + " | ".join(cell(value) for value in row) + " |" for row in frame.itertuples(index=False)]
    return "\n".join(lines)


def sentence(text: str) -> str:
    """A sentence of the project's with names in it, as a description that the UI takes for Markdown.

    Logs show descriptions as they are: nothing is escaped where nothing could become a picture, a link or HTML.
    """
    return markdown(text) if _ACTING & set(text) else text


def picture(png: bytes, alt: str) -> dg.MetadataValue:
    """A PNG shown inline in the UI."""
    import base64

    return dg.MetadataValue.md(f"![{markdown(alt)}](data:image/png;base64,{base64.b64encode(png).decode()})")
