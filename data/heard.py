"""What a separator has heard in its training, and which tracks it must therefore not be scored on.

It goes by what the separator was trained on itself, never by today's splits: these may have been others then.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from itertools import pairwise
from pathlib import Path

import pandas as pd
import pyarrow as pa

from data.placements import Placements
from data.tables import Table, column

HEARD = Table(
    "heard.parquet",
    pa.schema(
        [
            column("track_id", pa.string(), "dataset/slug, as it was called then"),
            column("artist", pa.string(), "artist as the dataset spelt it then"),
            column("split", pa.string(), "train, or validation: the epoch that was kept was chosen by it"),
            column("mixture_sha256", pa.string(), "checksum of the canonical mixture"),
        ]
    ),
)

Key = Callable[[str, str], str]
"""(track id, artist as spelt) -> the artist as compared."""


def heard_tracks(pairs: pd.DataFrame, manifest: pd.DataFrame) -> pd.DataFrame:
    """What a training on these pairs (table PAIRS) hears, a row a track: a table HEARD."""
    artists = manifest[["track_id", "artist"]]
    tracks = pairs.drop_duplicates(["track_id", "split"]).merge(artists, on="track_id", how="left")
    return tracks[HEARD.names].sort_values(["track_id", "split"], ignore_index=True)


def heard_by(folder: Path) -> pd.DataFrame | None:
    """What the checkpoint in `folder` has heard (table HEARD); None where an earlier version did not keep it."""
    return HEARD.read(folder) if HEARD.path(folder).is_file() else None


def people(key: Key, artists: Mapping[str, str], placed: Placements, copies: Iterable[tuple[str, str]]) -> Key:
    """Artists as they are compared where a score has to be fair: who may be one person is one.

    Beside what `key` joins, these are names that one track has had, in `artists` (today's, by track id) or when it was
    `placed`, and artists who share a recording (`copies`, pairs of track ids). Of artists whose tracks were placed one
    by one every track stands for itself: that training and test share them is meant, and said.
    """
    names = {track_id: [key(track_id, artist)] for track_id, artist in artists.items()}
    for track_id, placement in placed.tracks.items():
        names.setdefault(track_id, []).extend(key(track_id, artist) for artist in placement.artists)
    same = [pair for keys in names.values() for pair in pairwise(keys)]
    same += [(names[one][0], names[other][0]) for one, other in copies if names.get(one) and names.get(other)]
    divided = {
        name for track_id, placement in placed.tracks.items() if placement.by == "track" for name in names[track_id]
    }
    leader = _clusters(pair for pair in same if divided.isdisjoint(pair))

    def leading(track_id: str, artist: str) -> str:
        own = key(track_id, artist)
        return track_id if own in divided else leader.get(own, own)

    return leading


def seen_tracks(
    tracks: pd.DataFrame, heard: pd.DataFrame, copies: Iterable[tuple[str, str]], key: Key
) -> dict[str, str]:
    """Those of `tracks` (track_id, artist, mixture_sha256) that a separator knows, with the reason.

    It knows a track that it was trained or validated on: by its id, by its audio, as a copy of it (`copies`, pairs of
    track ids, chains included), or by its artist.
    """
    ids = dict(zip(heard["track_id"], heard["split"], strict=True))
    audio = dict(zip(heard["mixture_sha256"], heard["track_id"], strict=True))
    artists = {key(row.track_id, row.artist): row.track_id for row in heard.itertuples() if isinstance(row.artist, str)}
    alike = _clusters(copies)
    known_clusters = {alike[name]: name for name in ids if name in alike}
    found = {}
    for row in tracks.itertuples():
        if row.track_id in ids:
            found[row.track_id] = _verb(ids[row.track_id]) + " it"
        elif (same := audio.get(row.mixture_sha256)) is not None:
            found[row.track_id] = f"{_verb(ids[same])} the same audio, as {same}"
        elif (copy := known_clusters.get(alike.get(row.track_id, ""))) is not None:
            found[row.track_id] = f"{_verb(ids[copy])} the same recording, {copy}"
        elif (own := artists.get(key(row.track_id, row.artist))) is not None:
            found[row.track_id] = f"{_verb(ids[own])} its artist, in {own}"
    return found


def _verb(split: str | None) -> str:
    return "was chosen by" if split == "validation" else "was trained on"


def _clusters(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """The name of the cluster that each track belongs to, where pairs make clusters."""
    leader: dict[str, str] = {}

    def lead(name: str) -> str:
        while leader.setdefault(name, name) != name:
            name = leader[name]
        return name

    for one, other in pairs:
        first, second = sorted((lead(one), lead(other)))
        leader[second] = first
    return {name: lead(name) for name in list(leader)}
