"""Who is promoted, decided over real files: trainings, a champion, votes, and validation tracks that change."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import dagster as dg
import pandas as pd
import pytest
from listener import Listener
from tiny import tiny_candidate, tiny_pairs
from training_root import write_manifest

from assets.championship import CHAMPION_VALIDATION, champion_validation, gather_facts, standing_champion, verdict
from assets.launcher import LocalLauncher
from assets.promotion import better_than_the_champion, challenger, champion
from assets.separators import training_recipe
from data import cache
from data.errors import InputError
from data.layout import CHAMPION_FILE, Layout
from data.loopback import PAIRS
from data.recipe import Recipe
from data.settings import Settings
from data.tables import read_table, write_table
from models.championship import Trained
from models.championship import challenger as best_candidate
from models.contest import VALIDATION, validation_frame
from models.training import train

GOOD, BAD = [5.0, 6.0, 7.0, 4.0], [3.0, 4.0, 5.0, 2.0]


class Arena:
    """A storage root with training pairs of which four are validated on, and whatever was trained there."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.champion: str | None = None  # named by hand
        self.pairs = tiny_pairs(root, train=2, validation=4, seconds=0.2)
        self.write_pairs(self.pairs)

    @property
    def settings(self) -> Settings:
        return Settings(storage=self.root, device="cpu", champion=self.champion)

    def write_pairs(self, pairs: pd.DataFrame) -> None:
        folder = self.root / "training_set" / "loopback"
        shutil.rmtree(folder, ignore_errors=True)

        def work(partial: Path) -> dict[str, object]:
            write_table(partial / PAIRS.file, pairs, PAIRS)
            return {}

        cache.make(folder, Recipe("pairs", {}, {}), work, version=PAIRS.version_in)
        write_manifest(self.root, pairs)

    def train(self, name: str, usdr_db: list[float], seed: int = 0, checkpoint: Path | None = None) -> str:
        """Leave a training with these scores on today's validation tracks; returns its fingerprint."""
        folder, parameters = self.root / "separators" / "checkpoint" / name, {"name": name, "seed": seed}
        pairs = cache.require(self.root / "training_set" / "loopback", "pairs").version
        tracks = self.pairs.loc[self.pairs["split"] == "validation", "track_id"]

        def work(partial: Path) -> dict[str, object]:
            frame = validation_frame(dict(zip(tracks, usdr_db, strict=True)))
            write_table(partial / VALIDATION.file, frame, VALIDATION)
            if checkpoint is None:
                (partial / "checkpoint.pt").write_text(f"{name} {seed}")
            else:
                shutil.copyfile(checkpoint, partial / "checkpoint.pt")
            PAIRS.write(partial, self.pairs)
            return {"settings": parameters}

        return cache.make(folder, training_recipe(parameters, pairs), work).record.fingerprint

    def best(self) -> Trained | None:
        """Who would be the challenger."""
        return best_candidate(gather_facts(self.settings))

    def promote(self) -> dg.ExecuteInProcessResult:
        """What a run does that asks who is champion."""
        return dg.materialize(
            [champion_validation, challenger, champion, better_than_the_champion],
            resources={"settings": self.settings, "launcher": LocalLauncher()},
            raise_on_error=False,
        )

    @property
    def promoted(self) -> str:
        return (self.root / "evaluation" / "champion" / "checkpoint.pt").read_text()


@pytest.fixture
def arena(tmp_path: Path) -> Arena:
    return Arena(tmp_path)


def test_without_a_champion_the_best_candidate_becomes_it(arena: Arena) -> None:
    assert verdict(arena.settings) is None
    arena.train("toy", BAD)
    arena.train("aps360", GOOD)
    assert arena.promote().success
    assert arena.promoted == "aps360 0"


def test_a_better_training_takes_its_place_and_the_verdict_stays_the_same(arena: Arena) -> None:
    arena.train("toy", BAD)
    arena.promote()
    arena.train("toy", GOOD, seed=1)
    assert arena.promote().success
    assert arena.promoted == "toy 1"
    found = verdict(arena.settings)
    assert found is not None
    assert found.promoted
    assert found.champion.reason.startswith("toy is better than the champion, an earlier training of it: +2.00 dB")
    # Promoted, it does not change what led to it: once more, and nothing is made.
    again = arena.promote()
    cached = [
        event.step_materialization_data.materialization.metadata["cached"].value
        for event in again.all_events
        if event.is_step_materialization
    ]
    assert cached == [True, True, True]


