from __future__ import annotations

import base64
import io
import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from small_datasets import tone

from data import audio
from data.errors import InputError
from data.measure import loudness_lufs
from models.listening import (
    BALLOT_FILE,
    KEY_FILE,
    LEAST_VOTERS,
    BallotTrack,
    Votes,
    VotesRead,
    best_by_votes,
    count_votes,
    decide_votes,
    preference,
    read_votes,
    write_ballot,
)

NAMES = ("report", "toy", "bandsplit")


@pytest.fixture
def tracks(tmp_path: Path) -> list[BallotTrack]:
    made = []
    for number in range(4):
        paths = {name: tmp_path / f"{number}-{name}.wav" for name in ("mixture", *NAMES)}
        for pitch, path in enumerate(paths.values(), start=2):
            audio.write(path, tone(1.0, 100.0 * pitch).T.astype("float32"))
        made.append(BallotTrack(f"demo/{number}", paths.pop("mixture"), paths))
    return made


def vote(folder: Path, name: str, ballot: str, votes: dict[str, str], voter: str | None = None) -> None:
    folder.mkdir(exist_ok=True)
    content = {"ballot": ballot, "voter": name if voter is None else voter, "votes": votes}
    (folder / f"votes-{name}.json").write_text(json.dumps(content))


def test_the_ballot_names_nobody_and_needs_nothing_else(tracks: list[BallotTrack], tmp_path: Path) -> None:
    write_ballot(tmp_path / "out", tracks, seed=0)
    page = (tmp_path / "out" / BALLOT_FILE).read_text()
    assert page.count("<audio") == 4 * (1 + 3)
    assert page.count('type="radio"') == 4 * 3
    without_sounds = re.sub(r"data:audio/mpeg;base64,[^\"]*", "", page)
    assert not any(name in without_sounds for name in NAMES)
    assert not re.search(r"""(src|href)=["']https?:""", page)


def test_letters_are_shuffled_from_track_to_track_and_repeat_with_the_seed(
    tracks: list[BallotTrack], tmp_path: Path
) -> None:
    first = write_ballot(tmp_path / "a", tracks, seed=0)
    assert write_ballot(tmp_path / "b", tracks, seed=0) == first
    key = json.loads((tmp_path / "a" / KEY_FILE).read_text())["tracks"]
    assert len({tuple(letters.values()) for letters in key.values()}) > 1
    assert all(sorted(letters.values()) == sorted(NAMES) for letters in key.values())


def test_other_sounds_behind_the_letters_make_another_ballot(tracks: list[BallotTrack], tmp_path: Path) -> None:
    first = write_ballot(tmp_path / "a", tracks, seed=0)
    audio.write(tracks[2].vocals["toy"], tone(1.0, 777.0).T.astype("float32"))
    assert write_ballot(tmp_path / "b", tracks, seed=0) != first


def test_votes_are_counted_for_the_candidates_behind_the_letters(tracks: list[BallotTrack], tmp_path: Path) -> None:
    ballot = write_ballot(tmp_path / "out", tracks, seed=0)
    key = json.loads((tmp_path / "out" / KEY_FILE).read_text())["tracks"]
    letter_of = {track: {name: letter for letter, name in letters.items()} for track, letters in key.items()}
    vote(tmp_path / "votes", "ann", ballot, {track: letter_of[track]["toy"] for track in key})
    vote(tmp_path / "votes", "bob", ballot, {"demo/0": letter_of["demo/0"]["report"]})
    vote(tmp_path / "votes", "old", "another ballot", {"demo/0": "A"})
    counted = count_votes(tmp_path / "votes", tmp_path / "out" / KEY_FILE)
    assert dict(zip(counted["candidate"], counted["votes"], strict=True)) == {"toy": 4, "report": 1, "bandsplit": 0}
    assert counted["candidate"][0] == "toy"
    assert dict(zip(counted["candidate"], counted["voters"], strict=True)) == {"toy": 1, "report": 1, "bandsplit": 0}


def test_of_one_voters_files_the_newest_counts(tracks: list[BallotTrack], tmp_path: Path) -> None:
    ballot = write_ballot(tmp_path / "out", tracks, seed=0)
    key = json.loads((tmp_path / "out" / KEY_FILE).read_text())["tracks"]["demo/0"]
    for second, letter in enumerate("AB"):
        vote(tmp_path / "votes", "ann", ballot, {"demo/0": letter})
        file = (tmp_path / "votes" / "votes-ann.json").rename(tmp_path / "votes" / f"{second}.json")
        os.utime(file, (second, second))
    counted = count_votes(tmp_path / "votes", tmp_path / "out" / KEY_FILE)
    expected = dict.fromkeys(NAMES, 0) | {key["B"]: 1}
    assert dict(zip(counted["candidate"], counted["votes"], strict=True)) == expected


