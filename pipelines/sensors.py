"""What is watched: one sensor per lane, for sources that change. All start stopped: switch them on in the UI."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import dagster as dg

from assets.lanes import LANES, Lane
from data.errors import InputError
from data.preparation import TrackJob, is_prepared, track_jobs
from data.settings import Settings
from data.sources import source_changed
from data.text import plain
from data.walk import change_times
from pipelines.jobs import ingest, prepare
from pipelines.ranges import partition_ranges, range_tags

_EVERY_S = 60
SETTLED_S = 30.0  # a file that was written to a moment ago may still be being copied


def build_sensor(lane: Lane) -> dg.SensorDefinition:
    """The sensor that finds new and changed tracks of a lane.

    A look at names, sizes and times only. First it has the source indexed again, which registers new tracks; once the
    index is true it has those tracks prepared that are not. What failed is tried again when its files have changed.
    """
    job = prepare[lane.dataset.name]

    @dg.sensor(
        name=f"new_tracks_{lane.dataset.name}",
        jobs=[ingest, job],
        minimum_interval_seconds=_EVERY_S,
        description=f"Finds new and changed tracks of {lane.dataset.title}, registers them and prepares them.",
    )
    def new_tracks(
        context: dg.SensorEvaluationContext, settings: dg.ResourceParam[Settings]
    ) -> Iterator[dg.RunRequest | dg.SkipReason]:
        source = lane.dataset.setting(settings)
        if not Path(source).expanduser().is_dir():
            yield dg.SkipReason(f"{lane.dataset.title} is {source!r}: only a folder can grow")
            return
        folder = Path(source).expanduser().absolute()
        try:
            changed = source_changed(lane.dataset, settings.root, folder)
        except InputError as problem:
            yield dg.SkipReason(str(problem))
            return
        if changed:
            files, folders = change_times(folder, [settings.root])
            # A time that lies ahead is a clock's fault, and no reason to wait for it.
            if any(abs(time.time() - changed_ns / 1e9) <= SETTLED_S for changed_ns in files):
                yield dg.SkipReason(
                    f"files are still being written in {plain(folder)}: looked at again in {_EVERY_S} s"
                )
                return
            yield dg.RunRequest(
                run_key=_key("index", lane, [*changed, str(max([*files, *folders], default=0))]),
                job_name=ingest.name,
                asset_selection=[asset.key for asset in lane.sources],
            )
            return
        try:
            jobs = track_jobs(settings, lane.dataset)
        except InputError as problem:  # labels that are missing, or that an earlier version wrote
            yield dg.SkipReason(f"{problem}\n(run the job `ingest`)")
            return
        waiting = {slug: job for slug, job in jobs.items() if not is_prepared(job)}
        if not waiting:
            yield dg.SkipReason(f"all {len(jobs)} tracks are prepared")
        for partitions in partition_ranges(context.instance.get_dynamic_partitions(lane.tracks), waiting):
            about = [_files(waiting[slug]) for slug in partitions if slug in waiting]
            yield dg.RunRequest(run_key=_key("prepare", lane, about), job_name=job.name, tags=range_tags(partitions))

    return new_tracks


def _files(job: TrackJob) -> str:
    return job.row.slug + "".join(file.sha256 for file in job.row.indexed)


def _key(what: str, lane: Lane, parts: Iterable[str]) -> str:
    """The same work is asked for once: Dagster starts no second run with a key it knows."""
    return f"{what}-{lane.dataset.name}-{hashlib.sha256('|'.join(parts).encode()).hexdigest()[:16]}"


SENSORS = [build_sensor(lane) for lane in LANES]
