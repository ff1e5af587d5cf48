"""Checks of the training set: a table of what each asks, and of whom.

What is wrong is found by functions of the tables in `data.splits`, `data.loopback` and `data.quality`.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import dagster as dg
import pandas as pd

from assets.lanes import LANES
from assets.training_recipes import DUPLICATES, LOOPBACK, MANIFEST, SPLITS
from assets.training_set import read_duplicates, read_manifest, read_splits, sharing
from data.layout import Layout
from data.loopback import PAIRS, misplaced_loopback
from data.manifest import unprepared
from data.quality import QUALITY, RULES
from data.settings import Quality, Settings
from data.sources import read_index
from data.splits import leaks, misused_faults, misused_official, shared_recordings


class Tables:
    """The tables of a training set, each read where a check asks for it."""

    def __init__(self, settings: Settings) -> None:
        self._root = settings.root

    @property
    def manifest(self) -> pd.DataFrame:
        return read_manifest(self._root)

    @property
    def duplicates(self) -> pd.DataFrame:
        return read_duplicates(self._root)

    @property
    def splits(self) -> pd.DataFrame:
        return read_splits(self._root)

    @property
    def pairs(self) -> pd.DataFrame:
        return PAIRS.read(Layout(self._root).loopback)

    @property
    def indexed(self) -> list[str]:
        """The ids of all tracks of all sources."""
        names = [lane.dataset.name for lane in LANES]
        return [f"{name}/{slug}" for name in names for slug in read_index(self._root, name)["slug"]]


class Check(NamedTuple):
    """A check of an asset: what it says of it, and the problems that it finds, a sentence each.

    One that is `blocking` keeps what comes after from being made; any other warns. `also` is another asset it reads,
    `told` what else it says, by name.
    """

    name: str
    asset: dg.AssetKey
    description: str
    problems: Callable[[Tables], list[str]]
    blocking: bool = True
    also: tuple[dg.AssetKey, ...] = ()
    told: Callable[[Tables], dict[str, str]] = lambda _: {}


TABLE = (
    Check(
        "every_track_prepared",
        MANIFEST,
        "Every track of every source has canonical audio; those that failed are listed.",
        lambda tables: unprepared(tables.indexed, tables.manifest),
        blocking=False,
    ),
    Check(
        "no_leakage",
        SPLITS,
        "No track stands in two splits, and no artist on two sides, except artists whose tracks are placed one by one "
        "because there are too few of them (ISOLATION_SPLIT_BY): these are named.",
        lambda tables: leaks(tables.splits),
        told=lambda tables: {"shared_artists": sharing(tables.splits)},
    ),
    Check(
        "no_recording_twice",
        SPLITS,
        "No recording is used twice under two names, and none that MUSDB18 holds too comes from MedleyDB.",
        lambda tables: shared_recordings(tables.splits, tables.duplicates),
        also=(DUPLICATES,),
    ),
    Check(
        "official_test_kept",
        SPLITS,
        "No official test track is trained or validated on.",
        lambda tables: misused_official(tables.manifest, tables.splits),
    ),
    Check(
        "faults_not_trained_on",
        SPLITS,
        "Tracks that errata exclude are neither trained nor validated on, and no test track was taken out.",
        lambda tables: misused_faults(tables.manifest, tables.splits),
    ),
    Check(
        "loopback_in_training_only",
        LOOPBACK,
        "Loopback pairs come from training tracks only.",
        lambda tables: [
            f"{track} has a loopback but is not in training"
            for track in misplaced_loopback(tables.pairs, tables.splits)
        ],
        also=(SPLITS,),
    ),
)


def build_check(check: Check) -> dg.AssetChecksDefinition:
    """A row of the table as Dagster wants it."""

    @dg.asset_check(
        asset=check.asset,
        additional_deps=check.also,
        blocking=check.blocking,
        name=check.name,
        description=check.description,
    )
    def ask(settings: dg.ResourceParam[Settings]) -> dg.AssetCheckResult:
        tables = Tables(settings)
        problems = check.problems(tables)
        severity = dg.AssetCheckSeverity.ERROR if check.blocking else dg.AssetCheckSeverity.WARN
        told = {"problems": "\n".join(problems) or "none", **check.told(tables)}
        return dg.AssetCheckResult(passed=not problems, severity=severity, metadata=told)

    return ask


@dg.multi_asset_check(
    name="quality",
    specs=[
        dg.AssetCheckSpec(rule.name, asset=MANIFEST, description=f"By default, {rule.expected(Quality())}.")
        for rule in RULES
    ],
)
def quality(settings: dg.ResourceParam[Settings]) -> Iterator[dg.AssetCheckResult]:
    findings = QUALITY.read(Layout(settings.root).manifest)
    for rule in RULES:
        broken = findings[findings["rule"] == rule.name]
        yield dg.AssetCheckResult(
            check_name=rule.name,
            asset_key=MANIFEST,
            passed=broken.empty,
            severity=dg.AssetCheckSeverity.ERROR if rule.severity == "error" else dg.AssetCheckSeverity.WARN,
            metadata={
                "tracks": len(broken),
                "expected": rule.expected(settings.quality),
                "problems": "\n".join(f"{row.track_id}: {row.found}" for row in broken.itertuples()) or "none",
            },
        )


CHECKS = [quality, *map(build_check, TABLE)]