def test_a_training_that_is_not_better_leaves_the_champion_alone_and_says_why(arena: Arena) -> None:
    arena.train("toy", GOOD)
    arena.promote()
    files = {path: path.stat().st_mtime_ns for path in (arena.root / "evaluation" / "champion").iterdir()}
    arena.train("toy", [5.1, 5.9, 7.1, 4.1], seed=1)
    result = arena.promote()
    assert not result.success
    (check,) = result.get_asset_check_evaluations()
    assert not check.passed
    assert check.severity is dg.AssetCheckSeverity.ERROR
    assert "not better than the champion, an earlier training of it: +0.05 dB uSDR, 95 % interval" in (
        check.description or ""
    )
    assert arena.promoted == "toy 0"
    assert {path: path.stat().st_mtime_ns for path in (arena.root / "evaluation" / "champion").iterdir()} == files


def test_a_training_on_other_pairs_does_not_contend(arena: Arena) -> None:
    arena.train("toy", BAD)
    arena.train("aps360", GOOD)
    arena.write_pairs(arena.pairs.assign(frames=arena.pairs["frames"] - 1))
    assert arena.best() is None
    arena.train("toy", BAD, seed=1)
    found = arena.best()
    assert found is not None
    assert found.name == "toy"


def test_tracks_that_the_champion_was_trained_on_have_no_say(arena: Arena) -> None:
    arena.train("toy", GOOD)
    arena.promote()
    # Its training pairs were others: there, one of today's validation tracks was trained on.
    own = arena.root / "evaluation" / "champion"
    pairs = arena.pairs.copy()
    pairs.loc[pairs["track_id"] == "demo/song-5", "split"] = "train"
    write_table(own / PAIRS.file, pairs, PAIRS)
    record = json.loads((own / "record.json").read_text())
    stamps = cache.stamp_files(own)
    record["files"] = {name: vars(stamp) for name, stamp in stamps.items()}
    del record["sha256"]  # as releases before that of today wrote it
    (own / "record.json").write_text(json.dumps(record))
    arena.train("toy", BAD, seed=1)
    standing = standing_champion(arena.root)
    assert standing is not None
    measured = {"champion": "toy", "fingerprint": standing.fingerprint}

    def work(partial: Path) -> dict[str, str]:
        shutil.copyfile(own / VALIDATION.file, partial / VALIDATION.file)
        return measured

    cache.make(arena.root.joinpath(*CHAMPION_VALIDATION.path), Recipe("by hand", {}, {}), work)
    found = verdict(arena.settings)
    assert found is not None
    assert found.contest is not None
    assert found.contest.comparison.tracks == 3
    assert "1 left out because the champion was trained on them" in found.champion.reason


def test_on_other_validation_tracks_the_champion_is_measured_again(arena: Arena, tmp_path: Path) -> None:
    """Really: its checkpoint, in a process of its own."""
    train(tiny_candidate(), arena.pairs, arena.root, tmp_path / "trained", Listener())
    own = read_table(tmp_path / "trained" / VALIDATION.file, VALIDATION)
    arena.train("toy", [90.0] * 4, checkpoint=tmp_path / "trained" / "checkpoint.pt")
    assert arena.promote().success
    arena.write_pairs(arena.pairs.assign(vocals_sha256="another checksum"))
    arena.train("toy", GOOD, seed=1)
    arena.promote()
    measured = read_table(arena.root / "evaluation" / "champion_validation" / VALIDATION.file, VALIDATION)
    pd.testing.assert_frame_equal(measured, own, atol=1e-4)  # and not the 90 dB of before
    record = cache.require(arena.root / "evaluation" / "champion_validation", "scores")
    assert record.measured["how"] == "measured again, on today's tracks"


