"""Numbers that may stand side by side: over the same tracks, none of which a separator knows."""

from __future__ import annotations

import math
from dataclasses import replace

import pandas as pd

from data.cache import Record
from data.recipe import Recipe
from models.fairness import (
    Scored,
    common_tracks,
    known_scores,
    side_by_side,
    told,
    trained_on_scored,
    why_outdated,
)

EVERY = {f"own/{number}" for number in range(10)}


def test_a_candidate_that_was_not_scored_since_a_track_came_stays_over_what_is_common() -> None:
    older = EVERY - {"own/9"}
    found = common_tracks({"new": EVERY, "older": older}, EVERY)
    assert (set(found.tracks), found.methods, dict(found.absent)) == (older, ("new", "older"), {})


def test_nobody_takes_the_ground_from_under_the_others() -> None:
    found = common_tracks({"new": EVERY, "knows most": {"own/0", "own/1", "own/2"}, "knows all": set()}, EVERY)
    assert set(found.tracks) == EVERY
    assert found.methods == ("new",)
    assert found.absent == {
        "knows most": "it shares 3 tracks with the others, and 5 are needed",
        "knows all": "it shares no track with the others",
    }


def test_a_candidate_alone_is_compared_with_the_bounds_over_the_few_tracks_that_it_does_not_know() -> None:
    found = common_tracks({"knows most": {"own/0", "own/1", "own/2"}, "knows all": {"own/0"}}, EVERY)
    assert (set(found.tracks), found.methods) == ({"own/0", "own/1", "own/2"}, ("knows most",))
    assert found.absent == {"knows all": "it shares 1 tracks with the others, and 3 are needed"}


def test_without_candidates_the_bounds_keep_every_track() -> None:
    assert set(common_tracks({}, EVERY).tracks) == EVERY
    assert set(common_tracks({"only": {"a"}}, {"a"}).tracks) == {"a"}


def test_scores_of_audio_that_is_gone_do_not_count_and_splits_are_those_of_today() -> None:
    scores = pd.DataFrame({"track_id": ["a", "b", "c"], "split": "test", "usdr_db": [1.0, 2.0, 3.0]})
    audio = {"track_id": ["a", "b", "c"], "mixture_sha256": list("abc"), "vocals_sha256": list("abc")}
    scored = pd.DataFrame({**audio, "split": ["reserved", "test", "test"]})
    today = scored.assign(mixture_sha256=["a", "changed", "c"], split=["test", "test", "test"]).iloc[:2]
    kept = known_scores(scores, scored, today)
    assert kept[["track_id", "split"]].to_numpy().tolist() == [["a", "test"]]
    # Estimates are kept of reserved tracks only: one that became reserved since cannot be heard.
    assert list(known_scores(scores, scored, scored.assign(split="reserved"))["track_id"]) == ["a"]


def test_what_is_left_out_is_told_and_a_score_that_slipped_through_is_found() -> None:
    left_out = [("toy", f"own/{number}", "was trained on it") for number in range(5)]
    assert told(left_out) == ["toy was trained on it: own/0, own/1, own/2 and 2 more"]
    board = pd.DataFrame({"method": ["toy", "ica"], "track_id": ["own/0", "own/0"]})
    assert trained_on_scored(board, {"toy": {"own/0": "was trained on it"}}) == [
        "toy is scored on own/0, although it was trained on it"
    ]
    assert trained_on_scored(board, {"toy": {"own/1": "was trained on it"}}) == []


def scored(method: str, *tracks: str, usdr_db: float = 5.0) -> Scored:
    scores = pd.DataFrame({"method": method, "track_id": tracks, "split": "test", "usdr_db": usdr_db})
    return Scored(scores, held_out(*tracks))


def held_out(*tracks: str) -> pd.DataFrame:
    split = ["reserved" if track.startswith("reserved") else "test" for track in tracks]
    return pd.DataFrame({"track_id": tracks, "split": split, "mixture_sha256": tracks, "vocals_sha256": tracks})


TRACKS = ("a", "b", "c", "d", "reserved")


def test_what_is_on_the_board_and_why_the_rest_is_not() -> None:
    fair = side_by_side(
        held_out(*TRACKS, "new"),
        scored("ica", *TRACKS),
        {"toy": scored("toy", *TRACKS), "older": scored("older", "b", "c", "d"), "one": scored("one", "a")},
        {"toy": {"a": "was trained on it"}, "older": {}, "one": {}},
        {"gone": "it has not been scored"},
    )
    assert fair.candidates == ("older", "toy")
    assert set(fair.tracks["track_id"]) == {"b", "c", "d"}
    assert fair.table.groupby("method")["track_id"].agg(list).to_dict() == {
        name: ["b", "c", "d"] for name in ("ica", "older", "toy")
    }
    assert fair.left_out == (("toy", "a", "was trained on it"),)
    assert fair.sentences == [
        "left out: toy was trained on it: a",
        "left out: not every candidate was scored on new, reserved",
        "gone is not compared: it has not been scored",
        "one is not compared: it shares no track with the others",
    ]


def test_what_only_a_candidate_knows_that_is_not_compared_is_not_left_out() -> None:
    known = {"toy": {}, "knows all": dict.fromkeys(TRACKS, "was trained on it")}
    candidates = {name: scored(name, *TRACKS) for name in known}
    fair = side_by_side(held_out(*TRACKS), scored("ica", *TRACKS), candidates, known, {})
    assert (fair.candidates, fair.left_out, fair.unscored) == (("toy",), (), ())
    assert list(fair.reserved["track_id"]) == ["reserved"]


def test_without_candidates_the_baselines_stand_alone_and_only_tracks_with_vocals_are_sung() -> None:
    silent, sung = scored("ica", "a", usdr_db=math.nan), scored("ica", "b")
    bounds = Scored(*(pd.concat(parts, ignore_index=True) for parts in zip(silent, sung, strict=True)))
    fair = side_by_side(held_out("a", "b"), bounds, {}, {}, {})
    assert (fair.candidates, fair.sentences) == ((), [])
    assert (list(fair.tracks["track_id"]), list(fair.sung["track_id"])) == (["a", "b"], ["b"])


def test_scores_stand_for_the_checkpoint_that_they_were_made_of() -> None:
    trained = Record("t1", {}, {}, "t1")
    scores = Record("s1", {}, {}, "s1", Recipe("3", {}, {"checkpoint": "t1"}))
    assert why_outdated(trained, scores, "3") is None
    assert why_outdated(None, scores, "3") == "its checkpoint is damaged"
    assert why_outdated(trained, None, "3") == "it has not been scored"
    assert why_outdated(trained, scores, "4") == "it was scored by an earlier version"
    assert why_outdated(trained, replace(scores, recipe=None), "3") == "it was scored by an earlier version"
    assert why_outdated(replace(trained, version="t2"), scores, "3") == "it was trained again since it was scored"
