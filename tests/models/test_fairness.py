"""Numbers that may stand side by side: over the same tracks, none of which a separator knows."""

from __future__ import annotations

import pandas as pd

from models.fairness import common_tracks, known_scores, told, trained_on_scored

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
