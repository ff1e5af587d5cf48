"""From normalised tracks to training pairs: manifest, duplicates, splits, loopback, and the checks beside them.

Data versions of these tables are made of what they hold: a new quality flag does not train a separator again.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import dagster as dg

from assets.lanes import LANES
from assets.recording import OWNERS, Metadata, folder_of, markdown_table, materialise, table_metadata, upstream
from data import cache
from data import duplicates as copies
from data import loopback as loopback_pairs
from data import manifest as manifests
from data import splits as split_tables
from data.datasets import DATASETS
from data.errata import load_errata
from data.errors import InputError
from data.quality import QUALITY, QUALITY_FILE, RULES
from data.settings import Quality, Settings
from data.sources import read_index
from data.tables import read_table, write_table

GROUP = "training_set"
MANIFEST = dg.AssetKey([GROUP, "manifest"])
DUPLICATES = dg.AssetKey([GROUP, "duplicates"])
SPLITS = dg.AssetKey([GROUP, "splits"])
LOOPBACK = dg.AssetKey([GROUP, "loopback"])
MADE_OF = {DUPLICATES: (MANIFEST,), SPLITS: (MANIFEST, DUPLICATES), LOOPBACK: (MANIFEST, SPLITS)}
_DATASETS = [lane.dataset.name for lane in LANES]


@dg.asset(
    key=MANIFEST,
    group_name=GROUP,
    owners=OWNERS,
    deps=[
        *(dg.AssetDep(lane.key("normalised"), partition_mapping=dg.AllPartitionMapping()) for lane in LANES),
        *(lane.key("prepared") for lane in LANES),
        *(lane.key("archive") for lane in LANES),
    ],
    description="One row per normalised track of all datasets: names, licence, labels, levels, vocal activity, tempo, "
    "checksums, errata and quality flags. Documented Parquet, for use outside of this project too.",
    kinds={"parquet"},
    code_version=manifests.CODE_VERSION,
)
def manifest(context: dg.AssetExecutionContext, settings: dg.ResourceParam[Settings]) -> dg.MaterializeResult[Any]:
    records = prepared_tracks(settings.root)
    if not records:
        raise InputError(
            "training_set/manifest",
            expected="at least one normalised track",
            found="none in any dataset",
            remedy="materialise the normalised assets first; check ISOLATION_MUSDB18 and ISOLATION_MEDLEYDB",
        )

    def work(folder: Path) -> dict[str, Any]:
        errata = load_errata(settings.errata)
        frame, findings = manifests.build_manifest(settings.root, records, errata, settings.quality)
        write_table(folder / manifests.MANIFEST_FILE, frame, manifests.MANIFEST)
        write_table(folder / QUALITY_FILE, findings, QUALITY)
        return {
            "tracks": len(frame),
            "hours": round(float(frame["duration_s"].sum()) / 3600, 3),
            "flagged_tracks": int(findings["track_id"].nunique()),
        }

    return materialise(
        context,
        settings.root,
        parameters=manifest_parameters(settings),
        inputs=manifest_inputs(settings.root, records),
        work=work,
        show=_show_manifest,
        version=cache.BY_CONTENT,
    )


def _show_manifest(folder: Path) -> Metadata:
    frame, findings = read_table(folder / manifests.MANIFEST_FILE), read_table(folder / QUALITY_FILE, QUALITY)
    known = frame.loc[frame["errata"].notna(), ["track_id", "errata", "errata_action"]]
    return table_metadata(frame, manifests.MANIFEST) | {
        "quality": dg.MetadataValue.md(markdown_table(findings) if len(findings) else "no track is flagged"),
        "errata": dg.MetadataValue.md(markdown_table(known) if len(known) else "none of the tracks"),
    }


@dg.asset(
    key=DUPLICATES,
    group_name=GROUP,
    owners=OWNERS,
    deps=MADE_OF[DUPLICATES],
    description="Tracks that are another track's recording: MedleyDB's that MUSDB18 holds too, by the shipped "
    "registry, and all that sound the same, by audio fingerprint.",
    kinds={"parquet"},
    code_version=copies.CODE_VERSION,
)
def duplicates(context: dg.AssetExecutionContext, settings: dg.ResourceParam[Settings]) -> dg.MaterializeResult[Any]:
    root = settings.root

    def work(folder: Path) -> dict[str, Any]:
        table = read_manifest(root)
        fingerprints = copies.load_fingerprints(root, table)
        frame = copies.find_duplicates(table, fingerprints, precedence=list(DATASETS))
        write_table(folder / copies.DUPLICATES_FILE, frame, copies.DUPLICATES)
        compared = sum(len(fingerprint) > 0 for fingerprint in fingerprints.values())
        return {"compared_by_fingerprint": compared} | {how: int((frame["how"] == how).sum()) for how in copies.HOW}

    return materialise(
        context,
        root,
        parameters={},
        inputs=table_inputs(root, DUPLICATES),
        work=work,
        show=lambda folder: table_metadata(read_table(folder / copies.DUPLICATES_FILE), copies.DUPLICATES),
        version=cache.BY_CONTENT,
    )


@dg.asset(
    key=SPLITS,
    group_name=GROUP,
    owners=OWNERS,
    deps=MADE_OF[SPLITS],
    description="Every track in train, validation, test or reserved, or excluded with the reason. Artists stay "
    "together; MUSDB18's official test and validation tracks keep their part; the reserved tracks are drawn first.",
    kinds={"parquet"},
    code_version=split_tables.CODE_VERSION,
)
def splits(context: dg.AssetExecutionContext, settings: dg.ResourceParam[Settings]) -> dg.MaterializeResult[Any]:
    parameters = split_parameters(settings)

    def work(folder: Path) -> dict[str, Any]:
        frame = split_tables.split_tracks(read_manifest(settings.root), read_duplicates(settings.root), **parameters)
        write_table(folder / split_tables.SPLITS_FILE, frame, split_tables.SPLITS)
        return {name: int((frame["split"] == name).sum()) for name in split_tables.NAMES}

    return materialise(
        context,
        settings.root,
        parameters=parameters,
        inputs=table_inputs(settings.root, SPLITS),
        work=work,
        show=_show_splits,
        version=cache.BY_CONTENT,
    )


def _show_splits(folder: Path) -> Metadata:
    frame = read_table(folder / split_tables.SPLITS_FILE)
    excluded = frame.loc[frame["split"] == split_tables.EXCLUDED, ["track_id", "reason"]]
    table = dg.MetadataValue.md(markdown_table(excluded) if len(excluded) else "no track")
    return table_metadata(frame, split_tables.SPLITS) | {"excluded_tracks": table}


@dg.asset(
    key=LOOPBACK,
    group_name=GROUP,
    owners=OWNERS,
    deps=MADE_OF[LOOPBACK],
    description="The training pairs: originals, and for a share of the training tracks a vocal and an instrumental "
    "loopback. Rows that point at audio; made after the split, in the training set only.",
    kinds={"parquet"},
    code_version=loopback_pairs.CODE_VERSION,
)
def loopback(context: dg.AssetExecutionContext, settings: dg.ResourceParam[Settings]) -> dg.MaterializeResult[Any]:
    parameters = loopback_parameters(settings)

    def work(folder: Path) -> dict[str, Any]:
        frame = loopback_pairs.build_pairs(read_manifest(settings.root), read_splits(settings.root), **parameters)
        write_table(folder / loopback_pairs.PAIRS_FILE, frame, loopback_pairs.PAIRS)
        return {kind: int(count) for kind, count in frame["kind"].value_counts().items()}

    return materialise(
        context,
        settings.root,
        parameters=parameters,
        inputs=table_inputs(settings.root, LOOPBACK),
        work=work,
        show=lambda folder: table_metadata(read_table(folder / loopback_pairs.PAIRS_FILE), loopback_pairs.PAIRS),
        version=cache.BY_CONTENT,
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
    table = read_manifest(settings.root)
    official = set(table.loc[table["official_split"] == "test", "track_id"])
    frame = read_splits(settings.root)
    used = frame[frame["split"].isin(["train", "validation"]) & frame["track_id"].isin(official)]
    return _verdict([f"official test track {row.track_id} is in {row.split}" for row in used.itertuples()])


@dg.asset_check(
    asset=SPLITS,
    additional_deps=[DUPLICATES],
    blocking=True,
    name="no_recording_twice",
    description="No recording is used twice under two names, and none that MUSDB18 holds too comes from MedleyDB.",
)
def no_recording_twice(settings: dg.ResourceParam[Settings]) -> dg.AssetCheckResult:
    return _verdict(split_tables.shared_recordings(read_splits(settings.root), read_duplicates(settings.root)))


@dg.asset_check(
    asset=SPLITS,
    blocking=True,
    name="faults_not_trained_on",
    description="Tracks that errata exclude are neither trained nor validated on, and no test track was taken out.",
)
def faults_not_trained_on(settings: dg.ResourceParam[Settings]) -> dg.AssetCheckResult:
    table = read_manifest(settings.root).merge(read_splits(settings.root)[["track_id", "split"]], on="track_id")
    bad = table[(table["errata_action"] == "exclude") & table["split"].isin(["train", "validation"])]
    lost = table[(table["official_split"] == "test") & (table["split"] == split_tables.EXCLUDED)]
    return _verdict(
        [f"{row.track_id} is in {row.split}, although: {row.errata}" for row in bad.itertuples()]
        + [f"official test track {row.track_id} was excluded" for row in lost.itertuples()]
    )


@dg.multi_asset_check(
    name="quality",
    specs=[
        dg.AssetCheckSpec(rule.name, asset=MANIFEST, description=f"By default, {rule.expected(Quality())}.")
        for rule in RULES
    ],
)
def quality(settings: dg.ResourceParam[Settings]) -> Iterator[dg.AssetCheckResult]:
    findings = read_table(folder_of(settings.root, MANIFEST) / QUALITY_FILE, QUALITY)
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


@dg.asset_check(
    asset=MANIFEST,
    name="every_track_prepared",
    description="Every track of every source has canonical audio; those that failed are listed.",
)
def every_track_prepared(settings: dg.ResourceParam[Settings]) -> dg.AssetCheckResult:
    prepared = set(read_manifest(settings.root)["track_id"])
    missing = [
        f"{lane.dataset.name}/{slug}"
        for lane in LANES
        for slug in read_index(settings.root, lane.dataset.name)["slug"]
        if f"{lane.dataset.name}/{slug}" not in prepared
    ]
    return dg.AssetCheckResult(
        passed=not missing,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={"problems": "\n".join(missing) or "none"},
    )


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


def read_manifest(root: Path) -> Any:
    """The manifest as a DataFrame."""
    return read_table(folder_of(root, MANIFEST) / manifests.MANIFEST_FILE, manifests.MANIFEST)


def read_duplicates(root: Path) -> Any:
    """The duplicates table as a DataFrame."""
    return read_table(folder_of(root, DUPLICATES) / copies.DUPLICATES_FILE, copies.DUPLICATES)


def read_splits(root: Path) -> Any:
    """The splits table as a DataFrame."""
    return read_table(folder_of(root, SPLITS) / split_tables.SPLITS_FILE, split_tables.SPLITS)


def _verdict(problems: Sequence[str]) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(passed=not problems, metadata={"problems": "\n".join(problems) or "none"})


def prepared_tracks(root: Path) -> dict[str, cache.Record]:
    """Records of all tracks of all datasets that a manifest would hold now, by track id."""
    return manifests.normalised_records(root, _DATASETS)


def manifest_inputs(root: Path, tracks: Mapping[str, cache.Record]) -> dict[str, str]:
    """What a manifest of these tracks is made of: the data version of each, and of what the sources say of them."""
    versions = {track: record.version for track, record in tracks.items()}
    return versions | {"sources": manifests.sources_version(root, _DATASETS)}


def table_inputs(root: Path, key: dg.AssetKey) -> dict[str, str]:
    """What a table after the manifest is made of. Raises InputError where one of these is missing or was changed."""
    return {name.path[-1]: upstream(root, name).version for name in MADE_OF[key]}


def manifest_parameters(settings: Settings) -> dict[str, Any]:
    """The settings that the manifest goes by."""
    errata = {track_id: erratum.model_dump() for track_id, erratum in load_errata(settings.errata).items()}
    return {"quality": settings.quality.model_dump(), "errata": errata}


def split_parameters(settings: Settings) -> dict[str, Any]:
    """The settings that the splits go by."""
    return {
        "seed": settings.seed,
        "reserved_tracks": settings.reserved_tracks,
        "validation_share": settings.validation_share,
        "test_share": settings.test_share,
        "bleed": settings.bleed,
    }


def loopback_parameters(settings: Settings) -> dict[str, Any]:
    """The settings that the loopback goes by."""
    return {
        "seed": settings.seed,
        "vocal_share": settings.loopback_vocal,
        "instrumental_share": settings.loopback_instrumental,
    }


PARAMETERS = {MANIFEST: manifest_parameters, SPLITS: split_parameters, LOOPBACK: loopback_parameters}
ASSETS = [manifest, duplicates, splits, loopback]
CHECKS = [
    quality,
    every_track_prepared,
    no_leakage,
    no_recording_twice,
    official_test_kept,
    faults_not_trained_on,
    loopback_in_training_only,
]