@pytest.fixture
def ballot(arena: Arena, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Two trainings on a ballot, the worse one the challenger; a function that has people vote for it."""
    arena.train("toy", GOOD)
    arena.promote()
    arena.train("aps360", BAD)
    test, votes = arena.root / "evaluation" / "listening_test", arena.root / "votes"
    test.mkdir()
    votes.mkdir()
    monkeypatch.setattr("assets.ballot.why_not_scored", lambda root, name: None)

    def vote(*voters: str, letter: str = "B", ballot: str = "b1") -> None:
        songs = {f"t{number}": {"A": "toy", "B": "aps360"} for number in range(5)}
        key = {"ballot": ballot, "candidates": ["aps360", "toy"], "tracks": songs}
        (test / "key.json").write_text(json.dumps(key))
        for voter in voters:
            content = {"ballot": "b1", "voter": voter, "votes": dict.fromkeys(songs, letter)}
            (votes / f"votes-{voter}.json").write_text(json.dumps(content))

    return vote


def test_one_persons_clicks_do_not_replace_a_champion(arena: Arena, ballot: Callable[..., None]) -> None:
    ballot("Ann")
    arena.promote()
    assert arena.promoted == "toy 0"
    record = cache.require(arena.root / "evaluation" / "challenger", "challenger")
    assert record.measured["votes"] == "1 voter, 6 are needed"


def test_enough_voters_who_agree_replace_it_until_what_they_heard_is_gone(
    arena: Arena, ballot: Callable[..., None]
) -> None:
    ballot(*"abcdef")
    ballot("contrary", letter="A")
    found = arena.best()
    assert found is not None
    assert found.name == "toy"  # six of seven are not more than chance explains
    ballot("contrary")
    assert arena.promote().success
    assert arena.promoted == "aps360 0"
    content = json.loads((arena.root / "evaluation" / "champion" / "champion.json").read_text())
    assert content["reason"].startswith("7 voters prefer aps360 to toy")
    ballot(ballot="b2")
    found = arena.best()
    assert found is not None
    assert found.name == "toy"


def test_votes_say_nothing_of_a_champion_that_was_not_on_the_ballot(arena: Arena, ballot: Callable[..., None]) -> None:
    ballot(*"abcdefg")
    arena.train("toy", BAD, seed=1)  # the champion is an earlier training of what people heard
    assert not arena.promote().success
    assert arena.promoted == "toy 0"


def test_a_candidate_that_was_not_listened_to_has_no_votes(
    arena: Arena, ballot: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    ballot(*"abcdefg")
    monkeypatch.setattr(
        "assets.ballot.why_not_scored", lambda root, name: "trained again" if name == "aps360" else None
    )
    found = arena.best()
    assert found is not None
    assert found.name == "toy"


def test_a_champion_is_named_by_hand_and_the_reason_says_so(arena: Arena, ballot: Callable[..., None]) -> None:
    ballot("Ann", letter="A")
    arena.champion = "aps360"
    assert arena.promote().success
    assert arena.promoted == "aps360 0"
    content = json.loads((arena.root / "evaluation" / "champion" / "champion.json").read_text())
    assert content["reason"] == "named by hand (ISOLATION_CHAMPION), whatever votes and scores say"
    arena.champion = "nobody"
    with pytest.raises(InputError, match="a candidate that is trained: aps360, toy"):
        arena.best()


@pytest.mark.parametrize(
    "content", [b"\xff\xfe", b"[" * 5000, b"[]", b"{}", b'{"candidate": 1, "fingerprint": "x", "reason": "y"}', b"7"]
)
def test_a_damaged_note_of_the_champion_is_told_and_nothing_is_promoted_over_it(arena: Arena, content: bytes) -> None:
    arena.train("toy", [1.0] * 4)
    arena.promote()
    folder = Layout(arena.root).champion
    (folder / CHAMPION_FILE).write_bytes(content)
    # As a disk would: the record agrees with what is there.
    record = json.loads((folder / cache.RECORD).read_text())
    status = (folder / CHAMPION_FILE).stat()
    record["files"][CHAMPION_FILE] |= {"size": status.st_size, "mtime_ns": status.st_mtime_ns}
    del record["sha256"]
    (folder / cache.RECORD).write_text(json.dumps(record))
    with pytest.raises(InputError, match="champion"):
        standing_champion(arena.root)
