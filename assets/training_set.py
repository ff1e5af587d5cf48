"""From normalised tracks to training pairs: manifest, duplicates, splits, loopback, and the checks beside them.

Data versions of these tables are made of what they hold: a new quality flag does not train a separator again.
"""

import filecmp
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import dagster as dg

from assets.lanes import LANES
from assets.recording import (
    OWNERS,
    Metadata,
    markdown_table,
    materialise,
    refusals,
    table_metadata,
    upstream,
    with_metadata,
)
from data import duplicates as copies
from data import loopback as loopback_pairs
from data import manifest as manifests
from data import splits as split_tables
from data.artists import artist_files, load_artists, read_artists
from data.datasets import DATASETS
from data.errata import load_errata
from data.errors import InputError
from data.files import discard, link, publish
from data.heard import Key, people
from data.layout import Layout
from data.loopback import PAIRS
from data.manifest import Corpus, look_at_tracks
from data.placements import PARTS, Placements, placements_version, read_placements, write_placements
from data.quality import QUALITY, RULES
from data.recipe import Recipe, listing
from data.recognition import read_recording, says_something
from data.settings import Quality, Settings
from data.sources import read_index
from data.tables import read_table
from data.text import markdown
from data.tracks import RECORDING

GROUP = "training_set"
MANIFEST = dg.AssetKey([GROUP, "manifest"])
DUPLICATES = dg.AssetKey([GROUP, "duplicates"])
SPLITS = dg.AssetKey([GROUP, "splits"])
LOOPBACK = dg.AssetKey([GROUP, "loopback"])
MADE_OF = {DUPLICATES: (MANIFEST,), SPLITS: (MANIFEST, DUPLICATES), LOOPBACK: (MANIFEST, SPLITS)}
_DATASETS = [lane.dataset.name for lane in LANES]
_PLACES_LOST = (
    "restore it from a backup, or remove it: tracks of the last splits keep their places, those of tracks that are "
    "gone are forgotten"
)
_MOST = 20  # names of tracks in a line of the log


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
    corpus = all_tracks(settings)
    left_out = [f"{track}: {state}" for track, state in sorted(corpus.outdated.items())]
    if left_out:
        names = listing(sorted(corpus.outdated), _MOST)
        context.log.warning(f"{len(left_out)} tracks are left out until they are prepared (again): {names}")
    if not corpus.prepared:
        raise InputError(
            "training_set/manifest",
            expected="at least one normalised track",
            found="none in any dataset" + "".join(f"\n            {line}" for line in left_out[:_MOST]),
            remedy="materialise the normalised assets first; check ISOLATION_MUSDB18 and ISOLATION_MEDLEYDB",
        )

    def work(folder: Path) -> dict[str, Any]:
        errata = load_errata(settings.errata)
        frame, findings = manifests.build_manifest(settings.root, corpus.prepared, errata, settings.quality)
        manifests.MANIFEST.write(folder, frame)
        QUALITY.write(folder, findings)
        return {
            "tracks": len(frame),
            "hours": round(float(frame["duration_s"].sum()) / 3600, 3),
            "flagged_tracks": int(findings["track_id"].nunique()),
        }

    result = materialise(
        context,
        settings.root,
        recipe=manifest_recipe(settings, corpus),
        work=work,
        show=_show_manifest,
        version=manifests.MANIFEST.version_in,
    )
    told = dg.MetadataValue.md("\n\n".join(map(markdown, left_out)) or "none")
    return with_metadata(result, {"left_out_tracks": len(left_out), "left_out": told})


def _show_manifest(folder: Path) -> Metadata:
    frame, findings = manifests.MANIFEST.read(folder), QUALITY.read(folder)
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
    "registry, and all that sound the same, by audio fingerprint; and tracks that share only the accompaniment.",
    kinds={"parquet"},
    code_version=copies.CODE_VERSION,
)
def duplicates(context: dg.AssetExecutionContext, settings: dg.ResourceParam[Settings]) -> dg.MaterializeResult[Any]:
    root = settings.root

    def work(folder: Path) -> dict[str, Any]:
        table = read_manifest(root)
        fingerprints = copies.load_fingerprints(root, table)
        frame = copies.find_duplicates(table, fingerprints, precedence=list(DATASETS))
        copies.DUPLICATES.write(folder, frame)
        compared = sum(map(says_something, fingerprints.values()))
        return {"compared_by_fingerprint": compared} | {how: int((frame["how"] == how).sum()) for how in copies.HOW}

    return materialise(
        context,
        root,
        recipe=duplicates_recipe(settings),
        work=work,
        show=lambda folder: table_metadata(copies.DUPLICATES.read(folder), copies.DUPLICATES),
        version=copies.DUPLICATES.version_in,
    )


