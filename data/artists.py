"""Which names stand for one person or ensemble: read from YAML, the shipped file first, then a user's own.

Splits keep people apart, and datasets name bands, composers or projects: one singer may stand under several names. How
tracks are divided belongs to `data.splits`.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator

from data.entries import read_entries
from data.tracks import track_slug

SHIPPED = Path(__file__).with_name("artists.yaml")

_Text = Annotated[str, Field(min_length=1, pattern=r"\S")]
_TrackName = Annotated[str, Field(pattern=r"^[^/\s]+/[^/]*\S[^/]*$")]


class Artist(BaseModel):
    """One person or ensemble: the names it goes by, tracks of its that name somebody else, and how that is known.

    `names` are spelt as datasets spell artists, `tracks` as `<dataset>/<id or slug>`. A track that is listed belongs
    to this artist and no longer to the artist that its dataset names.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: _Text
    names: tuple[_Text, ...] = ()
    tracks: tuple[_TrackName, ...] = ()
    source: _Text

    @model_validator(mode="after")
    def _joins_something(self) -> Artist:
        if not self.names and not self.tracks:
            raise ValueError("neither names nor tracks: nothing is joined")
        return self

    @property
    def track_ids(self) -> list[str]:
        """The ids of `tracks`, `dataset/slug`."""
        parts = (track.partition("/") for track in self.tracks)
        return [f"{dataset}/{track_slug(name)}" for dataset, _, name in parts]


class Artists:
    """Names and tracks joined to people.

    Entries that share a name are one group, and so are those that share a track: a duo and its singer, and whoever
    else the singer recorded with. The order of entries says nothing.
    """

    def __init__(self, entries: Iterable[Artist] = ()) -> None:
        entries = list(entries)
        self._names = {artist_key(entry.name) for entry in entries}
        # Names and track ids in one dictionary: a key of an artist holds no slash.
        self._leader: dict[str, str] = {}
        for entry in entries:
            first, *others = [*map(artist_key, (entry.name, *entry.names)), *entry.track_ids]
            for other in others:
                self._join(first, other)

    def key(self, track_id: str, artist: str) -> str:
        """The key by which a track's artist is kept apart from others: equal for tracks of the same people."""
        return self._lead(track_id if track_id in self._leader else artist_key(artist))

    def _lead(self, member: str) -> str:
        leader = self._leader.get(member, member)
        while self._leader.get(leader, leader) != leader:
            leader = self._leader[leader]
        return leader

    def _join(self, one: str, other: str) -> None:
        # A name leads, one that an entry is called by before aliases; of several the first in the alphabet, because
        # which one it is must not follow from the order.
        leaders = self._lead(one), self._lead(other)
        first = min(leaders, key=lambda member: ("/" in member, member not in self._names, member))
        self._leader |= dict.fromkeys((one, other, *leaders), first)


def artist_key(artist: str) -> str:
    """An artist's name as compared across datasets: 'Clara Berry And Wooldog' is 'ClaraBerryAndWooldog'."""
    if not any(letter.isalnum() for letter in artist):
        # Nothing is left of '!!!' or '???' once it is spelt in letters, and the two are not the same band.
        return artist.strip().replace("/", "|") or "untitled"
    return track_slug(artist).replace("-", "")


def load_artists(own: Path | None = None) -> Artists:
    """The shipped artists and those of the file `own`. Raises InputError naming the entry and key that is wrong."""
    return Artists(entry for path in artist_files(own) for entry in read_artists(path))


def artist_files(own: Path | None = None) -> list[Path]:
    """The shipped file, and a user's own if there is one."""
    return [SHIPPED, *([own] if own else [])]


def read_artists(path: Path) -> list[Artist]:
    """The entries of one file. Raises InputError naming the entry and key that is wrong."""
    return read_entries(
        path,
        Artist,
        what="artists",
        expected="a YAML list of entries with name, source, and names or tracks (<dataset>/<id>) or both",
        remedy="mend the file, or unset ISOLATION_ARTISTS",
    )
