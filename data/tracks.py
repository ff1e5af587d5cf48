"""Tracks: their ids and slugs, and the names of their audio files. Where these lie stands in `data.layout`."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from data.names import Named, slugs_for
from data.names import track_slug as track_slug
from data.walk import PassedOver

MIXTURE = "mixture.wav"
VOCALS = "vocals.wav"
RECORDING = "recording.npy"  # by which a recording is known again under another name
APART = "//"  # in a name: what comes after it spells nothing, and tells the name from others


@dataclass(frozen=True)
class SourceTrack:
    """A track as a dataset's reader found it.

    `slug` is its partition key, `files` the raw files it is made of, `split` the dataset's official split
    ("train", "validation", "test") or None where it has none, `details` what only its reader needs again. `name` is
    what no other track of the dataset has: slugs that two names spell are told apart by it (see `data.names`).
    """

    dataset: str
    slug: str
    title: str
    artist: str
    licence: str
    split: str | None
    files: tuple[Path, ...]
    genre: str = ""
    details: Mapping[str, str] = field(default_factory=dict)
    name: str = ""

    @property
    def track_id(self) -> str:
        return f"{self.dataset}/{self.slug}"


class Found(list[SourceTrack]):
    """The tracks of a source, sorted by slug, no two with one slug; `passed_over` has what might have been one."""

    def __init__(self, tracks: Iterable[SourceTrack] = (), passed_over: Iterable[PassedOver] = ()) -> None:
        super().__init__(tracks)
        self.passed_over = list(passed_over)


def found(tracks: Iterable[SourceTrack], passed_over: Iterable[PassedOver] = ()) -> Found:
    """What a reader found, each track with a slug of its own.

    Of several tracks with one name the first is taken, the others are passed over.
    """
    taken: dict[str, SourceTrack] = {}
    passed = list(passed_over)
    for track in tracks:
        other = taken.setdefault(track.name, track)
        if other is not track:
            passed.append(PassedOver(track.files[0], f"the name of {other.files[0]}, which is taken"))
    return with_slugs(Found(taken.values(), passed))


def with_names(tracks: Sequence[SourceTrack], folder: Path) -> Found:
    """What a reader found in `folder` that may have named no track: such ones have their slugs for names."""
    if isinstance(tracks, Found):
        return tracks
    claims = Counter(track.slug for track in tracks)

    def name(track: SourceTrack) -> str:
        place = os.path.relpath(track.files[0], folder)
        return track.name or (track.slug if claims[track.slug] == 1 else f"{track.slug}{APART}{place}")

    return found(replace(track, name=name(track)) for track in tracks)


def with_slugs(
    tracks: Found, known: Mapping[str, Named] | None = None, audio: Mapping[Path, str] | None = None
) -> Found:
    """The tracks under the slugs that their names have, `known` being those that names were given before.

    `audio` has checksums of files, by which a track is known again whose name is now spelt another way.
    """
    given = slugs_for((named_of(track, audio) for track in tracks), known)
    renamed = [replace(track, slug=given[track.name]) for track in tracks]
    return Found(sorted(renamed, key=lambda track: track.slug), tracks.passed_over)


def named_of(track: SourceTrack, audio: Mapping[Path, str] | None = None) -> Named:
    """A track's name as slugs are given to it."""
    return Named(track.name, track_slug(track.name.partition(APART)[0]), (audio or {}).get(track.files[0], ""))
