"""Where every track was once placed: the memory of the splits, in a file that outlives them and can be shared.

The splits go by it, so that no track moves between what is trained on and what is held out because another one came,
went or was renamed. How tracks are placed is not decided here: that is `data.splits`.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Literal

import pandas as pd
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from data.artists import artist_key
from data.errors import InputError
from data.files import publish
from data.yaml_files import read_yaml

_LARGEST = 1 << 27  # bytes: a few hundred for every track that a storage root ever held
_REMEDY = "write one with `python -m pipelines.splits write FILE`, or mend this one"
FORMAT = "deep-audio-isolation splits 1"
PARTS = ("reserved", "test", "validation", "train")  # the first of several that claim a track has it
HELD_OUT = frozenset({"reserved", "test"})


class Placement(BaseModel):
    """A track that was placed: under which names of its artist it was known, and by which audio.

    `artists` are keys as splits compare them, `audio` checksums of its canonical mixture: every one that it ever had.
    `same_as` names tracks whose recording, or what is played in it, it was ever seen to share, also such as were gone.
    `by` is what it was placed with: its artist, or nothing else, where the tracks of its artist stand on all sides.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    track: str = Field(min_length=1)
    split: Literal["reserved", "test", "validation", "train"]
    artists: tuple[str, ...] = ()
    audio: tuple[str, ...] = ()
    same_as: tuple[str, ...] = ()
    by: Literal["artist", "track"] = "artist"
    reason: str = "as given"


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid")

    format: Literal["deep-audio-isolation splits 1"]
    tracks: list[Placement]


@dataclass(frozen=True)
class Placements:
    """Placements by track id."""

    tracks: Mapping[str, Placement] = field(default_factory=dict)

    def of(self, track_ids: Iterable[str], audio: str | None) -> list[Placement]:
        """What is known of a track under any of these ids (its own, and those it is recognised as) or by its audio."""
        found = {name: self.tracks[name] for name in track_ids if name in self.tracks}
        found |= {name: self.tracks[name] for name in self._by_audio.get(audio or "", ())}
        return [found[name] for name in sorted(found)]

    def gone(self, track_ids: Collection[str], audio: Collection[str]) -> dict[str, Placement]:
        """Placed tracks that are neither among these ids nor among this audio, by id."""
        ids, sounds = set(track_ids), set(audio)
        return {n: p for n, p in self.tracks.items() if n not in ids and sounds.isdisjoint(p.audio) and p.audio}

    def parts_of(self, key: str) -> set[str]:
        """The parts in which tracks of an artist were placed."""
        return self._by_artist.get(key, set())

    @property
    def divided(self) -> frozenset[str]:
        """The artists whose tracks were placed one by one, by every name that these were known under."""
        return frozenset(name for each in self.tracks.values() if each.by == "track" for name in each.artists)

    def after(
        self,
        splits: pd.DataFrame,
        audio: Mapping[str, str],
        alike: Mapping[str, Collection[str]] | None = None,
    ) -> Placements:
        """These, and where `splits` (table SPLITS) placed its tracks; `audio` has their checksums by track id.

        `alike` names, for a track, those that it shares a recording with, today or when they were there.

        What is excluded keeps its place from before: it may come back.
        """
        tracks = dict(self.tracks)
        for row in splits.itertuples():
            now = Placement(track=row.track_id, split=row.split, reason=row.reason) if row.split in PARTS else None
            known = tracks.get(row.track_id)
            here = known if known is not None and (now is None or now.split == known.split) else now
            if here is None:
                continue
            apart = "track" in (getattr(row, "by", "artist"), known.by if known else "artist")
            # As the dataset names it and as it is compared today: names that are joined may be parted again.
            names = _with(known.artists if known else (), artist_key(row.artist))
            more = {
                "artists": _with(names, row.artist_key),
                "by": "track" if apart else "artist",
                "audio": _with(known.audio if known else (), audio.get(row.track_id)),
                "same_as": tuple(
                    dict.fromkeys([*(known.same_as if known else ()), *(alike or {}).get(row.track_id, ())])
                ),
            }
            tracks[row.track_id] = here.model_copy(update=more)
        return replace(self, tracks=tracks)

    def alike(self) -> list[tuple[str, str]]:
        """Pairs of tracks that ever shared a recording, as far as that was seen; also where one has changed since."""
        seen = [(name, other) for name, placement in self.tracks.items() for other in placement.same_as]
        return seen + [pair for names in self._by_audio.values() for pair in pairwise(names)]

    def compared_by(self, key: Callable[[str, str], str]) -> Placements:
        """The same with artists as (track id, name) -> `key` compares them today: names may have been joined since."""
        return Placements(
            {
                name: placement.model_copy(update={"artists": tuple({key(name, each) for each in placement.artists})})
                for name, placement in self.tracks.items()
            }
        )

    def contradicted_by(self, splits: pd.DataFrame) -> list[str]:
        """Tracks of `splits` (table SPLITS) that are in use there in another part than they were placed in."""
        known = {name: placement.split for name, placement in self.tracks.items()}
        used = splits[splits["split"].isin(PARTS)]
        return [row.track_id for row in used.itertuples() if known.get(row.track_id, row.split) != row.split]

    def new_among(self, manifest: pd.DataFrame) -> pd.DataFrame:
        """The rows of a manifest whose tracks were never placed, by their id or by their audio."""
        return manifest[[not self.of([row.track_id], row.mixture_sha256) for row in manifest.itertuples()]]

    def moved(self, before: Placements) -> list[str]:
        """Every track that is on another side of the fence than it was `before`, as a sentence."""
        found = []
        for name, now in sorted(self.tracks.items()):
            was = before.tracks.get(name)
            if was is not None and (was.split in HELD_OUT) != (now.split in HELD_OUT):
                found.append(f"{name} was in {was.split} and is in {now.split}")
        return found

    def __post_init__(self) -> None:
        by_audio: dict[str, list[str]] = {}
        by_artist: dict[str, set[str]] = {}
        for name, placement in self.tracks.items():
            for checksum in placement.audio:
                by_audio.setdefault(checksum, []).append(name)
            for artist in placement.artists:
                by_artist.setdefault(artist, set()).add(placement.split)
        object.__setattr__(self, "_by_audio", by_audio)
        object.__setattr__(self, "_by_artist", by_artist)

    _by_audio: Mapping[str, list[str]] = field(init=False, repr=False, compare=False)
    _by_artist: Mapping[str, set[str]] = field(init=False, repr=False, compare=False)


