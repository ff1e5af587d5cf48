"""Tracks stay on the side where they were placed, whatever becomes of the corpus around them."""

from __future__ import annotations

import random
from pathlib import Path

import pandas as pd
import pytest

from data.duplicates import DUPLICATES
from data.errors import InputError
from data.placements import HELD_OUT, Placement, Placements, alike_tracks, read_placements, write_placements
from data.splits import EXCLUDED, leaks, shared_artists, shared_recordings, split_tracks

SETTINGS = {"seed": 0, "reserved_tracks": 3, "validation_share": 0.2, "test_share": 0.2}
HISTORIES = 1000
HISTORIES_OF_FEW = 120


class Life:
    """A corpus that changes, and its splits after every few changes."""

    def __init__(self, seed: int, artists: int = 13) -> None:
        self.random = random.Random(seed)
        self.seed = seed
        self.artists = artists
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
            "artist": f"artist {self.random.randint(0, self.artists - 1)}",
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
        divided = set(splits.loc[splits["by"] == "track", "artist_key"])
        assert divided.isdisjoint(splits.loc[splits["by"] == "artist", "artist_key"])
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


def test_over_histories_of_one_to_three_artists_no_track_changes_sides_and_no_copy_crosses_them() -> None:
    refused = divided = 0
    for seed in range(HISTORIES_OF_FEW):
        life = Life(seed, artists=1 + seed % 3)
        for _ in range(4):
            before = life.placed.divided
            try:
                splits = life.split()
                life.check(splits)
                divided += bool(shared_artists(splits))
                assert before <= life.placed.divided
            except InputError:
                refused += 1
            life.live()
    assert divided > 2 * HISTORIES_OF_FEW
    assert refused < HISTORIES_OF_FEW / 10


def placed(**parts: str) -> Placements:
    return Placements(
        {
            f"own/{name}": Placement.model_validate(
                {"track": f"own/{name}", "split": part, "artists": (name,), "audio": (f"audio {name}",)}
            )
            for name, part in parts.items()
        }
    )


def corpus(*rows: tuple[str, str, str]) -> pd.DataFrame:
    """A manifest of (slug, artist, audio) rows of songs, and enough others to train and validate on."""
    others = [(f"other{number}", f"other {number}", f"other {number}") for number in range(12)]
    return pd.DataFrame(
        {
            "track_id": f"own/{slug}",
            "dataset": "own",
            "artist": artist,
            "official_split": None,
            "vocal_activity": 0.5,
            "mixture_sha256": audio,
            "has_bleed": None,
            "errata": None,
            "errata_action": None,
        }
        for slug, artist, audio in [*rows, *others]
    )


def where(splits: pd.DataFrame, slug: str) -> str:
    return str(splits.set_index("track_id").loc[f"own/{slug}", "split"])


NO_COPIES = pd.DataFrame(columns=DUPLICATES.names)


def test_a_track_is_known_again_by_its_audio_under_another_name_of_song_and_artist() -> None:
    table = corpus(("new-name", "New Artist", "audio a"))
    for part in ("reserved", "test", "validation", "train"):
        assert where(split_tracks(table, NO_COPIES, **SETTINGS, placed=placed(a=part)), "new-name") == part


def test_a_new_song_goes_where_its_artist_is_even_if_all_other_songs_are_gone() -> None:
    for part in ("reserved", "test", "validation", "train"):
        splits = split_tracks(corpus(("x", "a", "new")), NO_COPIES, **SETTINGS, placed=placed(a=part))
        assert where(splits, "x") == part


def test_of_artists_who_turn_out_to_be_one_the_held_out_tracks_stay_and_the_others_leave_training() -> None:
    table = corpus(("a", "both", "audio a"), ("b", "both", "audio b"))
    splits = split_tracks(table, NO_COPIES, **SETTINGS, placed=placed(a="reserved", b="train")).set_index("track_id")
    assert splits.loc["own/a", "split"] == "reserved"
    assert splits.loc["own/b", ["split", "reason"]].tolist() == [
        EXCLUDED,
        "its artist is in reserved, while this track was in train",
    ]


