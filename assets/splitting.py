"""Where every track goes: the asset `training_set/splits`, and what stands beside it for the life of a storage root.

How tracks are placed is decided in `data.splits`; that they stay there, in `data.placements`.
"""

import filecmp
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import dagster as dg
import pandas as pd

from assets.recording import Metadata, markdown_table, materialise, refusals, table_metadata
from assets.training_recipes import MADE_OF, SPLITS, draw_parameters, given_splits, splits_recipe
from assets.training_set import placements, read_duplicates, read_manifest, read_splits, sharing
from data.artists import load_artists
from data.duplicates import load_fingerprints, recognise
from data.errors import InputError
from data.files import discard, link, publish
from data.layout import Layout
from data.placements import Placements, alike_tracks, audio_of, read_placements, write_placements
from data.recipe import listing
from data.recognition import read_recording
from data.settings import Settings
from data.splits import CODE_VERSION, EXCLUDED, NAMES, split_tracks
from data.splits import SPLITS as SPLITS_TABLE
from data.tracks import RECORDING

_MOST = 20  # names of tracks in a line of the log


@dg.asset(
    key=SPLITS,
    deps=MADE_OF[SPLITS],
    description="Every track in train, validation, test or reserved, or excluded with the reason. Artists stay "
    "together where there are enough of them (ISOLATION_SPLIT_BY); MUSDB18's official test and validation tracks keep "
    "their part; the reserved tracks are drawn first.",
    kinds={"parquet"},
    code_version=CODE_VERSION,
)
def splits(context: dg.AssetExecutionContext, settings: dg.ResourceParam[Settings]) -> dg.MaterializeResult[Any]:
    with _beside_the_splits(context, settings.root) as before:
        return materialise(
            context,
            settings.root,
            recipe=splits_recipe(settings),
            work=lambda folder: _split(context, settings, before, folder),
            show=_show,
            version=SPLITS_TABLE.version_in,
        )


def _split(context: dg.AssetExecutionContext, settings: Settings, before: Placements, folder: Path) -> dict[str, Any]:
    """Place every track, write the table into `folder` and the placements into the root; how many are where."""
    layout, table, duplicates = Layout(settings.root), read_manifest(settings.root), read_duplicates(settings.root)
    recognised = _recognised(layout, table, before)
    for track, others in recognised.items():
        context.log.info(f"{track} is recognised as {', '.join(others)}, which was placed before and is gone")
    frame = split_tracks(
        table,
        duplicates,
        **draw_parameters(settings),
        placed=before,
        given=given_splits(settings),
        recognised=recognised,
        artists=load_artists(settings.artists),
    )
    after = before.after(frame, audio_of(table), alike_tracks(duplicates, recognised))
    moved = after.moved(before)
    for sentence in moved:
        context.log.warning(f"{sentence}: scores of separators that were trained before leave it out")
    _keep_recordings(layout, table)
    # Before the table itself: a run that is killed in between finds its own draw again.
    write_placements(layout.placements, after)
    SPLITS_TABLE.write(folder, frame)
    return {**{name: int((frame["split"] == name).sum()) for name in NAMES}, "changed_sides": len(moved)}


@contextmanager
def _beside_the_splits(context: dg.AssetExecutionContext, root: Path) -> Iterator[Placements]:
    """Where tracks were placed so far, for the block that places them; what was lost since is written down after it."""
    with refusals("training_set/splits"):
        before = placements(root)
        _go_by(context, Layout(root), before)
    yield before
    with refusals("training_set/splits"):
        _remember(context, root)


def _go_by(context: dg.AssetExecutionContext, layout: Layout, placed: Placements) -> None:
    """Have the splits made again where the file of placements says otherwise: it was restored, or changed by hand."""
    with suppress(InputError):
        other = placed.contradicted_by(SPLITS_TABLE.read(layout.splits))
        if other:
            context.log.warning(f"{layout.placements} places {listing(other, _MOST)} otherwise: the splits go by it")
            discard(layout.splits)


def _remember(context: dg.AssetExecutionContext, root: Path) -> None:
    """Write down again what should stand beside the splits and was lost since they were made."""
    layout, table = Layout(root), read_manifest(root)
    _keep_recordings(layout, table)
    known = read_placements(layout.placements) if layout.placements.is_file() else Placements()
    after = known.after(read_splits(root), audio_of(table))
    if lost := sorted(name for name in after.tracks if name not in known.tracks):
        context.log.warning(
            f"{layout.placements} did not say where {listing(lost, _MOST)} were placed: written from the table of the "
            "splits. Where tracks were placed that are gone by now, only a backup can tell"
        )
        write_placements(layout.placements, after)


def _recognised(layout: Layout, table: pd.DataFrame, before: Placements) -> dict[str, list[str]]:
    """New tracks that sound like tracks which were placed and are gone: these came back under another name."""
    new = before.new_among(table)
    gone = before.gone(list(table["track_id"]), list(table["mixture_sha256"])) if len(new) else {}
    prints = {}
    for name, placement in gone.items():
        # One that is not there, or damaged, cannot be compared: nothing else rests on it.
        with suppress(InputError):
            prints[name] = read_recording(layout.recordings / f"{placement.audio[-1]}.npy")
    return recognise(load_fingerprints(layout.root, new), prints) if prints else {}


def _keep_recordings(layout: Layout, table: pd.DataFrame) -> None:
    """Keep what every track sounds like, by the checksum of its audio: it may go, and come back under another name."""
    layout.recordings.mkdir(parents=True, exist_ok=True)
    for row in table.itertuples():
        source = (layout.root / row.mixture_path).with_name(RECORDING)
        kept = layout.recordings / f"{row.mixture_sha256}.npy"
        # One file under two names is one damage: what was made again replaces it here too.
        if not (kept.is_file() and filecmp.cmp(source, kept)):
            with publish(kept) as partial:
                link(source, partial)


def _show(folder: Path) -> Metadata:
    frame = SPLITS_TABLE.read(folder)
    excluded = frame.loc[frame["split"] == EXCLUDED, ["track_id", "reason"]]
    table = dg.MetadataValue.md(markdown_table(excluded) if len(excluded) else "no track")
    return table_metadata(frame, SPLITS_TABLE) | {"excluded_tracks": table, "shared_artists": sharing(frame)}


ASSETS = [splits]
