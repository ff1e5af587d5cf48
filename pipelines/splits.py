"""`python -m pipelines.splits show|write|redraw`: where tracks are, for others too; a new draw, and what that voids.

How tracks are placed stands in `data.splits`; that they stay there, in `data.placements`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd

from data.artists import load_artists
from data.command import run_command
from data.errors import InputError
from data.files import publish_folder
from data.heard import seen_tracks
from data.layout import Layout
from data.ownership import own
from data.placements import Placements, write_placements
from data.recipe import listing
from data.settings import Settings, load_settings
from data.splits import NAMES, held_out, shared_artists, split_tracks, what_sharing_means
from data.text import say
from models.candidate import candidate_names

NOT_DONE = 1


def main(arguments: Iterable[str] | None = None) -> int:
    """Do what the command line says; returns 0, 1 where a redraw was only shown, 2 for bad input."""
    return run_command(lambda: _run(arguments))


def _run(arguments: Iterable[str] | None) -> int:
    options = _parser().parse_args(None if arguments is None else list(arguments))
    settings = load_settings()
    if options.command == "show":
        return _show(settings)
    if options.command == "write":
        return _write(settings, options.file)
    return _redraw(settings, options.yes)


def _show(settings: Settings) -> int:
    from assets.training_set import read_splits

    frame = read_splits(settings.root)
    for row in frame.sort_values(["split", "track_id"]).itertuples():
        say(f"{row.split:<11} {row.track_id}  ({row.reason})", sys.stdout)
    print("\n" + _counts(frame))
    _say_what_is_shared(frame)
    return 0


def _write(settings: Settings, file: Path) -> int:
    from assets.training_set import placements

    known = placements(settings.root)
    if not known.tracks:
        raise InputError(
            "splits",
            expected="tracks that were placed",
            found="none yet",
            remedy="materialise training_set/splits first, with `make run` or the job `assemble`",
        )
    write_placements(file, known)
    say(f"{len(known.tracks)} tracks written to {file}; ISOLATION_SPLITS={file} goes by it", sys.stdout)
    return 0


def _redraw(settings: Settings, sure: bool) -> int:
    from assets.training_recipes import draw_parameters
    from assets.training_set import placements, read_duplicates, read_manifest

    if settings.splits is not None:
        raise InputError(
            "setting ISOLATION_SPLITS",
            file=settings.splits,
            expected="no given splits where they are to be drawn anew",
            found=str(settings.splits),
            remedy="unset it first",
        )
    layout, manifest = Layout(settings.root), read_manifest(settings.root)
    before, artists = placements(settings.root), load_artists(settings.artists)
    drawn = split_tracks(manifest, read_duplicates(settings.root), **draw_parameters(settings), artists=artists)
    after = Placements().after(drawn, dict(zip(manifest["track_id"], manifest["mixture_sha256"], strict=True)))
    print(f"Drawn anew with seed {settings.seed}: {_counts(drawn)}.")
    _say_what_is_shared(drawn)
    moved = after.moved(before)
    print(f"{len(moved)} tracks change between what is trained on and what is held out{':' if moved else '.'}")
    for sentence in moved:
        say(f"  {sentence}", sys.stdout)
    for sentence in _voided(settings, manifest, drawn, after):
        say(sentence, sys.stdout)
    if not sure:
        print("Nothing was changed. Say --yes to go by this draw from now on.")
        return NOT_DONE
    with own(settings.root, "python -m pipelines.splits redraw"):
        _go_by(layout, before, after)
    print("The next `make run` goes by it.")
    return 0


def _go_by(layout: Layout, before: Placements, after: Placements) -> None:
    if before.tracks:
        kept = layout.placements.with_name(f"splits.before-{datetime.now(UTC):%Y%m%dT%H%M%SZ}.yaml")
        write_placements(kept, before)
        print(f"What held so far is kept in {kept.name}: ISOLATION_SPLITS goes back to it.")
    # The table first: a command that is killed in between changes nothing, for the table is made again as it was.
    with publish_folder(layout.splits):
        pass
    write_placements(layout.placements, after)


def _voided(settings: Settings, manifest: pd.DataFrame, drawn: pd.DataFrame, after: Placements) -> list[str]:
    """What a draw does to the separators that there are, a sentence each."""
    from assets.separators import heard_by_checkpoint
    from assets.training_set import artist_keys, same_recordings

    layout, tracks = Layout(settings.root), held_out(manifest, drawn)
    pairs, artists = same_recordings(settings.root), artist_keys(settings, after)
    places = {name: layout.checkpoint(name) for name in candidate_names(settings.candidates)}
    found = []
    for name, folder in {**places, "the champion": layout.champion}.items():
        if not folder.is_dir():
            continue
        heard = heard_by_checkpoint(settings.root, folder)
        if heard is None:
            found.append(f"{name}: what it was trained on is not recorded; it cannot be scored")
            continue
        seen = sorted(seen_tracks(tracks, heard, pairs, artists))
        if seen:
            found.append(
                f"{name}: it knows {len(seen)} of {len(tracks)} held-out tracks from training ({listing(seen)}); "
                "its scores leave them out until it is trained again"
            )
    return found


def _say_what_is_shared(frame: pd.DataFrame) -> None:
    if meaning := what_sharing_means(shared_artists(frame)):
        say(meaning, sys.stdout)


def _counts(frame: pd.DataFrame) -> str:
    return ", ".join(f"{(frame['split'] == name).sum()} {name}" for name in NAMES)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m pipelines.splits", description="Where tracks are: trained on, validated on, held out."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("show", help="every track, its split, and why")
    write = commands.add_parser("write", help="write where tracks are to a file that ISOLATION_SPLITS can name")
    write.add_argument("file", type=Path, metavar="FILE")
    redraw = commands.add_parser("redraw", help="draw anew, and say what that voids")
    redraw.add_argument("--yes", action="store_true", help="do it; without it the draw is only shown")
    return parser


if __name__ == "__main__":
    sys.exit(main())