def test_a_held_out_track_does_not_give_way_to_a_copy_that_came_later() -> None:
    table = corpus(("a", "a", "audio a"), ("earlier-name", "z", "new"))
    copies = pd.DataFrame([("own/a", "own/earlier-name", "fingerprint")], columns=["track_id", "original", "how"])
    splits = split_tracks(table, copies, **SETTINGS, placed=placed(a="test"))
    assert (where(splits, "a"), where(splits, "earlier-name")) == ("test", EXCLUDED)


def test_given_splits_are_gone_by_and_whom_they_do_not_name_is_trained_on(tmp_path: Path) -> None:
    table = corpus(("a", "a", "audio a"), ("b", "b", "audio b"), ("c", "c", "audio c"))
    write_placements(tmp_path / "splits.yaml", placed(a="test", b="validation"))
    given = read_placements(tmp_path / "splits.yaml")
    before = placed(a="train", b="train", c="reserved")
    splits = split_tracks(table, NO_COPIES, **SETTINGS, placed=before, given=given)
    assert [where(splits, name) for name in "abc"] == ["test", "validation", "train"]
    after = before.after(splits, {})
    assert after.moved(before) == ["own/a was in train and is in test", "own/c was in reserved and is in train"]


def test_two_corpora_that_go_by_one_file_hold_out_the_same_tracks() -> None:
    given = placed(a="test", b="validation", c="reserved")
    one = corpus(("a", "a", "audio a"), ("b", "b", "audio b"), ("c", "c", "audio c"))
    other = pd.concat([one, corpus(("d", "d", "audio d")).iloc[:1]])
    held = [
        set(splits.loc[splits["split"].isin(HELD_OUT), "track_id"])
        for splits in (split_tracks(table, NO_COPIES, **SETTINGS, given=given) for table in (one, other))
    ]
    assert held == [{"own/a", "own/c"}, {"own/a", "own/c"}]


def test_placements_survive_their_file_with_every_odd_name(tmp_path: Path) -> None:
    odd = Placements(
        {
            name: Placement(track=name, split="test", artists=("no", "1e3", "ann: bob"), audio=("0123",), reason="ä #")
            for name in ("own/yes", "own/1", "own/a: b", "own/’n’", "own/null")
        }
    )
    write_placements(tmp_path / "splits.yaml", odd)
    assert read_placements(tmp_path / "splits.yaml").tracks == odd.tracks
    write_placements(tmp_path / "none.yaml", Placements())
    assert read_placements(tmp_path / "none.yaml").tracks == {}


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("tracks: []", "format"),
        ("format: another", "format"),
        ("[", "flow"),
        ("format: deep-audio-isolation splits 1\ntracks: [{track: own/a, split: held}]", "tracks.0.split"),
        (
            "format: deep-audio-isolation splits 1\ntracks: [{track: a, split: test}, {track: a, split: train}]",
            "a more",
        ),
    ],
)
def test_a_file_of_splits_that_does_not_fit_is_refused_with_the_place(tmp_path: Path, content: str, told: str) -> None:
    (tmp_path / "splits.yaml").write_text(content)
    with pytest.raises(InputError, match=told):
        read_placements(tmp_path / "splits.yaml")
    with pytest.raises(InputError, match="no such file"):
        read_placements(tmp_path / "absent.yaml")


def test_a_track_that_is_recognised_as_one_that_is_gone_takes_its_place_and_is_remembered_with_it() -> None:
    before = placed(a="reserved")
    table = corpus(("encoded-anew", "Somebody Else", "other audio"))
    recognised = {"own/encoded-anew": ["own/a"]}
    splits = split_tracks(table, NO_COPIES, **SETTINGS, placed=before, recognised=recognised)
    assert where(splits, "encoded-anew") == "reserved"
    after = before.after(splits, {"own/encoded-anew": "other audio"}, recognised)
    assert after.tracks["own/encoded-anew"].same_as == ("own/a",)
    assert after.gone(["own/encoded-anew"], ["other audio"]).keys() == {"own/a"}


