"""Tracks: what is known of one, its id and slug, its raw files, and the names of its audio files.

Where audio lies stands in `data.layout`; how the index of a dataset holds its tracks, in `data.sources`.
"""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from data.names import Named, as_it_was, kept, slugs_for
from data.names import track_slug as track_slug
from data.walk import PassedOver

MIXTURE = "mixture.wav"
VOCALS = "vocals.wav"
RECORDING = "recording.npy"  # by which a recording is known again under another name
APART = "//"  # in a name: what comes after it spells nothing, and tells the name from others


@dataclass(frozen=True)
class RawFile:
    """A raw file as it was indexed: bytes, modification time, SHA-256; an absent one has no checksum.

    `path` is what the table holds: the path itself, or where that is no text, one that `place` makes of it again.
    """

    path: str
    size: int
    mtime_ns: int
    sha256: str

    @property
    def place(self) -> Path:
        """Where the file lies."""
        return Path(as_it_was(self.path))

    def stands(self) -> bool:
        """Whether the file still is what was indexed, by size and time; an absent one by being absent."""
        return RawFile.found(self.place, self.sha256) == self

    @staticmethod
    def found(path: Path, sha256: str = "") -> RawFile:
        """The file as it is now, with a checksum that is known otherwise; what is no regular file is absent."""
        try:
            status = path.stat()
        except OSError:
            return RawFile(kept(str(path)), 0, 0, "")
        if not stat.S_ISREG(status.st_mode):
            return RawFile(kept(str(path)), 0, 0, "")
        return RawFile(kept(str(path)), status.st_size, status.st_mtime_ns, sha256)


@dataclass(frozen=True, kw_only=True)
class Track:
    """A track: what its dataset's reader says of it, then what the index adds.

    `name` is what no other track of the dataset has: slugs that two names spell are told apart by it (see
    `data.names`). `files` are the raw files that it is made of, `split` is the dataset's official split ("train",
    "validation", "test") or None where it has none, `labelled_as` the `id` of its rows in the dataset's table of
    labels, `details` what only its reader needs again. The index gives it a `slug`, its partition key, and knows of
    each file what it was (`indexed`, in the order of `files`); it does not hold the name.
    """

    dataset: str
    name: str
    title: str
    artist: str
    licence: str
    files: tuple[Path, ...]
    split: str | None = None
    genre: str = ""
    labelled_as: str = ""
    details: Mapping[str, str] = field(default_factory=dict)
    slug: str = ""
    indexed: tuple[RawFile, ...] = ()

    @property
    def track_id(self) -> str:
        return f"{self.dataset}/{self.slug}"


class Found(list[Track]):
    """The tracks of a source, sorted by slug, no two with one slug; `passed_over` has what might have been one."""

    def __init__(self, tracks: Iterable[Track] = (), passed_over: Iterable[PassedOver] = ()) -> None:
        super().__init__(tracks)
        self.passed_over = list(passed_over)


def found(tracks: Iterable[Track], passed_over: Iterable[PassedOver] = ()) -> Found:
    """What a reader found, each track with a slug of its own.

    Of several tracks with one name the first is taken, the others are passed over.
    """
    taken: dict[str, Track] = {}
    passed = list(passed_over)
    for track in tracks:
        other = taken.setdefault(track.name, track)
        if other is not track:
            passed.append(PassedOver(track.files[0], f"the name of {other.files[0]}, which is taken"))
    return with_slugs(Found(taken.values(), passed))


def with_names(tracks: Sequence[Track], folder: Path) -> Found:
    """What a reader found in `folder` that may have given one name twice: the place tells such tracks apart."""
    if isinstance(tracks, Found):
        return tracks
    claims = Counter(track.name for track in tracks)

    def name(track: Track) -> str:
        place = os.path.relpath(track.files[0], folder)
        return track.name if claims[track.name] == 1 else f"{track.name}{APART}{place}"

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


def named_of(track: Track, audio: Mapping[Path, str] | None = None) -> Named:
    """A track's name as slugs are given to it."""
    return Named(track.name, track_slug(track.name.partition(APART)[0]), (audio or {}).get(track.files[0], ""))
