"""A corpus of too few artists is split by track: what that keeps together, what it remembers, and what it says."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pandas as pd
import pytest
from test_placements import NO_COPIES, SETTINGS, corpus

from data.errors import InputError
from data.placements import HELD_OUT, Placement, Placements, placements_version, read_placements, write_placements
from data.splits import EXCLUDED, SPLITS, leaks, shared_artists, shared_recordings, split_tracks, what_sharing_means

DEFAULTS = SETTINGS | {"reserved_tracks": 10, "validation_share": 0.14, "test_share": 0.15}


def songs(**artists: int) -> pd.DataFrame:
    """A manifest of so many songs of each artist, and of nobody else."""
    rows = [
        (f"{artist}{number}", artist, f"{artist} {number}")
        for artist, count in artists.items()
        for number in range(count)
    ]
    return corpus(*rows).iloc[: len(rows)]


def remembered(splits: pd.DataFrame, before: Placements | None = None) -> Placements:
    return (before or Placements()).after(splits, {})


def parts(splits: pd.DataFrame) -> set[str]:
    return set(splits["split"])


@pytest.mark.parametrize("artists", [{"ann": 3}, {"ann": 7}, {"ann": 4, "bob": 4}, {"ann": 6, "bob": 1}])
def test_songs_of_one_or_two_artists_fill_every_part_and_it_is_said_whom_these_share(artists: dict[str, int]) -> None:
    splits = split_tracks(songs(**artists), NO_COPIES, **DEFAULTS)
    assert {"train", "validation"} <= parts(splits)
    assert parts(splits) & HELD_OUT
    assert set(splits["by"]) == {"track"}
    assert leaks(splits) == []
    assert shared_artists(splits) == [name for name in artists if artists[name] > 1]
    assert "share artists (ann" in what_sharing_means(shared_artists(splits))


def test_an_earlier_release_placed_enough_artists_just_so_to_the_byte(tmp_path: Path) -> None:
    """Versions and file of the release before tracks could be split one by one."""
    splits = split_tracks(corpus(("a", "a", "audio a")), NO_COPIES, **SETTINGS)
    after = Placements().after(splits, {"own/a": "audio a"})
    assert SPLITS.version(splits) == "6c293ee8229be1b15f9e125d34fdd113e5a7304cb7fa28d0ee76ddf892e25a71"
    assert placements_version(after) == "6a5eb99a415fff0bfb399e23c8ba9397c2788465c5a5e27c3e2ebfae8c5597ed"
    write_placements(tmp_path / "splits.yaml", after)
    written = hashlib.sha256((tmp_path / "splits.yaml").read_bytes()).hexdigest()
    assert written == "e4fa302708f58a72f938f99f98faf4bee6674fb54f75de0a940b6cdae49a829d"
    SPLITS.write(tmp_path, splits)
    assert set(SPLITS.read(tmp_path)["by"]) == {"artist"}
    assert shared_artists(splits) == []


def test_the_table_and_the_file_keep_that_tracks_were_placed_one_by_one(tmp_path: Path) -> None:
    splits = split_tracks(songs(ann=7), NO_COPIES, **DEFAULTS)
    SPLITS.write(tmp_path, splits)
    pd.testing.assert_frame_equal(SPLITS.read(tmp_path), splits)
    write_placements(tmp_path / "splits.yaml", remembered(splits))
    read = read_placements(tmp_path / "splits.yaml")
    assert read.divided == {"ann"}
    together = Placements({name: each.model_copy(update={"by": "artist"}) for name, each in read.tracks.items()})
    assert placements_version(read) != placements_version(together)


def test_later_songs_of_a_divided_artist_are_placed_one_by_one_and_artists_who_are_new_together() -> None:
    before = split_tracks(songs(ann=7), NO_COPIES, **DEFAULTS)
    later = split_tracks(songs(ann=30, bob=4, cid=4, dan=4), NO_COPIES, **DEFAULTS, placed=remembered(before))
    both = before.merge(later, on="track_id")
    assert (both["split_x"] == both["split_y"]).all()
    new = later[~later["track_id"].isin(before["track_id"])]
    assert parts(new[new["artist"] == "ann"]) >= {"train", "reserved"}
    assert set(later.loc[later["artist"] == "ann", "by"]) == {"track"}
    for name in ("bob", "cid", "dan"):
        assert len(parts(new[new["artist"] == name])) == 1
        assert set(new.loc[new["artist"] == name, "by"]) == {"artist"}


def test_an_artist_stays_divided_when_every_song_that_was_placed_is_gone() -> None:
    before = split_tracks(songs(ann=7), NO_COPIES, **DEFAULTS)
    new = songs(ann=12).iloc[7:]
    later = split_tracks(pd.concat([new, songs(bob=2, cid=2, dan=2)]), NO_COPIES, **DEFAULTS, placed=remembered(before))
    assert set(later.loc[later["artist"] == "ann", "by"]) == {"track"}
    assert "train" in parts(later[later["artist"] == "ann"])


def test_a_divided_artist_who_is_renamed_stays_divided_and_loses_no_song() -> None:
    table = songs(ann=7)
    before = split_tracks(table, NO_COPIES, **DEFAULTS)
    placed = Placements().after(before, dict(zip(table["track_id"], table["mixture_sha256"], strict=True)))
    renamed = table.assign(track_id=table["track_id"] + "-new", artist="Anna")
    others = songs(bob=2, cid=2, dan=2, eve=2)  # enough of them to split by artist
    after = split_tracks(pd.concat([renamed, others]), NO_COPIES, **DEFAULTS, placed=placed)
    assert list(after.loc[after["artist"] == "Anna", "split"]) == list(before["split"])
    assert leaks(after) == []
    assert shared_artists(after) == ["Anna"]


def test_a_setting_divides_every_artist_or_none_who_was_not_divided_before() -> None:
    many = songs(**{f"artist {number}": 4 for number in range(10)})
    assert set(split_tracks(many, NO_COPIES, **DEFAULTS)["by"]) == {"artist"}
    divided = split_tracks(many, NO_COPIES, **DEFAULTS, split_by="track")
    assert shared_artists(divided)
    again = split_tracks(many, NO_COPIES, **DEFAULTS, split_by="artist", placed=remembered(divided))
    pd.testing.assert_series_equal(again["split"], divided["split"])
    assert shared_artists(split_tracks(many, NO_COPIES, **DEFAULTS, split_by="artist")) == []


def test_copies_and_playbacks_stay_together_where_tracks_are_placed_one_by_one() -> None:
    for seed in range(20):
        table = songs(ann=8)
        pairs = [("own/ann1", "own/ann0", "fingerprint"), ("own/ann3", "own/ann2", "accompaniment")]
        duplicates = pd.DataFrame(pairs, columns=["track_id", "original", "how"])
        splits = split_tracks(table, duplicates, **DEFAULTS | {"seed": seed})
        assert shared_recordings(splits, duplicates) == []
        assert splits.set_index("track_id").loc["own/ann1", "split"] == EXCLUDED
        assert len(parts(splits[splits["track_id"].isin(["own/ann2", "own/ann3"])])) == 1


def test_official_test_tracks_keep_their_part_where_their_artist_is_divided() -> None:
    table = songs(ann=7)
    table["official_split"] = ["test", "test", None, None, None, None, None]
    splits = split_tracks(table, NO_COPIES, **DEFAULTS)
    assert set(splits.loc[splits["track_id"].isin(["own/ann0", "own/ann1"]), "split"]) == {"test"}
    assert {"train", "validation"} <= parts(splits)


def test_only_artists_without_an_official_part_are_divided_where_that_is_enough() -> None:
    table = songs(ann=12, bob=3, cid=3)
    table["official_split"] = [None] * 12 + ["train", "train", "train", "validation", "validation", "validation"]
    splits = split_tracks(table, NO_COPIES, **DEFAULTS | {"reserved_tracks": 1})
    assert shared_artists(splits) == ["ann"]
    assert set(splits.loc[splits["artist"] != "ann", "by"]) == {"artist"}


def test_a_given_file_of_one_singers_songs_is_gone_by_song_by_song() -> None:
    """Written by hand: it says nothing of how the songs were placed."""
    table = songs(ann=4)
    wanted = dict(zip(table["track_id"], ("train", "train", "validation", "test"), strict=True))
    given = Placements({name: Placement(track=name, split=part) for name, part in wanted.items()})  # type: ignore[arg-type]
    splits = split_tracks(table, NO_COPIES, **DEFAULTS, given=given)
    assert dict(zip(splits["track_id"], splits["split"], strict=True)) == wanted


@pytest.mark.parametrize(
    ("artists", "changes", "mended"),
    [
        ({"ann": 2}, {}, {"artists": {"ann": 3}}),
        ({"ann": 1, "bob": 1}, {}, {"artists": {"ann": 2, "bob": 1}}),
        ({"ann": 7}, {"split_by": "artist"}, {"split_by": "auto"}),
        ({"ann": 7}, {"validation_share": 0.0}, {"validation_share": 0.1}),
    ],
)
def test_what_cannot_be_split_is_refused_with_a_remedy_that_helps(
    artists: dict[str, int], changes: dict[str, object], mended: dict[str, object]
) -> None:
    words = {"artists": "add tracks of any artist: three at least", "split_by": "set ISOLATION_SPLIT_BY=auto"}
    with pytest.raises(InputError) as refused:
        split_tracks(songs(**artists), NO_COPIES, **DEFAULTS | changes)
    (what,) = mended
    assert words.get(what, "raise ISOLATION_VALIDATION_SHARE") in refused.value.remedy
    helped: dict[str, object] = {"artists": artists} | changes | mended
    splits = split_tracks(songs(**helped.pop("artists")), NO_COPIES, **DEFAULTS | helped)  # type: ignore[arg-type]
    assert {"train", "validation"} <= parts(splits)
