"""Who is champion, who challenges, who ranks where: decided over values, without a file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from data.errors import InputError
from models.championship import (
    Facts,
    Measured,
    Trained,
    Training,
    by_audio,
    challenger,
    contested,
    decide,
    on_the_ballot,
    opponent,
    promoted_among,
    ranking,
)
from models.contest import validation_frame
from models.listening import VoteDecision

HAND = "named by hand (ISOLATION_CHAMPION), whatever votes and scores say"
FIRST = "best uSDR on validation tracks, and no champion before it"


def scores(*usdr_db: float) -> pd.DataFrame:
    return validation_frame({f"demo/song-{number}": value for number, value in enumerate(usdr_db)})


def voted(preferred: str | None) -> VoteDecision:
    return VoteDecision(preferred is not None, f"7 voters prefer {preferred}", 7, 6, leading=preferred)


GOOD, BAD, SAME = scores(5.0, 6.0, 7.0, 4.0), scores(3.0, 4.0, 5.0, 2.0), scores(3.1, 3.9, 5.1, 2.1)
TRAINED = {"a": Training("a1", BAD, True), "b": Training("b1", GOOD, True), "c": Training("c1", SAME, True)}
STANDING = Trained("a", "a1", "it was the first", predecessor="a0")
ELSEWHERE = replace(STANDING, fingerprint="a0", predecessor="")  # an earlier training of a
MEASURED = Measured("a", "a1", BAD, Path("measured"))
ONLY_C = {"a": TRAINED["a"], "c": TRAINED["c"]}
BALLOT = ("a", "b", "c")

# What is known; who challenges whom; who ought to be champion and why.
RULES = {
    "nobody is trained, nobody stands": (Facts({}), None, None, None),
    "nobody is trained today, the champion stays": (
        Facts({"a": replace(TRAINED["a"], contends=False)}, STANDING),
        None,
        "a1",
        "it was the first",
    ),
    "without a champion the best one becomes it": (Facts(TRAINED), "b1", "b1", FIRST),
    "of equals the later name": (Facts({"x": Training("x1", GOOD, True), **TRAINED}), "x1", "x1", FIRST),
    "who has no vocals to be measured on comes last": (
        Facts({"z": Training("z1", scores(*[float("nan")] * 4), True), "a": TRAINED["a"]}),
        "a1",
        "a1",
        FIRST,
    ),
    "a training on other pairs is no challenger": (
        Facts({"a": TRAINED["a"], "b": replace(TRAINED["b"], contends=False)}),
        "a1",
        "a1",
        FIRST,
    ),
    "the champion is its own challenger, and keeps its reason": (
        Facts({"a": TRAINED["a"]}, STANDING),
        "a1",
        "a1",
        "it was the first",
    ),
    "better by more than chance": (
        Facts(TRAINED, STANDING, measured=MEASURED),
        "b1",
        "b1",
        "b is better than the champion, a: +2.00 dB uSDR",
    ),
    "better by no more than chance": (
        Facts(ONLY_C, STANDING, measured=MEASURED),
        "c1",
        "a1",
        "c is not better than the champion, a: +0.05 dB uSDR",
    ),
    "an earlier training of the same candidate": (
        Facts({"a": TRAINED["a"]}, ELSEWHERE, measured=Measured("a", "a0", SAME, Path("measured"))),
        "a1",
        "a0",
        "a is not better than the champion, an earlier training of it: -0.05 dB uSDR",
    ),
    "too few tracks that the champion was not trained on": (
        Facts(TRAINED, STANDING, measured=replace(MEASURED, seen=("demo/song-0", "demo/song-1"))),
        "b1",
        "a1",
        "b is not better than the champion, a: 2 validation tracks to compare on, 3 are needed, 2 left out",
    ),
    "voters prefer it to the champion": (
        Facts(TRAINED, STANDING, voted("c"), BALLOT),
        "c1",
        "c1",
        "7 voters prefer c",
    ),
    "voters prefer it, without a champion": (Facts(TRAINED, None, voted("c"), BALLOT), "c1", "c1", "7 voters prefer c"),
    "votes that decide nothing leave it to validation": (
        Facts(TRAINED, STANDING, voted(None), BALLOT, measured=MEASURED),
        "b1",
        "b1",
        "b is better than the champion",
    ),
    "the champion was not on the ballot": (
        Facts(TRAINED, STANDING, voted("c"), ("b", "c"), measured=MEASURED),
        "c1",
        "a1",
        "c is not better than the champion",
    ),
    "another training of the champion's name was on the ballot": (
        Facts(TRAINED, ELSEWHERE, voted("c"), BALLOT, measured=replace(MEASURED, fingerprint="a0")),
        "c1",
        "a0",
        "c is not better than the champion",
    ),
    "named by hand": (Facts(TRAINED, STANDING, voted("b"), BALLOT, by_hand="c"), "c1", "c1", HAND),
    "named by hand, and the champion already": (Facts(TRAINED, STANDING, by_hand="a"), "a1", "a1", "it was the first"),
}


@pytest.mark.parametrize(("facts", "best", "champion", "reason"), RULES.values(), ids=RULES)
def test_who_ought_to_be_champion(facts: Facts, best: str | None, champion: str | None, reason: str | None) -> None:
    found, own = decide(facts), challenger(facts)
    assert (own.fingerprint if own else None) == best
    assert (found.champion.fingerprint if found else None) == champion
    assert found is None or found.champion.reason.startswith(str(reason))
    assert found is None or found.promoted is (best == champion)
    # Scores of the champion are asked for exactly where they decide, and only then are there numbers to show.
    assert contested(facts) is bool(found and found.contest) is (facts.measured is not None)


@pytest.mark.parametrize("measured", [None, replace(MEASURED, champion="", fingerprint="")])
def test_a_champion_that_was_not_measured_is_not_beaten_unseen(measured: Measured | None) -> None:
    with pytest.raises(InputError, match="scores of nobody as trained at another time") as told:
        decide(Facts(TRAINED, STANDING, measured=measured))
    assert told.value.remedy == "materialise evaluation/champion_validation first"
    assert told.value.file == ("measured" if measured else None)


def test_whoever_voters_prefer_needs_scores_to_meet_a_champion_that_they_did_not_hear() -> None:
    trained = TRAINED | {"old": Training("old1")}
    with pytest.raises(InputError, match="uSDR of old on today's validation tracks"):
        decide(Facts(trained, STANDING, voted("old"), ("b", "old"), measured=MEASURED))


def test_who_is_named_by_hand_has_to_be_trained() -> None:
    for known, names in ((TRAINED, "a, b, c"), ({}, "none is yet")):
        with pytest.raises(InputError, match=f"a candidate that is trained: {names}"):
            decide(Facts(known, STANDING, by_hand="nobody"))


def test_a_promotion_does_not_change_what_led_to_it() -> None:
    before = Facts(TRAINED, STANDING, measured=MEASURED)
    found = decide(before)
    assert found is not None
    after = replace(before, standing=replace(found.champion, predecessor=STANDING.fingerprint), measured=None)
    again = decide(after)
    assert again is not None
    assert again.champion.reason == found.champion.reason
    assert opponent(after) == opponent(before) == "a1"
    assert opponent(Facts(TRAINED)) == ""
    assert opponent(Facts({}, STANDING)) == "a1"


def test_votes_are_told_also_where_nobody_voted() -> None:
    assert Facts({}).words == "nobody has voted"
    assert Facts({}, votes=voted("b")).words == "7 voters prefer b"


def test_the_champion_is_among_the_candidates_only_as_the_training_that_they_are() -> None:
    found = decide(Facts(TRAINED, STANDING, by_hand="b"))
    assert promoted_among(found, {"a": "a1", "b": "b1"}) == "b"
    assert promoted_among(found, {"a": "a1", "b": "b2"}) is None
    assert promoted_among(found, {"a": "a1"}) is None
    assert promoted_among(None, {"a": "a1"}) is None


def test_candidates_rank_by_the_tracks_that_they_have_in_common_and_the_first_three_are_voted_on() -> None:
    tables = {
        "easy": scores(1.0, 1.0, 1.0, 1.0, 90.0),  # best on average, by a track that the others do not have
        "good": scores(3.0, 3.0, 3.0, 3.0),
        "better": scores(4.0, 4.0, 4.0, 4.0),
        "elsewhere": scores(9.0, 9.0, 9.0).assign(track_id=["x", "y", "z"]),
    }
    ranked = ranking({*tables, "unknown"}, tables)
    assert ranked == ["better", "good", "easy", "elsewhere", "unknown"]
    assert on_the_ballot(ranked) == ["better", "good", "easy"]
    assert on_the_ballot(ranking([], {})) == []


def test_validation_tracks_are_told_by_their_audio_for_a_name_may_have_stood_for_another_song() -> None:
    heard = pd.DataFrame({"track_id": ["demo/song-0", "demo/song-1"], "mixture_sha256": ["x", "y"]})
    table = scores(1.0, float("nan"), 3.0)
    assert list(by_audio(table, heard)["track_id"]) == ["x", "demo/song-2"]
    assert list(by_audio(table, None)["track_id"]) == ["demo/song-0", "demo/song-2"]
