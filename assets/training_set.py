"""From normalised tracks to training pairs: manifest, splits, loopback, and the checks that guard against leakage."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import dagster as dg

from assets.lanes import LANES
from assets.recording import OWNERS, folder_of, materialise, table_metadata, upstream
from data import loopback as loopback_pairs
from data import manifest as manifests
from data import splits as split_tables
from data.errors import InputError
from data.settings import Settings
from data.tables import read_table, write_table

GROUP = "training_set"
MANIFEST = dg.AssetKey([GROUP, "manifest"])
SPLITS = dg.AssetKey([GROUP, "splits"])
LOOPBACK = dg.AssetKey([GROUP, "loopback"])


@dg.asset(
    key=MANIFEST,
    group_name=GROUP,
    owners=OWNERS,
    deps=[dg.AssetDep(lane.normalised, partition_mapping=dg.AllPartitionMapping()) for lane in LANES],
    description="One row per normalised track of all datasets: names, licence, levels, vocal activity, checksums.",
    kinds={"parquet"},
    code_version=manifests.CODE_VERSION,
)
def manifest(context: dg.AssetExecutionContext, settings: dg.ResourceParam[Settings]) -> dg.MaterializeResult[Any]:
    records = manifests.normalised_records(settings.root, [lane.dataset.name for lane in LANES])
    if not records:
        raise InputError(
            "training_set/manifest",
            expected="at least one normalised track",
            found="none in any dataset",
            remedy="materialise the normalised assets first; check ISOLATION_MUSDB18 and ISOLATION_MEDLEYDB",
        )

    def work(folder: Path) -> dict[str, Any]:
        frame = manifests.build_manifest(settings.root, records)
        write_table(folder / manifests.MANIFEST_FILE, frame, manifests.MANIFEST)
        return {"tracks": len(frame), "hours": round(float(frame["duration_s"].sum()) / 3600, 3)}

    return materialise(
        context,
        settings.root,
        parameters={},
        inputs={track: record.fingerprint for track, record in records.items()},
        work=work,
        show=lambda folder: table_metadata(read_table(folder / manifests.MANIFEST_FILE), manifests.MANIFEST),
    )


@dg.asset(
    key=SPLITS,
    group_name=GROUP,
    owners=OWNERS,
    deps=[MANIFEST],
    description="Every track in train, validation, test or reserved. Artists stay together; MUSDB18's official test "
    "and validation tracks keep their part; the reserved tracks are drawn first.",
    kinds={"parquet"},
    code_version=split_tables.CODE_VERSION,
)
def splits(context: dg.AssetExecutionContext, settings: dg.ResourceParam[Settings]) -> dg.MaterializeResult[Any]:
    parameters: dict[str, Any] = {
        "seed": settings.seed,
        "reserved_tracks": settings.reserved_tracks,
        "validation_share": settings.validation_share,
        "test_share": settings.test_share,
    }

    def work(folder: Path) -> dict[str, Any]:
        table = read_table(folder_of(settings.root, MANIFEST) / manifests.MANIFEST_FILE, manifests.MANIFEST)
        frame = split_tables.split_tracks(table, **parameters)
        write_table(folder / split_tables.SPLITS_FILE, frame, split_tables.SPLITS)
        return {name: int((frame["split"] == name).sum()) for name in split_tables.NAMES}

    return materialise(
        context,
        settings.root,
        parameters=parameters,
        inputs={"manifest": upstream(settings.root, MANIFEST).fingerprint},
        work=work,
        show=lambda folder: table_metadata(read_table(folder / split_tables.SPLITS_FILE), split_tables.SPLITS),
    )


@dg.asset(
    key=LOOPBACK,
    group_name=GROUP,
    owners=OWNERS,
    deps=[MANIFEST, SPLITS],
    description="The training pairs: originals, and for a share of the training tracks a vocal and an instrumental "
    "loopback. Rows that point at audio; made after the split, in the training set only.",
    kinds={"parquet"},
    code_version=loopback_pairs.CODE_VERSION,
)
def loopback(context: dg.AssetExecutionContext, settings: dg.ResourceParam[Settings]) -> dg.MaterializeResult[Any]:
    parameters: dict[str, Any] = {
        "seed": settings.seed,
        "vocal_share": settings.loopback_vocal,
        "instrumental_share": settings.loopback_instrumental,
    }

    def work(folder: Path) -> dict[str, Any]:
        table = read_table(folder_of(settings.root, MANIFEST) / manifests.MANIFEST_FILE, manifests.MANIFEST)
        frame = loopback_pairs.build_pairs(table, read_splits(settings.root), **parameters)
        write_table(folder / loopback_pairs.PAIRS_FILE, frame, loopback_pairs.PAIRS)
        return {kind: int(count) for kind, count in frame["kind"].value_counts().items()}

    return materialise(
        context,
        settings.root,
        parameters=parameters,
        inputs={name.path[-1]: upstream(settings.root, name).fingerprint for name in (MANIFEST, SPLITS)},
        work=work,
        show=lambda folder: table_metadata(read_table(folder / loopback_pairs.PAIRS_FILE), loopback_pairs.PAIRS),
    )


@dg.asset_check(
    asset=SPLITS, blocking=True, name="no_leakage", description="No track and no artist stands in two splits."
)
def no_leakage(settings: dg.ResourceParam[Settings]) -> dg.AssetCheckResult:
    return _verdict(split_tables.leaks(read_splits(settings.root)))


@dg.asset_check(
    asset=SPLITS,
    blocking=True,
    name="official_test_kept",
    description="No official test track is trained or validated on.",
)
def official_test_kept(settings: dg.ResourceParam[Settings]) -> dg.AssetCheckResult:
    table = read_table(folder_of(settings.root, MANIFEST) / manifests.MANIFEST_FILE, manifests.MANIFEST)
    official = set(table.loc[table["official_split"] == "test", "track_id"])
    frame = read_splits(settings.root)
    used = frame[frame["split"].isin(["train", "validation"]) & frame["track_id"].isin(official)]
    return _verdict([f"official test track {row.track_id} is in {row.split}" for row in used.itertuples()])


@dg.asset_check(
    asset=LOOPBACK,
    additional_deps=[SPLITS],
    blocking=True,
    name="loopback_in_training_only",
    description="Loopback pairs come from training tracks only.",
)
def loopback_in_training_only(settings: dg.ResourceParam[Settings]) -> dg.AssetCheckResult:
    pairs = read_table(folder_of(settings.root, LOOPBACK) / loopback_pairs.PAIRS_FILE, loopback_pairs.PAIRS)
    wrong = loopback_pairs.misplaced_loopback(pairs, read_splits(settings.root))
    return _verdict([f"{track} has a loopback but is not in training" for track in wrong])


def read_splits(root: Path) -> Any:
    """The splits table as a DataFrame."""
    return read_table(folder_of(root, SPLITS) / split_tables.SPLITS_FILE, split_tables.SPLITS)


def _verdict(problems: Sequence[str]) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(passed=not problems, metadata={"problems": "\n".join(problems) or "none"})


ASSETS = [manifest, splits, loopback]
CHECKS = [no_leakage, official_test_kept, loopback_in_training_only]