def test_candidates_are_heard_at_one_loudness(tracks: list[BallotTrack], tmp_path: Path) -> None:
    loud = tracks[0].vocals["toy"]
    audio.write(loud, audio.read(loud)[0] * 3)
    write_ballot(tmp_path / "out", tracks[:1], seed=0)
    page = (tmp_path / "out" / BALLOT_FILE).read_text()
    _, *voices = re.findall(r"data:audio/mpeg;base64,([^\"]*)", page)
    levels = [loudness_lufs(soundfile.read(io.BytesIO(base64.b64decode(voice)))[0].T) for voice in voices]
    assert len(levels) == 3
    assert max(levels) - min(levels) < 0.5


class Ballot:
    """A ballot, and a folder for what people save."""

    def __init__(self, tracks: list[BallotTrack], root: Path) -> None:
        self.id = write_ballot(root / "out", tracks, seed=0)
        self.key_file, self.votes = root / "out" / KEY_FILE, root / "votes"
        self.votes.mkdir()
        self.tracks = json.loads(self.key_file.read_text())["tracks"]

    def saved(self, voter: str = "ann", letter: str = "A", **more: object) -> bytes:
        content = {"ballot": self.id, "voter": voter, "votes": {"demo/0": letter}} | more
        return json.dumps(content).encode()

    def read(self) -> VotesRead:
        return read_votes(self.votes, self.key_file)


@pytest.fixture
def ballot(tracks: list[BallotTrack], tmp_path: Path) -> Ballot:
    return Ballot(tracks[:1], tmp_path)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "no JSON"),
        (b"no json", "no JSON"),
        (b"\xff\xfe{\x00}\x00", "no JSON"),
        (b"[" * 100_000, "no JSON"),
        (b'{"a":' * 100_000, "no JSON"),
        (b'{"ballot": "BALLOT", "votes": {"demo/0": NaN}}', "NaN is no number"),
        (b'{"ballot": "BALLOT", "votes": {"demo/0": -Infinity}}', "-Infinity is no number"),
        (b'{"ballot": "BALLOT", "votes": {}, "n": ' + b"9" * 5000 + b"}", "no JSON"),
        (b'{"ballot": "BALLOT", "votes": {"demo/0": "A", "demo/0": "B"}}', "a key stands twice"),
        (b'{"ballot": "BALLOT", "voter": "a", "voter": "b", "votes": {}}', "a key stands twice"),
        (b"[1]", "no object"),
        (b'{"votes": {}}', "no object"),
        (b'{"ballot": "BALLOT", "votes": [["demo/0", "A"]]}', "no object"),
        (b'{"ballot": "another", "votes": {"demo/0": "A"}}', "another ballot"),
        (b'{"ballot": ["BALLOT"], "votes": {"demo/0": "A"}}', "another ballot"),
        (b'{"ballot": "BALLOT", "votes": {"demo/9": "A"}}', "not on the ballot"),
        (b'{"ballot": "BALLOT", "votes": {"demo/0": "Z"}}', "not on the ballot"),
        (b'{"ballot": "BALLOT", "votes": {"demo/0": ["A"]}}', "not on the ballot"),
        (b'{"ballot": "BALLOT", "votes": {"demo/0": "A", "x\\u001b[2J": "A"}}', "not on the ballot"),
        (b'{"ballot": "BALLOT", "voter": 7, "votes": {"demo/0": "A"}}', "no name of a voter"),
        (b'{"ballot": "BALLOT", "voter": " \\u200b\\u3164", "votes": {"demo/0": "A"}}', "no name of a voter"),
        (b'{"ballot": "BALLOT", "voter": "' + b"x" * 1000 + b'", "votes": {"demo/0": "A"}}', "no name of a voter"),
        (b" " * 60_000_000, "60000000 bytes"),
    ],
    ids=lambda value: value if isinstance(value, str) else "file",
)
def test_a_file_that_is_no_vote_is_passed_over_with_the_reason_and_the_others_count(
    ballot: Ballot, content: bytes, reason: str
) -> None:
    (ballot.votes / "bad.json").write_bytes(content.replace(b"BALLOT", ballot.id.encode()))
    (ballot.votes / "good.json").write_bytes(ballot.saved("ann"))
    read = ballot.read()
    assert list(read.votes) == ["ann"]
    assert list(read.passed_over) == ["bad.json"]
    assert reason in read.passed_over["bad.json"]
    assert read.passed_over["bad.json"].isprintable()


