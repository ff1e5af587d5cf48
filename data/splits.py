"""Train, validation, test and reserved tracks, drawn so that no artist and no recording is in two of them.

Tracks that none of them may use are `excluded`, with the reason.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa

from data.artists import artist_key
from data.errors import InputError

CODE_VERSION = "2"
SPLITS_FILE = "splits.parquet"
EXCLUDED = "excluded"
NAMES = ("train", "validation", "test", "reserved", EXCLUDED)

SPLITS = pa.schema(
    [
        pa.field("track_id", pa.string(), metadata={"doc": "dataset/slug"}),
        pa.field("dataset", pa.string(), metadata={"doc": "dataset the track comes from"}),
        pa.field("artist", pa.string(), metadata={"doc": "artist as the dataset spells it"}),
        pa.field("artist_key", pa.string(), metadata={"doc": "artist as compared: letters and digits only"}),
        pa.field("split", pa.string(), metadata={"doc": "train, validation, test, reserved or excluded"}),
        pa.field("reason", pa.string(), metadata={"doc": "why the track is in that split"}),
    ]
)

_SMALL_CORPUS_SHARE = 0.2  # of all tracks: at most this much is reserved


def split_tracks(
    manifest: pd.DataFrame,
    duplicates: pd.DataFrame,
    *,
    seed: int,
    reserved_tracks: int,
    validation_share: float,
    test_share: float,
    bleed: str = "keep",
) -> pd.DataFrame:
    """Assign every track of the manifest to one split: a table with the schema SPLITS, sorted by track id.

    A track that `duplicates` calls a copy is excluded. Artists stay together, and so do artists who share a recording.
    First the reserved tracks are drawn, from artists with vocals on every track, without official training or
    validation tracks and without faults. Official test and validation tracks keep their part and take their artist's
    other tracks along. The rest is drawn by artist with `seed`: tracks of datasets without official splits into all
    three parts; official training tracks into training, except for `validation_share` of them where the dataset at
    hand holds no official validation tracks. Last, tracks that errata exclude, or whose vocals hold other instruments
    where `bleed` is "exclude", leave training and validation, never test. Raises InputError where no track is left to
    train or to validate on.
    """
    columns = ["track_id", "dataset", "artist", "official_split", "vocal_activity"]
    frame = manifest[columns].assign(artist_key=manifest["artist"].map(artist_key))
    faults, copies = _faults(manifest, bleed), _copies(frame, duplicates)
    frame["group"] = _groups(frame, duplicates)
    usable = frame[~frame["track_id"].isin(copies)]
    rng = np.random.default_rng(seed)
    names = sorted(usable["group"].unique())
    order = [names[i] for i in rng.permutation(len(names))]
    groups = {name: usable[usable["group"] == name] for name in order}
    assigned: dict[str, tuple[str, str]] = {}

    wanted = min(reserved_tracks, int(len(usable) * _SMALL_CORPUS_SHARE))
    for name, group in groups.items():
        free = not (group["official_split"].isin(["train", "validation"]) | group["track_id"].isin(faults)).any()
        if free and (group["vocal_activity"] > 0).all() and len(group) <= wanted:
            assigned[name] = ("reserved", "drawn for the final evaluation")
            wanted -= len(group)

    for official in ("test", "validation"):
        for name, group in groups.items():
            if name not in assigned and (group["official_split"] == official).any():
                assigned[name] = (official, f"official {official} artist")

    rest = [name for name in order if name not in assigned]
    unsplit = [name for name in rest if groups[name]["official_split"].isna().all()]
    fixed_train = [name for name in rest if name not in unsplit]
    _draw(unsplit, groups, assigned, (("test", test_share), ("validation", validation_share)))
    if not (usable["official_split"] == "validation").any():
        _draw(fixed_train, groups, assigned, (("validation", validation_share),))
    for name in fixed_train:
        assigned.setdefault(name, ("train", "official training artist"))

    placed = [
        _place(faults.get(row.track_id), copies.get(row.track_id), assigned.get(row.group))
        for row in frame.itertuples(index=False)
    ]
    frame["split"], frame["reason"] = [place[0] for place in placed], [place[1] for place in placed]
    for needed in ("train", "validation"):
        if not (frame["split"] == needed).any():
            counts = ", ".join(f"{name} {(frame['split'] == name).sum()}" for name in NAMES)
            raise InputError(
                "splits",
                expected=f"at least one track in {needed}",
                found=f"{len(frame)} tracks of {len(names)} artists: {counts}",
                remedy="add tracks of more artists, or change ISOLATION_VALIDATION_SHARE or ISOLATION_SEED",
            )
    return frame[SPLITS.names].sort_values("track_id", ignore_index=True)


def _faults(manifest: pd.DataFrame, bleed: str) -> dict[str, str]:
    """Tracks that must not be trained on, with the reason."""
    faults = {}
    if bleed == "exclude":
        # Where nothing sings, the target is silence, into which nothing bleeds.
        heard = manifest["has_bleed"].isin([True]) & (manifest["vocal_activity"] > 0)
        reason = "other instruments bleed into the vocals (ISOLATION_BLEED)"
        faults = dict.fromkeys(manifest.loc[heard, "track_id"], reason)
    named = manifest[manifest["errata_action"] == "exclude"]
    return faults | {row.track_id: f"errata: {row.errata}" for row in named.itertuples()}


def _place(fault: str | None, original: str | None, assigned: tuple[str, str] | None) -> tuple[str, str]:
    if original is not None or assigned is None:
        return EXCLUDED, original or "a copy"
    if fault and assigned[0] in ("train", "validation"):
        return EXCLUDED, fault
    return assigned


def _copies(frame: pd.DataFrame, duplicates: pd.DataFrame) -> dict[str, str]:
    """Tracks that give way to another one, with the reason; official test tracks never do."""
    kept = set(frame.loc[frame["official_split"] == "test", "track_id"])
    reasons = {}
    for row in duplicates.itertuples():
        if row.track_id not in kept:
            original = row.original if isinstance(row.original, str) else "a track of MUSDB18"
            reasons[row.track_id] = f"the recording of {original} (by {row.how})"
    return reasons


def _groups(frame: pd.DataFrame, duplicates: pd.DataFrame) -> list[str]:
    """What must not be divided: artists, joined where they share a recording."""
    artists = dict(zip(frame["track_id"], frame["artist_key"], strict=True))
    leader = {artist: artist for artist in artists.values()}

    def lead(artist: str) -> str:
        while leader[artist] != artist:
            artist = leader[artist]
        return artist

    for row in duplicates.itertuples():
        if row.track_id in artists and row.original in artists:
            first, second = sorted((lead(artists[row.track_id]), lead(artists[row.original])))
            leader[second] = first
    return [lead(artist) for artist in frame["artist_key"]]


def _draw(
    artists: list[str],
    groups: dict[str, pd.DataFrame],
    assigned: dict[str, tuple[str, str]],
    shares: tuple[tuple[str, float], ...],
) -> None:
    """Fill each part with artists up to its share of the tracks; what remains goes to training."""
    total = sum(len(groups[artist]) for artist in artists)
    waiting = list(artists)
    for part, share in shares:
        # Two artists are the least that can be divided: one stays for training.
        target = max(1, round(share * total)) if share > 0 and len(waiting) > 1 else 0
        filled = 0
        while waiting and filled < target:
            artist = waiting.pop(0)
            assigned[artist] = (part, "drawn by artist")
            filled += len(groups[artist])
    for artist in waiting:
        assigned[artist] = ("train", "drawn by artist")


def held_out(manifest: pd.DataFrame, splits: pd.DataFrame) -> pd.DataFrame:
    """Manifest rows of the tracks that separators are scored on, test and reserved, with their split."""
    part = splits.loc[splits["split"].isin(["test", "reserved"]), ["track_id", "split"]]
    return manifest.merge(part, on="track_id", validate="one_to_one").sort_values("track_id", ignore_index=True)


def leaks(splits: pd.DataFrame) -> list[str]:
    """Every track or artist that stands in more than one split, as a sentence each; empty where all is well."""
    found = []
    splits = splits[splits["split"] != EXCLUDED]
    for column, what in (("track_id", "track"), ("artist_key", "artist")):
        for name, group in splits.groupby(column):
            parts = sorted(group["split"].unique())
            if len(parts) > 1:
                found.append(f"{what} {name} is in {' and '.join(parts)}: {', '.join(sorted(group['track_id']))}")
    return found


def shared_recordings(splits: pd.DataFrame, duplicates: pd.DataFrame) -> list[str]:
    """Every recording of which two copies are in use, as a sentence each; empty where all is well."""
    used = dict(zip(splits["track_id"], splits["split"], strict=True))
    found = []
    for row in duplicates.itertuples():
        places = used.get(row.track_id, EXCLUDED), used.get(row.original, EXCLUDED)
        if EXCLUDED not in places and places[0] != places[1]:
            found.append(f"{row.track_id} is in {places[0]}, its copy {row.original} in {places[1]} (by {row.how})")
        elif places[0] in ("train", "validation") and row.how == "registry":
            found.append(f"{row.track_id} is in {places[0]}, but MUSDB18 holds the same recording")
    return found