def strongest(parts: Iterable[str]) -> str | None:
    """Of several parts that claim a track the one that has it: held out before validated, validated before trained."""
    claimed = set(parts)
    return next((part for part in PARTS if part in claimed), None)


def audio_of(manifest: pd.DataFrame) -> dict[str, str]:
    """The checksum of every track's canonical mixture, by track id."""
    return dict(zip(manifest["track_id"], manifest["mixture_sha256"], strict=True))


def alike_tracks(duplicates: pd.DataFrame, recognised: Mapping[str, Collection[str]]) -> dict[str, list[str]]:
    """By track, those that it shares a recording with: to be remembered when one of them is gone, or another one."""
    alike = {track: list(others) for track, others in recognised.items()}
    for row in duplicates.dropna(subset="original").itertuples():
        alike.setdefault(row.track_id, []).append(row.original)
        alike.setdefault(row.original, []).append(row.track_id)
    return alike


def placements_version(placements: Placements) -> str:
    """A checksum of where tracks are placed, whatever the file that says so looks like."""
    content = []
    for _, placement in sorted(placements.tracks.items()):
        # Left out where it says nothing, as in files of earlier releases.
        silent = {"reason"} | ({"by"} if placement.by == "artist" else set())
        content.append(placement.model_dump(mode="json", exclude=silent))
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def read_placements(path: Path, *, what: str = "splits", remedy: str = _REMEDY) -> Placements:
    """The placements in a file. Raises InputError for a missing file and for every entry that does not fit.

    A file that is still what it was is not read twice: it is asked for at every turn, and grows with the corpus.
    """
    try:
        status = path.stat()
    except OSError:
        return _read(path, what, remedy, 0, 0)
    return _read(path, what, remedy, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=4)
def _read(path: Path, what: str, remedy: str, mtime_ns: int, size: int) -> Placements:
    expected = (
        f"YAML with `format: {FORMAT}` and `tracks`, each with track, split (one of {', '.join(PARTS)}), "
        "and its artists and audio if they are known"
    )

    def refuse(found: str) -> InputError:
        return InputError(what, file=path, expected=expected, found=found, remedy=remedy)

    content = read_yaml(path, what, expected=expected, remedy=remedy, words=True, largest=_LARGEST)
    if not isinstance(content, dict):
        raise refuse("an empty file" if content is None else f"{content!r:.200}")
    try:
        parsed = _File.model_validate(content)
    except ValidationError as error:
        faults = [f"{'.'.join(map(str, fault['loc'])) or 'file'}: {fault['msg']}" for fault in error.errors()]
        more = f"; and {len(faults) - 5} more" if len(faults) > 5 else ""
        raise refuse("; ".join(faults[:5]) + more) from error
    counts = Counter(placement.track for placement in parsed.tracks)
    if twice := sorted(name for name, count in counts.items() if count > 1):
        raise refuse(f"{', '.join(twice[:5])} more than once")
    return Placements({placement.track: placement for placement in parsed.tracks})


def write_placements(path: Path, placements: Placements) -> None:
    """Write placements to a file, a line a track, whole or not at all."""
    lines = [
        "# In which split every track was placed. Placed tracks stay where they are for the life of a storage root;",
        "# another one goes by this file too where ISOLATION_SPLITS names it.",
        f"format: {FORMAT}",
        "tracks:" if placements.tracks else "tracks: []",
    ]
    for _, placement in sorted(placements.tracks.items()):
        content = placement.model_dump(mode="json", exclude_defaults=True) | {"track": placement.track}
        line = yaml.dump(
            content,
            Dumper=yaml.CSafeDumper,
            default_flow_style=True,
            sort_keys=False,
            allow_unicode=True,
            width=1 << 30,
        )
        lines.append(f"- {line.strip()}")
    with publish(path) as partial:
        partial.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _with(known: tuple[str, ...], one: str | None) -> tuple[str, ...]:
    return known if one is None or one in known else (*known, one)
