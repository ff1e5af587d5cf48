"""What a separator knows from its training: by id, by audio, as a copy, by artist; whatever the splits say today."""

from __future__ import annotations

import pandas as pd
import pytest

from data.artists import artist_key
from data.heard import HEARD, heard_tracks, people, seen_tracks
from data.placements import Placement, Placements

HEARD_THEN = pd.DataFrame(
    [
        ("own/a", "Ann", "train", "audio a"),
        ("own/b", "Bob", "validation", "audio b"),
        ("own/c", None, "train", "audio c"),
    ],
    columns=HEARD.names,
)


def key(track_id: str, artist: str) -> str:
    return artist_key(artist)


def seen(*tracks: tuple[str, str, str], copies: tuple[tuple[str, str], ...] = ()) -> dict[str, str]:
    frame = pd.DataFrame(tracks, columns=["track_id", "artist", "mixture_sha256"])
    return seen_tracks(frame, HEARD_THEN, copies, key)


@pytest.mark.parametrize(
    ("track", "why"),
    [
        (("own/a", "Somebody", "other audio"), "was trained on it"),
        (("own/b", "Somebody", "other audio"), "was chosen by it"),
        (("own/renamed", "Somebody", "audio a"), "was trained on the same audio, as own/a"),
        (("own/other", "A n n", "other audio"), "was trained on its artist, in own/a"),
        (("own/other", "Somebody", "other audio"), None),
        (("own/other", "nan", "other audio"), None),
    ],
)
def test_a_track_is_known_by_id_audio_or_artist(track: tuple[str, str, str], why: str | None) -> None:
    assert seen(track).get(track[0]) == why


def test_a_copy_is_known_over_any_number_of_steps() -> None:
    track = ("own/z", "Somebody", "other audio")
    assert seen(track, copies=(("own/z", "own/y"), ("own/y", "own/x"))) == {}
    found = seen(track, copies=(("own/z", "own/y"), ("own/y", "own/a")))
    assert found == {"own/z": "was trained on the same recording, own/a"}


def test_names_that_one_track_has_had_are_one_person_and_so_are_artists_who_share_a_recording() -> None:
    today = {"own/new": "Zoe", "own/copy": "Copyist", "own/x": "Xenia"}
    placed = Placements(
        {
            "own/gone": Placement(track="own/gone", split="train", artists=("ann", "zoe")),
            "own/y": Placement(track="own/y", split="train", artists=("yves",)),
        }
    )
    same = people(key, today, placed, [("own/copy", "own/y"), ("own/x", "own/unknown")])
    assert same("own/new", "Zoe") == same("own/a", "Ann")
    assert same("own/copy", "Copyist") == same("own/y", "Yves")
    assert len({same("", name) for name in ("Zoe", "Yves", "Xenia", "Bob")}) == 4
    track = pd.DataFrame([("own/new", "Zoe", "new audio")], columns=["track_id", "artist", "mixture_sha256"])
    assert seen_tracks(track, HEARD_THEN, [], key) == {}
    assert seen_tracks(track, HEARD_THEN, [], same) == {"own/new": "was trained on its artist, in own/a"}


def test_songs_of_an_artist_whose_tracks_were_placed_one_by_one_are_known_by_audio_and_as_copies_alone() -> None:
    placed = Placements(
        {
            f"own/{name}": Placement.model_validate(
                {"track": f"own/{name}", "split": part, "artists": ("ann",), "by": by}
            )
            for name, part, by in (("a", "train", "track"), ("x", "test", "track"))
        }
    )
    same = people(key, {"own/x": "Ann", "own/y": "Bob"}, placed, [("own/x", "own/y")])
    tracks = pd.DataFrame(
        [("own/x", "Ann", "audio x"), ("own/e", "Ann", "audio a"), ("own/d", "Ann", "audio d"), ("own/y", "Bob", "y")],
        columns=["track_id", "artist", "mixture_sha256"],
    )
    assert seen_tracks(tracks, HEARD_THEN, [("own/d", "own/a")], same) == {
        "own/e": "was trained on the same audio, as own/a",
        "own/d": "was trained on the same recording, own/a",
        "own/y": "was chosen by its artist, in own/b",  # who shares a recording with Ann, and is not divided
    }


def test_loopback_and_original_are_one_track_that_is_heard() -> None:
    pairs = pd.DataFrame(
        {
            "track_id": ["own/a", "own/a", "own/b"],
            "split": ["train", "train", "validation"],
            "mixture_sha256": ["audio a", "audio a", "audio b"],
        }
    )
    manifest = pd.DataFrame({"track_id": ["own/a", "own/b"], "artist": ["Ann", "Bob"]})
    pd.testing.assert_frame_equal(heard_tracks(pairs, manifest), HEARD_THEN.iloc[:2])


def test_a_track_heard_in_an_unknown_way_counts_as_trained_on() -> None:
    heard = pd.DataFrame([("a/1", "Ann", "x", None)], columns=["track_id", "artist", "mixture_sha256", "split"])
    tracks = pd.DataFrame([("a/1", "Ann", "y")], columns=["track_id", "artist", "mixture_sha256"])
    assert seen_tracks(tracks, heard, [], lambda track, artist: artist) == {"a/1": "was trained on it"}
