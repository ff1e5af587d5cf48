"""Tracks stay on the side where they were placed, whatever becomes of the corpus around them."""

from __future__ import annotations

import random

import pandas as pd

from data.errors import InputError
from data.placements import HELD_OUT, Placements
from data.splits import EXCLUDED, leaks, shared_recordings, split_tracks

SETTINGS = {"seed": 0, "reserved_tracks": 3, "validation_share": 0.2, "test_share": 0.2}
HISTORIES = 1000


class Life:
    """A corpus that changes, and its splits after every few changes."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.seed = seed
        self.tracks: dict[str, dict[str, object]] = {}
        self.copies: list[tuple[str, str]] = []
        self.merged: dict[str, str] = {}
        self.gone: dict[str, dict[str, object]] = {}
        self.placed = Placements()
        self.made = 0
        self.sides: dict[str, str] = {}  # by what a track really is, whatever it is called
        for _ in range(self.random.randint(6, 14)):
            self.add()

    def add(self) -> None:
        self.made += 1
        official = self.random.choice([None, None, None, None, "train", "validation", "test"])
        self.tracks[f"own/t{self.made}"] = {
            "real": self.made,
            "artist": f"artist {self.random.randint(0, 12)}",
            "audio": f"a{self.made}",
            "official": official,
            "sung": self.random.random() < 0.8,
        }

    def remove(self) -> None:
        name = self.random.choice(list(self.tracks))
        self.gone[name] = self.tracks.pop(name)

    def restore(self) -> None:
        if self.gone:
            name = self.random.choice(list(self.gone))
            self.tracks[name] = self.gone.pop(name)

    def rename(self) -> None:
        name = self.random.choice(list(self.tracks))
        track = self.tracks.pop(name)
        self.tracks[f"{name}-renamed"] = track | {"artist": f"{track['artist']} renamed"}
        self.touched(f"{name}-renamed", "name")

    def edit(self) -> None:
        """Other audio under the same name."""
        name = self.random.choice(list(self.tracks))
        self.tracks[name]["audio"] = f"edit {self.random.random()}"
        self.touched(name, "audio")

    def touched(self, name: str, what: str) -> None:
        """Other audio under another name, both since anybody looked, is another track for all that can be known."""
        track = self.tracks[name]
        track["touched"] = {what} | track.get("touched", set())  # type: ignore[operator]
        if track["touched"] == {"name", "audio"}:
            self.made += 1
            track["real"] = self.made

    def merge(self) -> None:
        """Two artists turn out to be one."""
        names = sorted({str(track["artist"]) for track in self.tracks.values()})
        one, other = self.random.choice(names), self.random.choice(names)
        for track in self.tracks.values():
            if track["artist"] == other:
                track["artist"] = one

    def copy(self) -> None:
        """A recording is found under a second name."""
        if len(self.tracks) > 1:
            self.copies.append(tuple(self.random.sample(sorted(self.tracks), 2)))  # type: ignore[arg-type]

    def live(self) -> None:
        for _ in range(self.random.randint(1, 3)):
            changes = [self.add, self.add, self.remove, self.restore, self.rename, self.edit, self.merge, self.copy]
            if len(self.tracks) > 3:
                self.random.choice(changes)()
            else:
                self.add()

    def split(self) -> pd.DataFrame:
        manifest = pd.DataFrame(
            {
                "track_id": name,
                "dataset": "own",
                "artist": track["artist"],
                "official_split": track["official"],
                "vocal_activity": 0.5 if track["sung"] else 0.0,
                "mixture_sha256": track["audio"],
                "has_bleed": None,
                "errata": None,
                "errata_action": None,
            }
            for name, track in self.tracks.items()
        )
        self.duplicates = pd.DataFrame(
            [(*pair, "fingerprint") for pair in self.copies if set(pair) <= set(self.tracks)],
            columns=["track_id", "original", "how"],
        )
        splits = split_tracks(manifest, self.duplicates, **SETTINGS | {"seed": self.seed % 3}, placed=self.placed)
        for track in self.tracks.values():
            track["touched"] = set()
        self.placed = self.placed.after(splits, {str(name): str(track["audio"]) for name, track in self.tracks.items()})
        return splits

    def check(self, splits: pd.DataFrame) -> None:
        assert leaks(splits) == []
        assert shared_recordings(splits, self.duplicates) == []
        for row in splits.itertuples():
            track = self.tracks[row.track_id]
            side = "held out" if row.split in HELD_OUT else "excluded" if row.split == EXCLUDED else "trained on"
            before = self.sides.get(str(track["real"]))
            if before is None and side != "excluded":
                self.sides[str(track["real"])] = before = side
            if before == "held out":
                assert side == "held out", f"{row.track_id} was held out and is {side}"
            if before == "trained on" and track["official"] != "test":
                assert side != "held out", f"{row.track_id} was trained on and is held out"


def test_over_a_thousand_histories_no_track_changes_sides() -> None:
    refused = lived = 0
    for seed in range(HISTORIES):
        life = Life(seed)
        for _ in range(3):
            try:
                life.check(life.split())
                lived += 1
            except InputError:
                refused += 1  # nobody left to train or to validate on: told, and nothing is moved
            life.live()
    assert lived > 10 * refused
