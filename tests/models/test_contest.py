from __future__ import annotations

import math
from pathlib import Path

import pandas as pd
import pytest
from listener import Listener
from tiny import tiny_candidate, tiny_pairs

from data.errors import InputError
from data.tables import read_table
from models.contest import VALIDATION, contest, same_validation, validation_frame
from models.training import train
from models.validate import validate_checkpoint


def scores(*usdr_db: float) -> pd.DataFrame:
    return validation_frame({f"demo/song-{number}": value for number, value in enumerate(usdr_db)})


def test_a_difference_that_every_track_shares_counts() -> None:
    held = contest(scores(5.0, 6.2, 7.1, 4.0), scores(4.0, 5.0, 6.0, 3.1))
    assert held.better
    assert held.comparison.difference == pytest.approx(1.05)
    assert held.figures.startswith("+1.05 dB uSDR, 95 % interval +0.")
    assert "4 validation tracks" in held.figures


@pytest.mark.parametrize(
    ("challenger", "champion"),
    [
        ((5.0, 6.0, 7.0, 4.0), (5.0, 6.0, 7.0, 4.0)),
        ((9.0, 3.0, 9.0, 3.0), (5.0, 6.0, 6.0, 5.0)),  # better on average, by less than tracks differ
        ((5.2, 6.2, 7.2, 4.2), (5.0, 6.0, 7.0, 4.0)),  # surely better, by less than another seed may give
        ((4.0, 5.0, 6.0, 3.0), (5.0, 6.0, 7.0, 4.0)),
        ((9.0, 9.0), (1.0, 1.0)),  # two tracks prove nothing
    ],
)
def test_chance_a_tie_or_a_loss_do_not_make_a_champion(
    challenger: tuple[float, ...], champion: tuple[float, ...]
) -> None:
    assert not contest(scores(*challenger), scores(*champion)).better


def test_tracks_that_the_champion_was_trained_on_do_not_count() -> None:
    challenger, champion = scores(5.0, 6.0, 7.0, 4.0), scores(4.0, 5.0, 6.0, 19.0)
    assert not contest(challenger, champion).better
    held = contest(challenger, champion, seen=["demo/song-3"])
    assert held.better
    assert held.comparison.tracks == 3
    assert "1 left out because the champion was trained on them" in held.figures
    every = contest(challenger, champion, seen=list(champion["track_id"]))
    assert not every.better
    assert "0 validation tracks to compare on, 3 are needed" in every.figures


def test_tracks_without_vocals_do_not_count() -> None:
    held = contest(scores(5.0, 6.0, 7.0, math.nan), scores(4.0, 5.0, 6.0, math.nan))
    assert held.comparison.tracks == 3
    assert held.tracks["counts"].tolist() == ["yes", "yes", "yes", "no: no vocals"]


def test_scores_over_different_tracks_are_never_compared() -> None:
    with pytest.raises(InputError, match="demo/song-3"):
        contest(scores(5.0, 6.0, 7.0, 4.0), scores(4.0, 5.0, 6.0))


def test_the_same_scores_give_the_same_verdict_twice() -> None:
    held = [contest(scores(5.0, 6.2, 7.1, 4.0), scores(4.0, 5.0, 6.0, 3.1)).comparison for _ in range(2)]
    assert held[0] == held[1]


def test_validation_is_the_same_only_with_the_same_audio(tmp_path: Path) -> None:
    pairs = tiny_pairs(tmp_path, train=2, validation=2)
    assert same_validation(pairs, pairs.iloc[::-1].assign(frames=1))
    other = pairs.copy()
    other.loc[3, "vocals_sha256"] = "other vocals"
    assert not same_validation(pairs, other)
    assert same_validation(pairs, pairs[pairs["track_id"] != "demo/song-0"])  # a training track
    assert not same_validation(pairs, pairs[pairs["track_id"] != "demo/song-3"])


def test_a_checkpoint_measured_again_scores_as_in_its_training(tmp_path: Path) -> None:
    pairs = tiny_pairs(tmp_path / "audio", train=2, validation=2)
    train(tiny_candidate(), pairs, tmp_path / "audio", tmp_path / "out", Listener())
    left = read_table(tmp_path / "out" / "validation.parquet", VALIDATION)
    again = validate_checkpoint(tmp_path / "out" / "checkpoint.pt", pairs, tmp_path / "audio", "cpu")
    pd.testing.assert_frame_equal(again, left, atol=1e-4)
    curves = read_table(tmp_path / "out" / "curves.parquet")
    kept = curves.loc[curves["kept"].idxmax(), "validation_usdr_db"]
    assert left["usdr_db"].mean() == pytest.approx(kept, abs=1e-4)