def test_what_is_no_file_of_a_voter_is_named_and_never_waited_for(
    ballot: Ballot, without_privileges: Callable[[], Any]
) -> None:
    (ballot.votes / "folder.json").mkdir()
    os.mkfifo(ballot.votes / "pipe.json")
    (ballot.votes / "link.json").symlink_to("nowhere")
    (ballot.votes / "._ann.json").write_bytes(b"\x00\x05\x16\x07")
    (ballot.votes / "locked.json").write_bytes(ballot.saved("bob"))
    (ballot.votes / "locked.json").chmod(0)
    (ballot.votes / os.fsdecode(b"caf\xe9.JSON")).write_bytes(b"no json")
    (ballot.votes / "notes.txt").write_text("no vote, and nobody takes it for one")
    (ballot.votes / "good.json").write_bytes(b"\xef\xbb\xbf" + ballot.saved("ann"))
    with without_privileges():
        read = ballot.read()
    assert list(read.votes) == ["ann"]
    no_json = read.passed_over.pop("caf\\xe9.JSON")
    assert no_json.startswith("no JSON")
    assert read.passed_over == {
        "folder.json": "a folder",
        "pipe.json": "a pipe",
        "link.json": "a link to nothing",
        "._ann.json": "a hidden file",
        "locked.json": "cannot be read: Permission denied",
    }


def test_one_voter_under_many_spellings_counts_once(ballot: Ballot) -> None:
    spellings = [
        "Zoë Lee",
        "zoe\u0308 lee",
        " ZOË  LEE ",
        "zoë\u200b lee",
        "Ｚｏë Ｌｅｅ",
        "zoëlee",
        "zo\u00adë\tlee\ufe0f",
    ]
    for second, voter in enumerate(spellings):
        file = ballot.votes / f"{second}.json"
        file.write_bytes(ballot.saved(voter, "ABC"[second % 3]))
        os.utime(file, (second, second))
    read = ballot.read()
    newest = ballot.tracks["demo/0"]["ABC"[(len(spellings) - 1) % 3]]
    assert list(read.votes.values()) == [{"demo/0": newest}]
    assert read.passed_over == {
        f"{second}.json": f"{second + 1}.json of the same voter is newer" for second in range(len(spellings) - 1)
    }


def test_a_copy_of_a_file_is_no_second_vote(ballot: Ballot) -> None:
    nameless = json.dumps({"ballot": ballot.id, "votes": {"demo/0": "A"}}).encode()
    for second, name in enumerate(("votes-ann", "votes-ann (1)", "votes-bob")):
        (ballot.votes / f"{name}.json").write_bytes(nameless)
        os.utime(ballot.votes / f"{name}.json", (second, second))
    read = ballot.read()
    assert list(read.votes) == ["votes-ann"]
    assert set(read.passed_over.values()) == {"the same as votes-ann.json"}


def test_what_was_passed_over_is_told_with_the_decision(ballot: Ballot) -> None:
    (ballot.votes / "good.json").write_bytes(ballot.saved("ann"))
    assert decide_votes(ballot.votes, ballot.key_file).words == f"1 voter, {LEAST_VOTERS} are needed"
    (ballot.votes / "bad.json").write_bytes(b"[1]")
    decision = decide_votes(ballot.votes, ballot.key_file)
    assert decision.words == f"1 voter, {LEAST_VOTERS} are needed (1 file passed over)"
    assert list(decision.passed_over) == ["bad.json"]


def test_a_folder_of_votes_or_a_key_that_cannot_be_read_is_bad_input(
    ballot: Ballot, without_privileges: Callable[[], Any]
) -> None:
    ballot.votes.chmod(0)
    with without_privileges(), pytest.raises(InputError, match="the right to use it"):
        ballot.read()
    ballot.votes.chmod(0o700)
    for damage in (b"", b"[]", b'{"ballot": 1}', b"[" * 100_000, b"\xff"):
        ballot.key_file.write_bytes(damage)
        with pytest.raises(InputError, match="key of the ballot"):
            ballot.read()