@dg.asset(
    key=SPLITS,
    group_name=GROUP,
    owners=OWNERS,
    deps=MADE_OF[SPLITS],
    description="Every track in train, validation, test or reserved, or excluded with the reason. Artists stay "
    "together where there are enough of them (ISOLATION_SPLIT_BY); MUSDB18's official test and validation tracks keep "
    "their part; the reserved tracks are drawn first.",
    kinds={"parquet"},
    code_version=split_tables.CODE_VERSION,
)
def splits(context: dg.AssetExecutionContext, settings: dg.ResourceParam[Settings]) -> dg.MaterializeResult[Any]:
    layout = Layout(settings.root)
    with refusals("training_set/splits"):
        before = placements(settings.root)
        _go_by(context, layout, before)

    def work(folder: Path) -> dict[str, Any]:
        table = read_manifest(settings.root)
        recognised = _recognised(layout, table, before)
        for track, others in recognised.items():
            context.log.info(f"{track} is recognised as {', '.join(others)}, which was placed before and is gone")
        given = given_splits(settings)
        parameters = draw_parameters(settings)
        frame = split_tables.split_tracks(
            table,
            read_duplicates(settings.root),
            **parameters,
            placed=before,
            given=given,
            recognised=recognised,
            artists=load_artists(settings.artists),
        )
        audio = dict(zip(table["track_id"], table["mixture_sha256"], strict=True))
        after = before.after(frame, audio, _alike(read_duplicates(settings.root), recognised))
        for moved in after.moved(before):
            context.log.warning(f"{moved}: scores of separators that were trained before leave it out")
        _keep_recordings(layout, table)
        # Before the table itself: a run that is killed in between finds its own draw again.
        write_placements(layout.placements, after)
        split_tables.SPLITS.write(folder, frame)
        counts = {name: int((frame["split"] == name).sum()) for name in split_tables.NAMES}
        return counts | {"changed_sides": len(after.moved(before))}

    result = materialise(
        context,
        settings.root,
        recipe=splits_recipe(settings),
        work=work,
        show=_show_splits,
        version=split_tables.SPLITS.version_in,
    )
    with refusals("training_set/splits"):
        _remember(context, settings.root)
    return result


def _go_by(context: dg.AssetExecutionContext, layout: Layout, placed: Placements) -> None:
    """Have the splits made again where the file of placements says otherwise: it was restored, or changed by hand."""
    with suppress(InputError):
        frame = split_tables.SPLITS.read(layout.splits)
        other = [row.track_id for row in frame.itertuples() if _contradicts(row, placed)]
        if other:
            context.log.warning(f"{layout.placements} places {listing(other, _MOST)} otherwise: the splits go by it")
            discard(layout.splits)


def _contradicts(row: Any, placed: Placements) -> bool:
    known = placed.tracks.get(row.track_id)
    return known is not None and row.split in PARTS and known.split != row.split


def _remember(context: dg.AssetExecutionContext, root: Path) -> None:
    """Write down again what should stand beside the splits and was lost since they were made."""
    layout, table = Layout(root), read_manifest(root)
    _keep_recordings(layout, table)
    known = read_placements(layout.placements) if layout.placements.is_file() else Placements()
    audio = dict(zip(table["track_id"], table["mixture_sha256"], strict=True))
    after = known.after(read_splits(root), audio)
    if lost := sorted(name for name in after.tracks if name not in known.tracks):
        context.log.warning(
            f"{layout.placements} did not say where {listing(lost, _MOST)} were placed: written from the table of the "
            "splits. Where tracks were placed that are gone by now, only a backup can tell"
        )
        write_placements(layout.placements, after)


def given_splits(settings: Settings) -> Placements | None:
    """The splits that ISOLATION_SPLITS names, if it does. Raises InputError where these cannot be read."""
    return read_placements(settings.splits, what="setting ISOLATION_SPLITS") if settings.splits else None


