"""From normalised tracks to training pairs: the tables of the training set.

Data versions of these tables are made of what they hold: a new quality flag does not train a separator again. What they
are made of stands in `training_recipes`, how the splits are made in `splitting`, what is checked in `checks`.
"""

import os
from pathlib import Path
from typing import Any

import dagster as dg

from assets.lanes import LANES
from assets.recording import Metadata, markdown_table, materialise, table_metadata, with_metadata
from assets.training_recipes import (
    DUPLICATES,
    LOOPBACK,
    MADE_OF,
    MANIFEST,
    duplicates_recipe,
    loopback_parameters,
    loopback_recipe,
    manifest_recipe,
)
from data import duplicates as copies
from data import loopback as loopback_pairs
from data import manifest as manifests
from data import splits as split_tables
from data.artists import load_artists
from data.datasets import DATASETS
from data.errata import load_errata
from data.errors import InputError
from data.heard import Key, people
from data.layout import Layout
from data.loopback import PAIRS
from data.manifest import Corpus, look_at_tracks
from data.placements import Placements, audio_of, read_placements
from data.quality import QUALITY
from data.recipe import listing
from data.recognition import says_something
from data.settings import Settings
from data.tables import read_table
from data.text import markdown

_PLACES_LOST = (
    "restore it from a backup, or remove it: tracks of the last splits keep their places, those of tracks that are "
    "gone are forgotten"
)
_MOST = 20  # names of tracks in a line of the log


@dg.asset(
    key=MANIFEST,
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
    corpus = _tracks(context, settings)

    def work(folder: Path) -> dict[str, Any]:
        errata = load_errata(settings.errata)
        frame, findings = manifests.build_manifest(settings.root, corpus.prepared, errata, settings.quality)
        manifests.MANIFEST.write(folder, frame)
        QUALITY.write(folder, findings)
        hours, flagged = float(frame["duration_s"].sum()) / 3600, int(findings["track_id"].nunique())
        return {"tracks": len(frame), "hours": round(hours, 3), "flagged_tracks": flagged}

    result = materialise(
        context,
        settings.root,
        recipe=manifest_recipe(settings, corpus),
        work=work,
        show=_show_manifest,
        version=manifests.MANIFEST.version_in,
    )
    told = dg.MetadataValue.md("\n\n".join(map(markdown, corpus.left_out)) or "none")
    return with_metadata(result, {"left_out_tracks": len(corpus.left_out), "left_out": told})


def _tracks(context: dg.AssetExecutionContext, settings: Settings) -> Corpus:
    """What stands of every track. Raises InputError where none is prepared."""
    corpus = look_at_tracks(settings, DATASETS.values())
    if corpus.outdated:
        names = listing(sorted(corpus.outdated), _MOST)
        context.log.warning(f"{len(corpus.outdated)} tracks are left out until they are prepared (again): {names}")
    if not corpus.prepared:
        raise InputError(
            "training_set/manifest",
            expected="at least one normalised track",
            found="none in any dataset" + "".join(f"\n            {line}" for line in corpus.left_out[:_MOST]),
            remedy="materialise the normalised assets first; check ISOLATION_MUSDB18 and ISOLATION_MEDLEYDB",
        )
    return corpus


def _show_manifest(folder: Path) -> Metadata:
    frame, findings = manifests.MANIFEST.read(folder), QUALITY.read(folder)
    known = frame.loc[frame["errata"].notna(), ["track_id", "errata", "errata_action"]]
    return table_metadata(frame, manifests.MANIFEST) | {
        "quality": dg.MetadataValue.md(markdown_table(findings) if len(findings) else "no track is flagged"),
        "errata": dg.MetadataValue.md(markdown_table(known) if len(known) else "none of the tracks"),
    }


@dg.asset(
    key=DUPLICATES,
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
    key=LOOPBACK,
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
    return Placements().after(read_table(table), audio_of(manifest))


ASSETS = [manifest, duplicates, loopback]
