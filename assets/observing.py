"""What Dagster only looks at, never makes: `raw`, each track's raw side, and `prepared`, all canonical audio.

`raw` is one data version a track, so that one changed file makes that track stale and no other; `prepared` one of all
tracks, because Dagster does not look at a hundred partitions or more one by one.
"""

from collections.abc import Iterator
from typing import Any

import dagster as dg

from assets.partitions import TRACKS
from assets.recording import observe
from data.datasets import Dataset
from data.errors import InputError
from data.manifest import prepared_version
from data.preparation import NORMALISED, raw_version, track_jobs
from data.recipe import listing
from data.settings import Settings

RAW, PREPARED = "raw", "prepared"
_MOST = 20  # names of tracks in a line of the log


def source_keys(dataset: Dataset) -> list[dg.AssetKey]:
    """The assets of a lane that hold what is known of the raw side."""
    return [dg.AssetKey([dataset.name, part]) for part in ("archive", "metadata")[: 1 + (dataset.labels is not None)]]


def observed_assets(dataset: Dataset) -> list[dg.AssetsDefinition]:
    """The two assets of a lane that are looked at."""
    sources = source_keys(dataset)
    raw = dg.AssetSpec(
        [dataset.name, RAW],
        deps=sources,
        description="Per track, its raw files and what its metadata says, as one data version. Looked at whenever "
        f"{' or '.join(key.path[-1] for key in sources)} is materialised.",
        kinds={"file"},
        skippable=True,
    )
    prepared = dg.AssetSpec(
        [dataset.name, PREPARED],
        deps=[[dataset.name, NORMALISED]],
        description="All canonical audio of the dataset as one data version. Looked at whenever tracks are prepared; "
        "the manifest goes by it.",
        kinds={"wav"},
        skippable=True,
    )

    @dg.multi_observable_source_asset(
        name=f"{dataset.name}_look_at_raw", specs=[raw], partitions_def=TRACKS[dataset.name], can_subset=True
    )
    def observe_raw(context: dg.AssetExecutionContext, settings: dg.ResourceParam[Settings]) -> Iterator[Any]:
        look_at_raw(context, dataset, settings)
        yield from ()

    @dg.multi_observable_source_asset(name=f"{dataset.name}_look_at_prepared", specs=[prepared], can_subset=True)
    def observe_prepared(context: dg.AssetExecutionContext, settings: dg.ResourceParam[Settings]) -> Iterator[Any]:
        look_at_prepared(context, dataset, settings)
        yield from ()

    return [observe_raw, observe_prepared]


def look_at_raw(context: dg.AssetExecutionContext, dataset: Dataset, settings: Settings) -> dict[str, Any]:
    """Record which tracks have new raw files or labels, once both tables are there; metadata that names them."""
    try:
        jobs = track_jobs(settings, dataset)
    except InputError:
        return {}  # the other table comes later in this run, and looks then
    versions: dict[str | None, str] = {slug: raw_version(job) for slug, job in jobs.items()}
    key = dg.AssetKey([dataset.name, RAW])
    changed = sorted(str(slug) for slug in observe(context, key, versions, "raw files and metadata"))
    names = f": {listing(changed, _MOST)}" if changed else ""
    context.log.info(f"{dataset.title}: {len(changed)} of {len(versions)} tracks are new or changed{names}")
    return {"changed_tracks": len(changed), "changed": ", ".join(changed) or "none"}


def look_at_prepared(context: dg.AssetExecutionContext, dataset: Dataset, settings: Settings) -> None:
    """Record the data version of all canonical audio of a dataset, where it is new."""
    version = prepared_version(settings, dataset)
    observe(context, dg.AssetKey([dataset.name, PREPARED]), {None: version}, "canonical audio of all tracks")