def test_a_playback_with_another_singer_stays_beside_its_original_and_is_no_copy() -> None:
    table = corpus(("a", "a", "audio a"), ("karaoke", "b", "audio b"))
    pair = pd.DataFrame([("own/karaoke", "own/a", "accompaniment")], columns=["track_id", "original", "how"])
    for part in ("reserved", "test", "validation", "train"):
        splits = split_tracks(table, pair, **SETTINGS, placed=placed(a=part))
        assert (where(splits, "a"), where(splits, "karaoke")) == (part, part)
        assert shared_recordings(splits, pair) == []
    apart = splits.assign(split=["test" if name == "own/a" else "train" for name in splits["track_id"]])
    assert shared_recordings(apart, pair) == ["own/karaoke is in train, own/a in test: the same by accompaniment"]


def test_tracks_that_once_were_the_same_are_remembered_as_such_when_one_has_changed() -> None:
    splits = split_tracks(corpus(("a", "a", "audio a"), ("b", "b", "audio b")), NO_COPIES, **SETTINGS)
    placed_now = Placements().after(splits, {"own/a": "audio a", "own/b": "audio b"}, {"own/a": ["own/copy"]})
    changed = placed_now.after(splits, {"own/a": "other", "own/b": "audio a"})
    assert set(changed.alike()) == {("own/a", "own/copy"), ("own/a", "own/b")}


def test_a_copy_of_a_held_out_track_leaves_training_and_does_not_join_it() -> None:
    """Two tracks that were placed apart turn out to hold the same audio."""
    table = corpus(("a", "a", "same audio"), ("b", "b", "same audio"))
    before = Placements(
        {
            "own/a": Placement(track="own/a", split="test", artists=("a",), audio=("same audio",)),
            "own/b": Placement(track="own/b", split="train", artists=("b",), audio=("same audio",)),
        }
    )
    copies = pd.DataFrame([("own/b", "own/a", "checksum")], columns=["track_id", "original", "how"])
    splits = split_tracks(table, copies, **SETTINGS, placed=before)
    assert (where(splits, "a"), where(splits, "b")) == ("test", EXCLUDED)


def test_a_track_that_takes_the_name_of_one_that_is_gone_stays_where_its_audio_was() -> None:
    before = placed(a="reserved", b="train")
    splits = split_tracks(corpus(("b", "b", "audio a")), NO_COPIES, **SETTINGS, placed=before)
    assert where(splits, "b") == "reserved"


@pytest.mark.parametrize(("content", "found"), [("", "an empty file"), ("- a\n", "['a']"), ("words\n", "'words'")])
def test_a_file_of_splits_that_holds_something_else_is_told_by_what_it_holds(
    tmp_path: Path, content: str, found: str
) -> None:
    (tmp_path / "splits.yaml").write_text(content)
    with pytest.raises(InputError) as refused:
        read_placements(tmp_path / "splits.yaml")
    assert refused.value.found == found


def test_only_what_is_in_use_in_another_part_contradicts_where_it_was_placed() -> None:
    frame = pd.DataFrame(
        {"track_id": ["own/a", "own/b", "own/c", "own/new"], "split": ["test", "train", EXCLUDED, "train"]}
    )
    assert placed(a="test", b="validation", c="train").contradicted_by(frame) == ["own/b"]


def test_a_track_is_new_that_was_placed_neither_by_its_id_nor_by_its_audio() -> None:
    known = Placements({"own/a": Placement(track="own/a", split="train", audio=("sound",))})
    frame = pd.DataFrame(
        {"track_id": ["own/a", "own/renamed", "own/new"], "mixture_sha256": ["changed", "sound", "other"]}
    )
    assert list(known.new_among(frame)["track_id"]) == ["own/new"]


def test_tracks_that_share_a_recording_are_remembered_of_each_other() -> None:
    duplicates = pd.DataFrame({"track_id": ["own/b", "own/c"], "original": ["own/a", None]})
    assert alike_tracks(duplicates, {"own/b": ["own/gone"]}) == {"own/b": ["own/gone", "own/a"], "own/a": ["own/b"]}