def placements(root: Path) -> Placements:
    """Where every track was placed so far; from the table of the splits where an earlier version left only that."""
    layout = Layout(root)
    if os.path.lexists(layout.placements):
        return read_placements(layout.placements, remedy=_PLACES_LOST)
    table = split_tables.SPLITS.path(layout.splits)
    if not table.is_file():
        return Placements()
    # Not by its declared columns: it may be an earlier version's.
    manifest = read_table(manifests.MANIFEST.path(layout.manifest))
    audio = dict(zip(manifest["track_id"], manifest["mixture_sha256"], strict=True))
    return Placements().after(read_table(table), audio)


def _recognised(layout: Layout, table: Any, before: Placements) -> dict[str, list[str]]:
    """New tracks that sound like tracks which were placed and are gone: these came back under another name."""
    new = table[[not before.of([row.track_id], row.mixture_sha256) for row in table.itertuples()]]
    gone = before.gone(list(table["track_id"]), list(table["mixture_sha256"])) if len(new) else {}
    prints = {}
    for name, placement in gone.items():
        # One that is not there, or damaged, cannot be compared: nothing else rests on it.
        with suppress(InputError):
            prints[name] = read_recording(layout.recordings / f"{placement.audio[-1]}.npy")
    return copies.recognise(copies.load_fingerprints(layout.root, new), prints) if prints else {}


