"""Train, validation, test and reserved tracks, so that no artist and no recording is on two sides, today or ever.

Tracks that none of them may use are `excluded`, with the reason. Where tracks were placed before is kept by
`data.placements`; here it is gone by.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import pandas as pd
import pyarrow as pa

from data.artists import Artists
from data.errors import InputError
from data.placements import HELD_OUT, PARTS, Placement, Placements, strongest
from data.recipe import listing
from data.tables import Table

CODE_VERSION = "3"
EXCLUDED = "excluded"
NAMES = ("train", "validation", "test", "reserved", EXCLUDED)

SPLITS = Table(
    "splits.parquet",
    pa.schema(
        [
            pa.field("track_id", pa.string(), metadata={"doc": "dataset/slug"}),
            pa.field("dataset", pa.string(), metadata={"doc": "dataset the track comes from"}),
            pa.field("artist", pa.string(), metadata={"doc": "artist as the dataset spells it"}),
            pa.field("artist_key", pa.string(), metadata={"doc": "artist as compared: letters and digits only"}),
            pa.field("split", pa.string(), metadata={"doc": "train, validation, test, reserved or excluded"}),
            pa.field("reason", pa.string(), metadata={"doc": "why the track is in that split"}),
            pa.field(
                "by",
                pa.string(),
                metadata={"doc": "artist, or track where the tracks of its artist are placed one by one"},
            ),
        ]
    ),
    later={"by": "artist"},
)

_SMALL_CORPUS_SHARE = 0.2  # of all tracks: at most this much is reserved
_MOST_NAMES = 10  # of artists in a sentence
_OVERSHOOT = 2  # times what a part still lacks: an artist with more tracks is not drawn into it


def split_tracks(
    manifest: pd.DataFrame,
    duplicates: pd.DataFrame,
    *,
    seed: int,
    reserved_tracks: int,
    validation_share: float,
    test_share: float,
    bleed: str = "keep",
    split_by: str = "auto",
    placed: Placements | None = None,
    given: Placements | None = None,
    recognised: Mapping[str, Sequence[str]] | None = None,
    artists: Artists | None = None,
) -> pd.DataFrame:
    """Assign every track of the manifest to one split: a table SPLITS, sorted by track id.

    Where a track is follows from where it was `placed` before, under its id, by its audio, or under the ids that it is
    `recognised` as: it stays there for good. Artists stay together, by whatever names `artists` knows them, and so do
    artists who share a recording: a new
    track goes where its artist is. Where artists who were placed apart turn out to be one, what was held out stays held
    out, and those of their tracks that were trained on are excluded; so are training tracks where the other one was
    validated on. With `given` splits these take the place of what was placed before, and whom they do not name is
    trained on.

    Where tracks are `split_by` "track", they are placed one by one, only copies together, and artists stand on all
    sides; "auto" does so with artists who are too few to leave something in every part. Artists who were divided once
    stay divided, whatever it says: none of their tracks could be moved.

    Artists who are new are drawn, in an order that follows from `seed` and their names. First the reserved tracks, from
    artists with vocals on every track, without official training or validation tracks and without faults. Official
    test and validation tracks keep their part and take their artist's other tracks along. The rest fills what the parts
    lack of their shares, and goes into training; official training tracks do, except for `validation_share` of them
    where the dataset at hand holds no official validation tracks. Where nobody is left to validate on, or to train on,
    artists change between these two: neither was held out.

    Of copies, which `duplicates` names, one is used: an official test track or one that is held out stays, and
    otherwise the original. Last, tracks that errata exclude, or whose vocals hold other instruments where `bleed` is
    "exclude", leave training and validation, never test. Raises InputError where no track is left to train or to
    validate on.
    """
    columns = ["track_id", "dataset", "artist", "official_split", "vocal_activity", "mixture_sha256"]
    key = (artists or Artists()).key
    names = zip(manifest["track_id"], manifest["artist"], strict=True)
    frame = manifest[columns].assign(artist_key=[key(track_id, artist) for track_id, artist in names])
    memory = (given if given is not None else placed or Placements()).compared_by(key)
    known = _known(frame, memory, recognised or {})
    faults, copies = _faults(manifest, bleed), _copies(frame, duplicates, known)

    def split(divided: Collection[str]) -> pd.DataFrame:
        """The splits where the tracks of these artists are placed one by one."""
        by = ["track" if artist in divided else "artist" for artist in frame["artist_key"]]
        table = frame.assign(
            by=by, unit=frame["track_id"].where(frame["artist_key"].isin(divided), frame["artist_key"])
        )
        groups = _grouped(table, duplicates, known, memory, faults, copies, seed)
        parts = {group.name: group.part for group in groups if group.part is not None}
        if given is not None:
            new = (group.name for group in groups if group.part is None)
            parts |= dict.fromkeys(new, ("train", "not named in the given splits"))
        else:
            parts |= _drawn(groups, parts, reserved_tracks, validation_share, test_share)
        places = {
            track.track_id: _place(track, parts[group.name], group.by, faults, copies)
            for group in groups
            for track in group.tracks
        }
        if given is None:
            _exchange(places, groups, validation_share)
        table["split"] = [places[name][0] for name in table["track_id"]]
        table["reason"] = [places[name][1] for name in table["track_id"]]
        return table[SPLITS.names].sort_values("track_id", ignore_index=True)

    tried = []
    for divided in _ways(frame, known, memory, split_by):
        tried.append(split(divided))
        if _parts_filled(tried[-1]) == _ALL_FILLED:
            break
    splits = max(tried, key=_parts_filled)
    for needed in ("train", "validation"):
        if not (splits["split"] == needed).any():
            counts = ", ".join(f"{name} {(splits['split'] == name).sum()}" for name in NAMES)
            raise InputError(
                "splits",
                expected=f"at least one track in {needed}",
                found=f"{len(splits)} tracks of {splits['artist_key'].nunique()} artists: {counts}",
                remedy=_remedy(needed, split_by, validation_share, given is not None, bool(memory.tracks)),
            )
    return splits


_ALL_FILLED = 3


def _parts_filled(splits: pd.DataFrame) -> int:
    """How far splits are from what a whole chain needs: something to train and validate on counts more than scores."""
    parts = set(splits["split"])
    return 2 * ({"train", "validation"} <= parts) + bool(parts & HELD_OUT)


def _ways(
    frame: pd.DataFrame, known: Mapping[str, Sequence[Placement]], memory: Placements, split_by: str
) -> Iterator[Collection[str]]:
    """Which artists may be divided, in the order in which that is tried: as few as possible."""
    again = [any(p.by == "track" for p in known[name]) for name in frame["track_id"]]
    divided = memory.divided | set(frame.loc[again, "artist_key"])
    if split_by != "track":
        yield divided
    if split_by == "auto":
        yield divided | set(frame["artist_key"]) - set(frame.loc[frame["official_split"].notna(), "artist_key"])
    if split_by != "artist":
        yield divided | set(frame["artist_key"])


def _remedy(needed: str, split_by: str, validation_share: float, given: bool, placed: bool) -> str:
    """What helps where a part has no track."""
    if given:
        return f"name tracks of {needed} in the file of ISOLATION_SPLITS, or unset it"
    if needed == "validation" and validation_share == 0:
        return "raise ISOLATION_VALIDATION_SHARE"
    anew = ", or draw anew with `python -m pipelines.splits redraw`" if placed else ""
    if split_by == "artist":
        return (
            "add tracks of more artists, or set ISOLATION_SPLIT_BY=auto, which divides artists who are too few" + anew
        )
    least = "three at least, to train on, to validate on and to test on, beside copies and what is excluded"
    return f"add tracks of any artist: {least}{anew}"


def _known(
    frame: pd.DataFrame, memory: Placements, recognised: Mapping[str, Sequence[str]]
) -> dict[str, list[Placement]]:
    """What is known of each track: under its own id, by its audio, and as what it is recognised."""
    audio = dict(zip(frame["track_id"], frame["mixture_sha256"], strict=True))
    known = {}
    for track_id, sound in audio.items():
        found = memory.of([track_id, *recognised.get(track_id, ())], sound)
        if track_id in memory.tracks:
            # Audio of another track that is still there is a copy, and no sign of a new name: who gives way is decided
            # among copies, and neither takes the other's place.
            found = [p for p in found if p.track == track_id or audio.get(p.track) != sound]
        known[track_id] = found
    return known


class _Track(NamedTuple):
    """A track as far as the splits go by it; `own` is the part in which it was placed, None for a new one."""

    track_id: str
    official: str | None
    sung: bool
    own: str | None
    reason: str


@dataclass(frozen=True)
class _Group:
    """What must not be divided: artists, or `by` track a track with its copies.

    Its tracks, how many of these are no copies, and where they were placed.
    """

    name: str
    tracks: Sequence[_Track]
    size: int
    faulty: bool
    by: str
    part: tuple[str, str] | None

    @property
    def official(self) -> set[str]:
        return {track.official for track in self.tracks if track.official is not None}


def _grouped(
    frame: pd.DataFrame,
    duplicates: pd.DataFrame,
    known: Mapping[str, Sequence[Placement]],
    memory: Placements,
    faults: Mapping[str, str],
    copies: Mapping[str, str],
    seed: int,
) -> list[_Group]:
    """All groups, in the order in which they are drawn."""
    tracks: dict[str, list[_Track]] = {}
    units: dict[str, dict[str, str]] = {}
    for row, name in zip(frame.itertuples(), _groups(frame, duplicates), strict=True):
        found = known[row.track_id]
        own = strongest(placement.split for placement in found)
        reason = next((placement.reason for placement in found if placement.split == own), "")
        official = row.official_split if isinstance(row.official_split, str) else None
        tracks.setdefault(name, []).append(_Track(row.track_id, official, row.vocal_activity > 0, own, reason))
        units.setdefault(name, {})[row.unit] = row.by
    groups = []
    for name in sorted(tracks, key=lambda name: _order(seed, name)):
        members, ids = tracks[name], [track.track_id for track in tracks[name]]
        claims = {track.own for track in members if track.own} | {
            p for unit in units[name] for p in memory.parts_of(unit)
        }
        by = min(units[name].values())  # an artist that somebody else's track goes with is no track
        groups.append(
            _Group(
                name,
                members,
                sum(track not in copies for track in ids),
                any(track in faults for track in ids),
                by,
                _known_part(claims, {track.official for track in members}, by),
            )
        )
    return groups


def _known_part(claims: set[str], official: set[str | None], by: str) -> tuple[str, str] | None:
    """The part that a group has before anything is drawn, and why; None for one that is new."""
    if not claims:
        return None
    prescribed = set() if claims & HELD_OUT else official & {"test", "validation"}
    part = strongest(claims | {str(name) for name in prescribed})
    assert part is not None
    return part, f"official {part} {by}" if part in prescribed else f"where its {_WHAT[by]} was placed"


_WHAT = {"artist": "artist", "track": "recording"}  # what tracks of a group have in common


def _order(seed: int, name: str) -> str:
    """What artists are sorted by: a place of their own for each, whoever else is there."""
    return hashlib.sha256(f"{seed}|{name}".encode()).hexdigest()


def _drawn(
    groups: Sequence[_Group],
    parts: Mapping[str, tuple[str, str]],
    reserved_tracks: int,
    validation_share: float,
    test_share: float,
) -> dict[str, tuple[str, str]]:
    """Where artists go who were never placed."""
    new, assigned = [group for group in groups if group.part is None], dict(parts)

    def tracks(among: Sequence[_Group], *places: str) -> int:
        """How many tracks of these groups are in these parts; in all, without any named."""
        return sum(group.size for group in among if not places or assigned.get(group.name, ("",))[0] in places)

    wanted = min(reserved_tracks, int(tracks(groups) * _SMALL_CORPUS_SHARE)) - tracks(groups, "reserved")
    for group in new:
        free = not (group.official & {"train", "validation"} or group.faulty)
        if free and 0 < group.size <= wanted and all(track.sung for track in group.tracks):
            assigned[group.name] = ("reserved", "drawn for the final evaluation")
            wanted -= group.size
    for official in ("test", "validation"):
        for group in new:
            if group.name not in assigned and official in group.official:
                assigned[group.name] = (official, f"official {official} {group.by}")

    def fill(among: Sequence[_Group], part: str, share: float, total: int) -> None:
        """Draw artists into a part until it has its share of so many tracks."""
        left = [group for group in among if group.name not in assigned and group.size]
        # Two artists are the least that can be divided: one stays for training.
        target = max(1, round(share * total)) if share > 0 and len(left) > 1 else 0
        filled = tracks(among, part)
        # Once there is somebody in a part, an artist who would burst it is left to training.
        fitting = [group for group in left if not filled or group.size <= _OVERSHOOT * (target - filled)]
        for group in fitting[: len(left) - 1]:
            if filled >= target:
                return
            assigned[group.name] = (part, f"drawn by {group.by}")
            filled += group.size

    unsplit, fixed = ([group for group in groups if bool(group.official) is settled] for settled in (False, True))
    total = tracks(unsplit) - tracks(unsplit, "reserved")
    fill(unsplit, "test", test_share, total)
    fill(unsplit, "validation", validation_share, total)
    if not any("validation" in group.official for group in groups if group.size):
        fill(fixed, "validation", validation_share, tracks(fixed) - tracks(fixed, *HELD_OUT))
    for group in new:
        reason = f"official training {group.by}" if group.official else f"drawn by {group.by}"
        assigned.setdefault(group.name, ("train", reason))
    return assigned


def _exchange(places: dict[str, tuple[str, str]], groups: Sequence[_Group], validation_share: float) -> None:
    """Where the last artist to validate on, or to train on, has gone, let others take the place, in `places`."""
    for needed, other, verb in (("validation", "train", "validate"), ("train", "validation", "train")):
        there = {name for name, (part, _) in places.items() if part == other}
        if any(part == needed for part, _ in places.values()) or (needed == "validation" and validation_share == 0):
            continue
        movable = [own for group in groups if (own := [t.track_id for t in group.tracks if t.track_id in there])]
        target = max(1, round(validation_share * len(there))) if needed == "validation" else 1
        for own in movable[: max(0, len(movable) - 1)]:
            if target <= 0:
                break
            places |= dict.fromkeys(own, (needed, f"moved from {other}: nobody else was left to {verb} on"))
            target -= len(own)


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


def _place(
    track: _Track, part: tuple[str, str], by: str, faults: Mapping[str, str], copies: Mapping[str, str]
) -> tuple[str, str]:
    """The split of one track of a group that has this part, and why."""
    if track.track_id in copies:
        return EXCLUDED, copies[track.track_id]
    if track.own in HELD_OUT:
        return str(track.own), track.reason
    if track.own is not None and track.own != part[0] and track.official != "test":
        return EXCLUDED, f"its {_WHAT[by]} is in {part[0]}, while this track was in {track.own}"
    if track.track_id in faults and part[0] in ("train", "validation"):
        return EXCLUDED, faults[track.track_id]
    return part[0], track.reason if track.own == part[0] else part[1]


def _copies(frame: pd.DataFrame, duplicates: pd.DataFrame, known: Mapping[str, Sequence[Placement]]) -> dict[str, str]:
    """Tracks that give way to another one, with the reason; official test tracks and held-out tracks never do."""
    stays = set(frame.loc[frame["official_split"] == "test", "track_id"])
    kept = stays | {track for track, found in known.items() if {p.split for p in found} & HELD_OUT}
    here, reasons = set(frame["track_id"]), {}
    # A karaoke version leaks as a copy does, but it is none: both may be used, on one side.
    for row in duplicates[duplicates["how"] != "accompaniment"].itertuples():
        first, second = row.track_id, row.original
        if not isinstance(second, str) or second not in here:
            # Which track of MUSDB18 it is nobody knows: it may be one that is trained on.
            if first not in stays:
                reasons[first] = f"the recording of a track of MUSDB18 (by {row.how})"
        elif first not in kept:
            reasons[first] = f"the recording of {second} (by {row.how})"
        elif second not in kept:
            reasons[second] = f"the recording of {first} (by {row.how})"
    return reasons


def _groups(frame: pd.DataFrame, duplicates: pd.DataFrame) -> list[str]:
    """What must not be divided: artists, or single tracks, joined where they share a recording."""
    artists = dict(zip(frame["track_id"], frame["unit"], strict=True))
    leader = {artist: artist for artist in artists.values()}

    def lead(artist: str) -> str:
        while leader[artist] != artist:
            artist = leader[artist]
        return artist

    for row in duplicates.itertuples():
        if row.track_id in artists and row.original in artists:
            first, second = sorted((lead(artists[row.track_id]), lead(artists[row.original])))
            leader[second] = first
    return [lead(artist) for artist in frame["unit"]]


def held_out(manifest: pd.DataFrame, splits: pd.DataFrame) -> pd.DataFrame:
    """Manifest rows of the tracks that separators are scored on, test and reserved, with their split."""
    part = splits.loc[splits["split"].isin(["test", "reserved"]), ["track_id", "split"]]
    return manifest.merge(part, on="track_id", validate="one_to_one").sort_values("track_id", ignore_index=True)


def leaks(splits: pd.DataFrame) -> list[str]:
    """Every track that stands twice, and every artist on several sides, as a sentence each; empty where all is well.

    Test and reserved tracks are one side: both are held out. Artists whose tracks are placed one by one may stand on
    several sides (`shared_artists`).
    """
    places: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for row in splits[splits["split"] != EXCLUDED].itertuples():
        together = [("artist", row.artist_key)] if row.by == "artist" else []
        for kind, name in (("track", row.track_id), *together):
            places.setdefault((kind, str(name)), []).append((str(row.track_id), str(row.split)))
    found = []
    for (what, name), stands in sorted(places.items(), key=lambda each: (each[0][0] != "track", each[0][1])):
        parts = {split for _, split in stands}
        sides = {"held out" if what == "artist" and split in HELD_OUT else split for split in parts}
        if len(sides) > 1:
            tracks = ", ".join(sorted(track_id for track_id, _ in stands))
            found.append(f"{what} {name} is in {' and '.join(sorted(parts))}: {tracks}")
    return found


def shared_artists(splits: pd.DataFrame) -> list[str]:
    """The artists of whom some tracks are trained or validated on and others held out, as datasets spell them."""
    used = splits[splits["split"].isin(PARTS)]
    held = used["split"].isin(HELD_OUT)
    both = set(used.loc[held, "artist_key"]) & set(used.loc[~held, "artist_key"])
    return sorted(used[used["artist_key"].isin(both)].drop_duplicates("artist_key")["artist"])


def what_sharing_means(artists: Sequence[str]) -> str:
    """What scores stand for where training and test share these artists, a sentence; empty where they share none."""
    if not artists:
        return ""
    return (
        f"Training and test share artists ({listing(artists, _MOST_NAMES)}): scores say how well songs of these "
        "artists are separated, and are too good for songs of others."
    )


def shared_recordings(splits: pd.DataFrame, duplicates: pd.DataFrame) -> list[str]:
    """Every recording of which two copies are in use, as a sentence each; empty where all is well."""
    used = dict(zip(splits["track_id"], splits["split"], strict=True))
    found = []
    for row in duplicates.itertuples():
        places = used.get(row.track_id, EXCLUDED), used.get(row.original, EXCLUDED)
        if EXCLUDED not in places and places[0] != places[1] and not HELD_OUT.issuperset(places):
            found.append(f"{row.track_id} is in {places[0]}, {row.original} in {places[1]}: the same by {row.how}")
        elif places[0] in ("train", "validation") and row.how == "registry":
            found.append(f"{row.track_id} is in {places[0]}, but MUSDB18 holds the same recording")
    return found


def misused_official(manifest: pd.DataFrame, splits: pd.DataFrame) -> list[str]:
    """Every official test track that is trained or validated on, as a sentence each; empty where all is well."""
    official = set(manifest.loc[manifest["official_split"] == "test", "track_id"])
    used = splits[splits["split"].isin(["train", "validation"]) & splits["track_id"].isin(official)]
    return [f"official test track {row.track_id} is in {row.split}" for row in used.itertuples()]


def misused_faults(manifest: pd.DataFrame, splits: pd.DataFrame) -> list[str]:
    """Every faulty track that is trained or validated on, and every test track taken out, as a sentence each."""
    table = manifest.merge(splits[["track_id", "split"]], on="track_id")
    bad = table[(table["errata_action"] == "exclude") & table["split"].isin(["train", "validation"])]
    lost = table[(table["official_split"] == "test") & (table["split"] == EXCLUDED)]
    return [
        *(f"{row.track_id} is in {row.split}, although: {row.errata}" for row in bad.itertuples()),
        *(f"official test track {row.track_id} was excluded" for row in lost.itertuples()),
    ]