def test_the_ballot_says_how_many_voters_are_needed(tracks: list[BallotTrack], tmp_path: Path) -> None:
    first = write_ballot(tmp_path / "a", tracks[:1], seed=0, least_voters=11)
    assert "at least 11 people have voted" in (tmp_path / "a" / BALLOT_FILE).read_text()
    # Another number of voters is no other ballot: the votes still count.
    assert write_ballot(tmp_path / "b", tracks[:1], seed=0) == first
    assert f"at least {LEAST_VOTERS} people" in (tmp_path / "b" / BALLOT_FILE).read_text()


def test_votes_are_read_voter_by_voter_and_one_name_is_one_voter(tracks: list[BallotTrack], tmp_path: Path) -> None:
    ballot = write_ballot(tmp_path / "out", tracks, seed=0)
    key = json.loads((tmp_path / "out" / KEY_FILE).read_text())["tracks"]
    for second, name in enumerate(("Zoë  Smith", "zoe\u0308 smith", " ZOË SMITH ")):
        vote(tmp_path / "votes", str(second), ballot, {"demo/0": "ABC"[second]}, voter=name)
        os.utime(tmp_path / "votes" / f"votes-{second}.json", (second, second))
    vote(tmp_path / "votes", "nothing", ballot, {})
    vote(tmp_path / "votes", "bob", ballot, {"demo/1": "A", "demo/2": "B"})
    chosen = read_votes(tmp_path / "votes", tmp_path / "out" / KEY_FILE).votes
    assert chosen == {
        "zoësmith": {"demo/0": key["demo/0"]["C"]},
        "bob": {"demo/1": key["demo/1"]["A"], "demo/2": key["demo/2"]["B"]},
    }


def choices(*voters: str) -> Votes:
    """Votes of voters 0, 1, ...: a letter a song, t for toy, r for report, b for bandsplit, - for no answer."""
    names = {"t": "toy", "r": "report", "b": "bandsplit"}
    return {
        str(number): {f"demo/{song}": names[letter] for song, letter in enumerate(letters) if letter != "-"}
        for number, letters in enumerate(voters)
    }


def test_one_person_decides_nothing_however_many_songs_they_answer() -> None:
    decision = best_by_votes(choices("ttttt"), NAMES, least_voters=5)
    assert not decision.decided
    assert decision.preferred is None
    assert decision.words == "1 voter, 5 are needed"


def test_enough_voters_who_agree_decide_and_the_words_hold_the_numbers() -> None:
    decision = best_by_votes(choices(*["ttttr"] * 6), NAMES)
    assert (decision.decided, decision.preferred, decision.rival) == (True, "toy", "report")
    assert (decision.difference, decision.low, decision.high) == pytest.approx((0.6, 0.6, 0.6))
    assert (decision.agreeing, decision.telling) == (6, 6)
    assert decision.words == (
        "6 voters prefer toy to report: chosen for 60 % of the songs more, 95 % interval 60 to 60; "
        "by 6 of the 6 who chose one of the two more often, 95 % interval 54 to 100 %"
    )


def test_a_few_who_agree_are_not_taken_for_certain_because_their_bootstrap_has_no_width() -> None:
    """Whatever minimum is asked for: five who agree have an exact interval that holds one half."""
    decision = best_by_votes(choices(*["t"] * 5), NAMES, least_voters=1)
    assert (decision.low, decision.high) == (1.0, 1.0)
    assert decision.agreement_low == pytest.approx(0.478, abs=1e-3)
    assert not decision.decided
    assert "do not settle" in decision.words


def test_voters_who_disagree_decide_nothing_and_the_words_say_by_how_much() -> None:
    decision = best_by_votes(choices(*["tttr"] * 5, *["rrrt"] * 4), NAMES)
    assert not decision.decided
    assert decision.low < 0 < decision.high
    assert decision.words.startswith("9 voters do not settle between toy and report: chosen for 6 % of the songs more")


def test_many_who_hardly_care_do_not_outvote_a_few_who_do() -> None:
    """Ten of twelve chose toy for one song of five more, which is more than a coin; the mean over voters is a tie."""
    decision = preference(choices(*["tttrr"] * 10, *["rrrrr"] * 2), "toy", "report")
    assert decision.agreement_low > 0.5
    assert decision.low < 0
    assert not decision.decided


def test_one_voter_of_many_songs_weighs_as_much_as_one_of_a_single_song() -> None:
    decision = best_by_votes(choices("t" * 40, "r", "r", "r", "r", "r", "r", "r", "r", "r"), ["report", "toy"])
    assert decision.preferred == "report"
    assert decision.difference == pytest.approx(0.8)


