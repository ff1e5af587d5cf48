"""Checks of a lane: whether labels could be read, and which tracks are not what they would be made into today."""

from collections.abc import Iterator

import dagster as dg

from assets.recording import upstream
from data.datasets import Dataset
from data.manifest import look_at_tracks, outdated_in
from data.preparation import NORMALISED, STEMS
from data.settings import Settings


def lane_checks(dataset: Dataset) -> list[dg.AssetChecksDefinition]:
    """All checks of one dataset."""
    return [*([_readable(dataset)] if dataset.labels is not None else []), _current(dataset)]


def _readable(dataset: Dataset) -> dg.AssetChecksDefinition:
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


def _current(dataset: Dataset) -> dg.AssetChecksDefinition:
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
        corpus = look_at_tracks(settings, [dataset])
        asked = {key.asset_key.path[-1] for key in context.selected_asset_check_keys}
        for step in sorted(asked):
            found = outdated_in(corpus, step)
            problems = "\n".join(f"{track}: {state}" for track, state in sorted(found.items()))
            yield dg.AssetCheckResult(
                check_name="every_track_current",
                asset_key=[dataset.name, step],
                passed=not found,
                severity=dg.AssetCheckSeverity.WARN,
                metadata={"tracks": len(found), "problems": problems or "none"},
            )

    return every_track_current
