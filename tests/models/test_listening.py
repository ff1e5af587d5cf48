from __future__ import annotations

import base64
import io
import json
import os
import re
from pathlib import Path

import pytest
import soundfile
from small_datasets import tone

from data import audio
from data.errors import InputError
from data.measure import loudness_lufs
from models.listening import BALLOT_FILE, KEY_FILE, BallotTrack, count_votes, write_ballot

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


def vote(folder: Path, name: str, ballot: str, votes: dict[str, str]) -> None:
    folder.mkdir(exist_ok=True)
    (folder / f"votes-{name}.json").write_text(json.dumps({"ballot": ballot, "voter": name, "votes": votes}))


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


@pytest.mark.parametrize(
    "content", ["no json", "[1]", '{"votes": {}}', '{"ballot": "BALLOT", "votes": {"demo/9": "A"}}']
)
def test_a_file_that_is_no_vote_is_named(tracks: list[BallotTrack], tmp_path: Path, content: str) -> None:
    ballot = write_ballot(tmp_path / "out", tracks, seed=0)
    (tmp_path / "votes").mkdir()
    (tmp_path / "votes" / "bad.json").write_text(content.replace("BALLOT", ballot))
    with pytest.raises(InputError, match=r"bad\.json"):
        count_votes(tmp_path / "votes", tmp_path / "out" / KEY_FILE)


def test_one_candidate_alone_cannot_be_compared(tracks: list[BallotTrack], tmp_path: Path) -> None:
    alone = [BallotTrack(track.track_id, track.mixture, {"toy": track.vocals["toy"]}) for track in tracks]
    write_ballot(tmp_path / "out", alone, seed=0)
    page = (tmp_path / "out" / BALLOT_FILE).read_text()
    assert "nothing to compare" in page
    assert "<audio" not in page
