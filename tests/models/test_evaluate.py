from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from data.audio import SAMPLE_RATE
from data.errors import InputError
from data.tables import read_table, write_table
from models.evaluate import SCORES, compare, coverage, score_track, scores_frame, summarise
from models.ica import separate_ica
from models.masks import ideal_ratio_mask
from models.metrics import si_sdr, usdr


def track(seed: int, seconds: float = 3.0) -> tuple[np.ndarray, np.ndarray]:
    """A mixture and its vocals `(2, frames)`: a swelling tone of three partials over noise."""
    generator = np.random.default_rng(seed)
    t = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    voice = sum(np.sin(2 * np.pi * 220 * k * t) / k for k in (1, 2, 3)) * (0.1 + 0.1 * np.sin(2 * np.pi * t) ** 2)
    vocals = np.stack([voice, 0.7 * voice]).astype(np.float32)
    return vocals + (0.1 * generator.standard_normal(vocals.shape)).astype(np.float32), vocals


def row(method: str, track_id: str, estimate, mixture, vocals, **extra) -> dict[str, object]:
    return score_track(
        method=method,
        track_id=track_id,
        split="reserved",
        mixture=mixture,
        vocals=vocals,
        estimate=estimate,
        **extra,
    )


def table(**methods: dict[str, float | None]) -> pd.DataFrame:
    """Scores with the given uSDR a track; cSDR one higher."""
    rows = []
    for method, tracks in methods.items():
        for track_id, value in tracks.items():
            rows.append(
                {
                    "method": method,
                    "track_id": track_id,
                    "split": "test",
                    "seconds": 1.0,
                    "usdr_db": value,
                    "csdr_db": None if value is None else value + 1,
                    "si_sdr_db": value,
                    "leakage_db": None,
                    "note": "",
                }
            )
    return scores_frame(rows)


def test_a_row_holds_the_measures_of_the_track(tmp_path: Path):
    mixture, vocals = track(1)
    estimate = vocals + 0.1 * (mixture - vocals)
    scored = row("toy", "musdb18/a", estimate, mixture, vocals)
    assert scored["usdr_db"] == usdr(vocals, estimate)
    assert scored["si_sdr_db"] == si_sdr(vocals, estimate)
    assert scored["csdr_db"] == pytest.approx(scored["usdr_db"], abs=2)
    assert scored["leakage_db"] is None
    assert scored["seconds"] == pytest.approx(3.0)
    write_table(tmp_path / "scores.parquet", scores_frame([scored]), SCORES)
    again = read_table(tmp_path / "scores.parquet", SCORES)
    assert again.loc[0, "usdr_db"] == scored["usdr_db"]
    assert math.isnan(again.loc[0, "leakage_db"])


def test_the_mixture_as_its_own_estimate_has_every_score():
    mixture, vocals = track(1)
    scored = row("mixture", "musdb18/a", mixture, mixture, vocals)
    assert scored["csdr_db"] is not None
    assert scored["usdr_db"] == pytest.approx(usdr(vocals, mixture))


def test_floor_baseline_and_ceiling_come_in_that_order():
    mixture, vocals = track(1)
    ica = separate_ica(mixture, vocals)
    estimates = {"mixture": mixture, "ica": ica.estimate, "ideal_mask": ideal_ratio_mask(mixture, vocals)}
    scores = [row(method, "a", estimate, mixture, vocals)["usdr_db"] for method, estimate in estimates.items()]
    assert scores[0] < scores[1] < scores[2]
    assert scores[2] > 15


def test_the_ideal_mask_gives_silence_for_silent_vocals_and_everything_where_all_is_vocals():
    mixture, vocals = track(1, 0.05)  # shorter than one window of its transform
    assert not ideal_ratio_mask(mixture, np.zeros_like(mixture)).any()
    np.testing.assert_allclose(ideal_ratio_mask(vocals, vocals), vocals, atol=1e-5)
    assert not ideal_ratio_mask(np.zeros_like(vocals), np.zeros_like(vocals)).any()


def test_a_method_that_is_undefined_for_a_track_gives_a_row_with_its_reason():
    mixture, vocals = track(1)
    scored = row("ica", "a", None, mixture, vocals, note="ICA is undefined")
    assert [scored[name] for name in ("usdr_db", "csdr_db", "si_sdr_db", "leakage_db")] == [None] * 4
    assert scored["note"] == "ICA is undefined"


def test_a_track_without_vocals_gets_its_leakage_only():
    mixture, _ = track(1)
    scored = row("toy", "a", 0.1 * mixture, mixture, np.zeros_like(mixture))
    assert scored["leakage_db"] == pytest.approx(-20.0, abs=0.01)
    assert scored["usdr_db"] is None
    assert scored["csdr_db"] is None
    assert scored["si_sdr_db"] is None
    assert "no vocals" in str(scored["note"])


