"""Train, validation, test and reserved tracks, drawn so that no artist is in two of them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa

from data.errors import InputError
from data.tracks import track_slug

CODE_VERSION = "1"
SPLITS_FILE = "splits.parquet"
NAMES = ("train", "validation", "test", "reserved")

SPLITS = pa.schema(
    [
        pa.field("track_id", pa.string(), metadata={"doc": "<dataset>/<slug>"}),
        pa.field("dataset", pa.string(), metadata={"doc": "dataset the track comes from"}),
        pa.field("artist", pa.string(), metadata={"doc": "artist as the dataset spells it"}),
        pa.field("artist_key", pa.string(), metadata={"doc": "artist as compared: letters and digits only"}),
        pa.field("split", pa.string(), metadata={"doc": "train, validation, test or reserved"}),
        pa.field("reason", pa.string(), metadata={"doc": "why the track is in that split"}),
    ]
)

_SMALL_CORPUS_SHARE = 0.2  # of all tracks: at most this much is reserved


def artist_key(artist: str) -> str:
    """An artist's name as compared across datasets: 'Clara Berry And Wooldog' is 'ClaraBerryAndWooldog'."""
    return track_slug(artist).replace("-", "")


def split_tracks(
    manifest: pd.DataFrame, *, seed: int, reserved_tracks: int, validation_share: float, test_share: float
) -> pd.DataFrame:
    """Assign every track of the manifest to one split: a table with the schema SPLITS, sorted by track id.

    Artists stay together. First the reserved tracks are drawn, from artists with vocals on every track and without
    official training or validation tracks. Official test and validation tracks keep their part and take their
    artist's other tracks along. The rest is drawn by artist with `seed`: tracks of datasets without official splits
    into all three parts; official training tracks into training, except for `validation_share` of them where the
    dataset at hand holds no official validation tracks. Raises InputError where no track is left to train or to
    validate on.
    """
    frame = manifest[["track_id", "dataset", "artist", "official_split", "vocal_activity"]].copy()
    frame["artist_key"] = frame["artist"].map(artist_key)
    rng = np.random.default_rng(seed)
    artists = sorted(frame["artist_key"].unique())
    order = [artists[i] for i in rng.permutation(len(artists))]
    groups = {artist: frame[frame["artist_key"] == artist] for artist in order}
    assigned: dict[str, tuple[str, str]] = {}

    wanted = min(reserved_tracks, int(len(frame) * _SMALL_CORPUS_SHARE))
    for artist, group in groups.items():
        free = not group["official_split"].isin(["train", "validation"]).any()
        if free and (group["vocal_activity"] > 0).all() and len(group) <= wanted:
            assigned[artist] = ("reserved", "drawn for the final evaluation")
            wanted -= len(group)

    for official in ("test", "validation"):
        for artist, group in groups.items():
            if artist not in assigned and (group["official_split"] == official).any():
                assigned[artist] = (official, f"official {official} artist")

    rest = [artist for artist in order if artist not in assigned]
    unsplit = [artist for artist in rest if groups[artist]["official_split"].isna().all()]
    fixed_train = [artist for artist in rest if artist not in unsplit]
    _draw(unsplit, groups, assigned, (("test", test_share), ("validation", validation_share)))
    if not (frame["official_split"] == "validation").any():
        _draw(fixed_train, groups, assigned, (("validation", validation_share),))
    for artist in fixed_train:
        assigned.setdefault(artist, ("train", "official training artist"))

    frame["split"] = frame["artist_key"].map(lambda artist: assigned[artist][0])
    frame["reason"] = frame["artist_key"].map(lambda artist: assigned[artist][1])
    for needed in ("train", "validation"):
        if not (frame["split"] == needed).any():
            counts = ", ".join(f"{name} {(frame['split'] == name).sum()}" for name in NAMES)
            raise InputError(
                "splits",
                expected=f"at least one track in {needed}",
                found=f"{len(frame)} tracks of {len(artists)} artists: {counts}",
                remedy="add tracks of more artists, or change ISOLATION_VALIDATION_SHARE or ISOLATION_SEED",
            )
    return frame[SPLITS.names].sort_values("track_id", ignore_index=True)


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
    for column, what in (("track_id", "track"), ("artist_key", "artist")):
        for name, group in splits.groupby(column):
            parts = sorted(group["split"].unique())
            if len(parts) > 1:
                found.append(f"{what} {name} is in {' and '.join(parts)}: {', '.join(sorted(group['track_id']))}")
    return found