def _alike(found: Any, recognised: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """By track, those that it shares a recording with: to be remembered when one of them is gone, or another one."""
    alike = {track: list(others) for track, others in recognised.items()}
    for row in found.dropna(subset="original").itertuples():
        alike.setdefault(row.track_id, []).append(row.original)
        alike.setdefault(row.original, []).append(row.track_id)
    return alike


def _keep_recordings(layout: Layout, table: Any) -> None:
    """Keep what every track sounds like, by the checksum of its audio: it may go, and come back under another name."""
    layout.recordings.mkdir(parents=True, exist_ok=True)
    for row in table.itertuples():
        source = (layout.root / row.mixture_path).with_name(RECORDING)
        kept = layout.recordings / f"{row.mixture_sha256}.npy"
        # One file under two names is one damage: what was made again replaces it here too.
        if not (kept.is_file() and filecmp.cmp(source, kept)):
            with publish(kept) as partial:
                link(source, partial)


def _show_splits(folder: Path) -> Metadata:
    frame = split_tables.SPLITS.read(folder)
    excluded = frame.loc[frame["split"] == split_tables.EXCLUDED, ["track_id", "reason"]]
    table = dg.MetadataValue.md(markdown_table(excluded) if len(excluded) else "no track")
    return table_metadata(frame, split_tables.SPLITS) | {"excluded_tracks": table, "shared_artists": sharing(frame)}


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
    def work(folder: Path) -> dict[str, Any]:
        parameters = loopback_parameters(settings)
        frame = loopback_pairs.build_pairs(read_manifest(settings.root), read_splits(settings.root), **parameters)
        PAIRS.write(folder, frame)
        return {kind: int(count) for kind, count in frame["kind"].value_counts().items()}

    return materialise(
        context,
        settings.root,
        recipe=loopback_recipe(settings),
        work=work,
        show=lambda folder: table_metadata(PAIRS.read(folder), PAIRS),
        version=PAIRS.version_in,
    )


@dg.asset_check(
    asset=SPLITS,
    blocking=True,
    name="no_leakage",
    description="No track stands in two splits, and no artist on two sides, except artists whose tracks are placed one "
    "by one because there are too few of them (ISOLATION_SPLIT_BY): these are named.",
)
def no_leakage(settings: dg.ResourceParam[Settings]) -> dg.AssetCheckResult:
    frame = read_splits(settings.root)
    return _verdict(split_tables.leaks(frame), shared_artists=sharing(frame))


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
    pairs = PAIRS.read(Layout(settings.root).loopback)
    wrong = loopback_pairs.misplaced_loopback(pairs, read_splits(settings.root))
    return _verdict([f"{track} has a loopback but is not in training" for track in wrong])


def read_manifest(root: Path) -> Any:
    """The manifest as a DataFrame."""
    return manifests.MANIFEST.read(Layout(root).manifest)


def read_duplicates(root: Path) -> Any:
    """The duplicates table as a DataFrame."""
    return copies.DUPLICATES.read(Layout(root).duplicates)


def same_recordings(root: Path) -> list[tuple[str, str]]:
    """Pairs of tracks that share a recording or what is played in it, tracks that are gone among them."""
    found = read_duplicates(root).dropna(subset="original")
    pairs = list(zip(found["track_id"], found["original"], strict=True))
    return pairs + placements(root).alike()


def read_splits(root: Path) -> Any:
    """The splits table as a DataFrame."""
    return split_tables.SPLITS.read(Layout(root).splits)


def artist_keys(settings: Settings, placed: Placements | None = None) -> Key:
    """By which name artists are compared where a score has to be fair; `placed` where that is to be changed."""
    root, table = settings.root, read_manifest(settings.root)
    today = dict(zip(table["track_id"], table["artist"], strict=True))
    return people(load_artists(settings.artists).key, today, placed or placements(root), same_recordings(root))


def sharing(splits: Any) -> str:
    """What it means where training and test share artists, for people."""
    return split_tables.what_sharing_means(split_tables.shared_artists(splits)) or "none"


def _verdict(problems: Sequence[str], **more: str) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(passed=not problems, metadata={"problems": "\n".join(problems) or "none", **more})


def all_tracks(settings: Settings) -> Corpus:
    """What stands of every track of all datasets."""
    return look_at_tracks(settings, DATASETS.values())


def manifest_recipe(settings: Settings, corpus: Corpus | None = None) -> Recipe:
    """What the manifest is made of: settings, the data version of each prepared track, and what sources say of them."""
    tracks = (corpus or all_tracks(settings)).prepared
    versions = {track_id: track.normalised.version for track_id, track in tracks.items()}
    words = {"sources": manifests.sources_version(settings.root, _DATASETS)}
    return Recipe(manifests.CODE_VERSION, manifest_parameters(settings) | words, versions)


def duplicates_recipe(settings: Settings) -> Recipe:
    """What the duplicates are made of. Raises InputError, like the next two, where an input is missing or damaged."""
    return Recipe(copies.CODE_VERSION, {}, _inputs(settings.root, DUPLICATES))


def splits_recipe(settings: Settings) -> Recipe:
    """What the splits are made of; where tracks were placed before only keeps what they come to as it was."""
    return Recipe(split_tables.CODE_VERSION, split_parameters(settings), _inputs(settings.root, SPLITS))


def loopback_recipe(settings: Settings) -> Recipe:
    """What the training pairs are made of."""
    return Recipe(loopback_pairs.CODE_VERSION, loopback_parameters(settings), _inputs(settings.root, LOOPBACK))


def _inputs(root: Path, key: dg.AssetKey) -> dict[str, str]:
    return {name.path[-1]: upstream(root, name).version for name in MADE_OF[key]}


def manifest_parameters(settings: Settings) -> dict[str, Any]:
    """The settings that the manifest goes by."""
    errata = {track_id: erratum.model_dump() for track_id, erratum in load_errata(settings.errata).items()}
    return {"quality": settings.quality.model_dump(), "errata": errata}


def draw_parameters(settings: Settings) -> dict[str, Any]:
    """The settings by which artists, or their tracks, are drawn that were never placed."""
    return {
        "seed": settings.seed,
        "reserved_tracks": settings.reserved_tracks,
        "validation_share": settings.validation_share,
        "test_share": settings.test_share,
        "bleed": settings.bleed,
        # Left out while it says nothing, as before there was a choice.
        **({} if settings.split_by == "auto" else {"split_by": settings.split_by}),
    }


def split_parameters(settings: Settings) -> dict[str, Any]:
    """The settings that the splits go by."""
    # Read, and not only hashed: a name that is mistyped must not pass for no name at all.
    read = given_splits(settings)
    given = {"given": placements_version(read)} if read is not None else {}
    artists = [entry.model_dump(mode="json") for path in artist_files(settings.artists) for entry in read_artists(path)]
    return draw_parameters(settings) | given | {"artists": Recipe("", {"artists": artists}, {}).fingerprint}


def loopback_parameters(settings: Settings) -> dict[str, Any]:
    """The settings that the loopback goes by."""
    return {
        "seed": settings.seed,
        "vocal_share": settings.loopback_vocal,
        "instrumental_share": settings.loopback_instrumental,
    }


PARAMETERS = {MANIFEST: manifest_parameters, SPLITS: split_parameters, LOOPBACK: loopback_parameters}
RECIPES = {
    MANIFEST: manifest_recipe,
    DUPLICATES: duplicates_recipe,
    SPLITS: splits_recipe,
    LOOPBACK: loopback_recipe,
}
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