def test_a_silent_estimate_is_scored_and_told():
    mixture, vocals = track(1)
    scored = row("toy", "a", np.zeros_like(mixture), mixture, vocals)
    assert scored["usdr_db"] == 0.0
    assert scored["csdr_db"] is None
    assert "silent" in str(scored["note"])


@pytest.mark.parametrize("fault", ["NaN", "shape"])
def test_an_unusable_estimate_is_named_with_method_and_track(fault: str):
    mixture, vocals = track(1)
    estimate = vocals.copy() if fault == "NaN" else vocals[:, :-1]
    if fault == "NaN":
        estimate[0, 5] = np.nan
    with pytest.raises(InputError, match=f"toy on musdb18/a(.|\n)*{fault}"):
        row("toy", "musdb18/a", estimate, mixture, vocals)


def test_the_summary_averages_each_measure_as_its_definition_says():
    scores = table(toy={"a": 1.0, "b": 2.0, "c": 9.0}, mixture={"a": -6.0, "b": -5.0, "c": -1.0})
    summary = summarise(scores)
    assert list(summary["method"]) == ["toy", "mixture"]
    toy = summary.iloc[0]
    assert toy["usdr_mean_db"] == pytest.approx(4.0)
    assert toy["csdr_median_db"] == pytest.approx(3.0)
    assert toy["si_sdr_mean_db"] == pytest.approx(4.0)
    assert toy["tracks_scored"] == 3


def test_a_track_without_a_score_does_not_count_and_is_listed():
    scores = table(toy={"a": 1.0, "b": 2.0, "c": 3.0}, ica={"a": 0.0, "b": None})
    summary = summarise(scores).set_index("method")
    assert summary.loc["ica", "tracks"] == 2
    assert summary.loc["ica", "tracks_scored"] == 1
    problems = coverage(scores)
    assert problems == ["ica was not run on c", "ica has no score on b"]


def test_methods_on_the_same_tracks_have_nothing_missing():
    # A track that nobody can have an SDR on (no vocals) is nobody's fault.
    assert coverage(table(toy={"a": 1.0, "b": None}, ica={"a": 0.0, "b": None})) == []


def test_a_clear_difference_is_named_with_an_interval_around_it():
    scores = table(toy={str(i): 5.0 + i % 3 for i in range(12)}, ica={str(i): i % 2 for i in range(12)})
    result = compare(scores, "toy", "ica", "usdr_db", seed=0)
    assert result.verdict == "better"
    assert result.low < result.difference < result.high
    assert result.low > 4.5
    assert result.difference == pytest.approx(5.5)
    assert compare(scores, "ica", "toy").verdict == "worse"
    assert compare(scores, "toy", "ica", seed=0) == compare(scores, "toy", "ica", seed=0)


def test_a_difference_that_chance_explains_is_a_tie():
    swings = [4.0, -3.5, 3.0, -3.0, 2.5, -1.0]
    scores = table(toy=dict(zip("abcdef", swings, strict=True)), ica=dict.fromkeys("abcdef", 0.0))
    result = compare(scores, "toy", "ica")
    assert abs(result.difference) > 0.3
    assert result.tie


def test_a_certain_difference_smaller_than_between_seeds_is_a_tie():
    scores = table(toy=dict.fromkeys("abcdef", 1.2), ica=dict.fromkeys("abcdef", 1.0))
    result = compare(scores, "toy", "ica")
    assert result.low > 0
    assert result.tie


def test_differences_are_paired_and_tracks_of_one_method_are_left_out_and_listed():
    scores = table(toy={"a": 1.0, "b": 11.0, "c": 21.0, "d": 90.0}, ica={"a": 0.0, "b": 10.0, "c": 20.0, "d": None})
    result = compare(scores, "toy", "ica")
    assert (result.tracks, result.difference, result.low, result.high) == (3, 1.0, 1.0, 1.0)
    assert result.missing == ("d",)
    assert result.verdict == "better"


def test_csdr_is_compared_by_the_median_of_the_differences():
    scores = table(toy={"a": 1.0, "b": 1.0, "c": 100.0}, ica={"a": 0.0, "b": 0.0, "c": 0.0})
    assert compare(scores, "toy", "ica", "csdr_db").difference == pytest.approx(1.0)
    assert compare(scores, "toy", "ica", "usdr_db").difference == pytest.approx(34.0)


def test_too_few_tracks_decide_nothing():
    scores = table(toy={"a": 9.0, "b": 9.0}, ica={"a": 0.0, "b": 0.0})
    assert compare(scores, "toy", "ica").verdict == "too few tracks"
    nothing = compare(table(toy={"a": 1.0}, ica={"b": 1.0}), "toy", "ica")
    assert nothing.tracks == 0
    assert math.isnan(nothing.difference)
    assert nothing.tie


def test_comparing_with_a_method_that_was_not_scored_says_so():
    with pytest.raises(InputError, match="score zebra"):
        compare(table(toy={"a": 1.0}), "toy", "zebra")
    with pytest.raises(ValueError, match="usdr_db"):
        compare(table(toy={"a": 1.0}), "toy", "toy", metric="leakage_db")
