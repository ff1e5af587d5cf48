"""Tracks: their ids and slugs, and the names of their audio files. Where these lie stands in `data.layout`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from slugify import slugify

from data.errors import InputError

MIXTURE = "mixture.wav"
VOCALS = "vocals.wav"
RECORDING = "recording.npy"  # by which a recording is known again under another name


@dataclass(frozen=True)
class SourceTrack:
    """A track as a dataset's reader found it.

    `slug` is its partition key, `files` the raw files it is made of, `split` the dataset's official split
    ("train", "validation", "test") or None where it has none, `details` what only its reader needs again.
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

    @property
    def track_id(self) -> str:
        return f"{self.dataset}/{self.slug}"


def track_slug(name: str) -> str:
    """A track's partition key: lower-case ASCII letters, digits and single hyphens."""
    return slugify(name, max_length=120) or "untitled"


def refuse_duplicates(tracks: Iterable[SourceTrack]) -> list[SourceTrack]:
    """The tracks, sorted by slug. Raises InputError where two of them share a slug."""
    found: dict[str, SourceTrack] = {}
    for track in tracks:
        other = found.setdefault(track.slug, track)
        if other is not track:
            raise InputError(
                track.track_id,
                file=track.files[0],
                expected="a name of its own for every track",
                found=f"the same name as {other.files[0]}",
                remedy="rename one of the two",
            )
    return [found[slug] for slug in sorted(found)]