def test_the_best_has_to_be_preferred_to_every_other_candidate() -> None:
    # Everybody prefers toy to report; toy and bandsplit share the songs.
    decision = best_by_votes(choices(*["ttbbr"] * 6, *["tttbb"] * 2, *["bbbtt"] * 2), NAMES)
    assert not decision.decided
    assert {decision.leading, decision.rival} == {"toy", "bandsplit"}
    assert preference(choices(*["ttbbr"] * 6), "toy", "report").decided


def test_without_votes_or_without_rivals_the_words_say_so() -> None:
    assert best_by_votes({}, NAMES).words == f"nobody has voted, {LEAST_VOTERS} are needed"
    assert best_by_votes(choices(*["t"] * 9), ["toy"]).words.startswith("fewer than two candidates")
    assert not preference({}, "toy", "report", least_voters=0).decided


def test_equal_candidates_are_seldom_told_apart() -> None:
    """A ballot of three that sound alike: by chance alone, one is called preferred in at most 7.5 % of ballots."""
    rng = np.random.default_rng(0)
    ballots = [choices(*("".join(rng.choice(list("trb"), 5)) for _ in range(10))) for _ in range(300)]
    decided = sum(best_by_votes(votes, NAMES, seed=number).decided for number, votes in enumerate(ballots))
    assert decided <= 0.075 * len(ballots)


def test_voters_and_not_clicks_are_resampled() -> None:
    """Twenty times the songs from the same voters make nothing more certain."""
    few = preference(choices(*["tttr"] * 5, *["rrrt"] * 2), "toy", "report")
    many = preference(choices(*["tttr" * 20] * 5, *["rrrt" * 20] * 2), "toy", "report")
    assert (few.low, few.high) == (many.low, many.high)


def test_the_decision_reads_the_votes_of_the_ballot(tracks: list[BallotTrack], tmp_path: Path) -> None:
    ballot = write_ballot(tmp_path / "out", tracks, seed=0)
    key_file = tmp_path / "out" / KEY_FILE
    letter_of = {
        track: {name: letter for letter, name in letters.items()}
        for track, letters in json.loads(key_file.read_text())["tracks"].items()
    }
    for number in range(7):
        vote(tmp_path / "votes", f"v{number}", ballot, {track: letter_of[track]["toy"] for track in letter_of})
        vote(tmp_path / "votes", f"other{number}", "another ballot", {"demo/0": "A"})
    decision = decide_votes(tmp_path / "votes", key_file, least_voters=7, seed=0)
    assert (decision.preferred, decision.voters) == ("toy", 7)
    assert decide_votes(tmp_path / "votes", key_file, least_voters=7, seed=0) == decision
    assert decide_votes(tmp_path / "votes", key_file, least_voters=8).words.startswith("7 voters, 8 are needed")
    # Trained again since the ballot: what the voters heard is no longer there.
    assert not decide_votes(tmp_path / "votes", key_file, among=["report", "bandsplit"]).decided
    assert not decide_votes(tmp_path / "votes", key_file, among=["toy"]).decided
    assert decide_votes(tmp_path / "none", key_file).voters == 0


def test_one_candidate_alone_cannot_be_compared(tracks: list[BallotTrack], tmp_path: Path) -> None:
    alone = [BallotTrack(track.track_id, track.mixture, {"toy": track.vocals["toy"]}) for track in tracks]
    write_ballot(tmp_path / "out", alone, seed=0)
    page = (tmp_path / "out" / BALLOT_FILE).read_text()
    assert "nothing to compare" in page
    assert "<audio" not in page


def test_a_ballot_without_any_candidate_says_that_there_is_nothing_to_compare(
    tracks: list[BallotTrack], tmp_path: Path
) -> None:
    bare = [BallotTrack(track.track_id, track.mixture, {}) for track in tracks]
    write_ballot(tmp_path / "out", bare, seed=0)
    assert "nothing to compare" in (tmp_path / "out" / BALLOT_FILE).read_text()


@pytest.mark.parametrize(
    "key",
    [
        "",
        "[]",
        "[" * 3000,
        '{"ballot": "b", "candidates": ["toy", 1], "tracks": {}}',
        '{"ballot": "b", "candidates": ["toy", "\\ud800"], "tracks": {}}',
        '{"ballot": "b", "candidates": ["toy"], "tracks": {"demo/0": 0.5}}',
    ],
)
def test_a_damaged_key_is_told_as_such(tmp_path: Path, key: str) -> None:
    (tmp_path / KEY_FILE).write_text(key)
    with pytest.raises(InputError, match="key of the ballot"):
        count_votes(tmp_path, tmp_path / KEY_FILE)
