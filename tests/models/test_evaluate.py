from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.audio import SAMPLE_RATE
from data.errors import InputError
from data.tables import read_table, write_table
from models.evaluate import SCORES, compare, coverage, score_track, scores_frame, summarise
from models.ica import separate_ica
from models.masks import ideal_ratio_mask
from models.measures import CSDR, CSDR_FULL, LEAKAGE, MEASURES, SI_SDR, USDR, Measure
from models.metrics import si_sdr, usdr

WINDOW = SAMPLE_RATE  # frames of a window of cSDR


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
    """Scores with the given uSDR a track; both cSDR one higher."""
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
                    "csdr_full_db": None if value is None else value + 1,
                    "windows_missing": None if value is None else 0.0,
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
    measured = [measure.column for measure in MEASURES]
    assert [scored[name] for name in (*measured, "windows_missing")] == [None] * 6
    assert scored["note"] == "ICA is undefined"


def test_a_track_without_vocals_gets_its_leakage_only():
    mixture, _ = track(1)
    scored = row("toy", "a", 0.1 * mixture, mixture, np.zeros_like(mixture))
    assert scored["leakage_db"] == pytest.approx(-20.0, abs=0.01)
    assert scored["usdr_db"] is None
    assert scored["csdr_db"] is None
    assert scored["csdr_full_db"] is None
    assert scored["windows_missing"] is None
    assert scored["si_sdr_db"] is None
    assert "no vocals" in str(scored["note"])


def test_a_silent_estimate_is_scored_and_told():
    mixture, vocals = track(1)
    scored = row("toy", "a", np.zeros_like(mixture), mixture, vocals)
    assert scored["usdr_db"] == 0.0
    assert scored["csdr_db"] is None
    assert scored["csdr_full_db"] == 0.0
    assert scored["windows_missing"] == 1.0
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
    assert [toy[measure.counted] for measure in MEASURES] == [3, 3, 3, 3, 0]


def test_a_track_without_a_score_does_not_count_and_is_listed():
    scores = table(toy={"a": 1.0, "b": 2.0, "c": 3.0}, ica={"a": 0.0, "b": None})
    summary = summarise(scores).set_index("method")
    assert summary.loc["ica", "tracks"] == 2
    assert summary.loc["ica", "usdr_tracks"] == 1
    problems = coverage(scores)
    assert problems == ["ica was not run on c", "ica has no score on b"]


def test_methods_on_the_same_tracks_have_nothing_missing():
    # A track that nobody can have an SDR on (no vocals) is nobody's fault.
    assert coverage(table(toy={"a": 1.0, "b": None}, ica={"a": 0.0, "b": None})) == []


def test_a_clear_difference_is_named_with_an_interval_around_it():
    scores = table(toy={str(i): 5.0 + i % 3 for i in range(12)}, ica={str(i): i % 2 for i in range(12)})
    result = compare(scores, "toy", "ica", USDR, seed=0)
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
    assert compare(scores, "toy", "ica", CSDR_FULL).difference == pytest.approx(1.0)
    assert compare(scores, "toy", "ica", USDR).difference == pytest.approx(34.0)


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


@pytest.mark.parametrize("measure", [LEAKAGE, CSDR])
def test_a_measure_that_silence_can_win_compares_nothing(measure: Measure):
    with pytest.raises(ValueError, match=f"{measure.title} does not compare"):
        compare(table(toy={"a": 1.0}), "toy", "toy", measure)


def song(seed: int, windows: int = 4, frames: int = WINDOW) -> tuple[np.ndarray, np.ndarray]:
    """Vocals and accompaniment `(2, windows * frames)`, equally loud, each second at a level of its own."""
    generator = np.random.default_rng(seed)
    levels = generator.uniform(0.05, 0.3, windows)
    sounds = generator.standard_normal((2, 2, windows, frames)) * levels[:, None]
    vocals, accompaniment = sounds.reshape(2, 2, -1).astype(np.float32)
    return vocals, accompaniment


def of_songs(methods: dict[str, Callable[[int, np.ndarray, np.ndarray], np.ndarray | None]], songs: int = 4):
    """Scores of each method's estimates (song, vocals, accompaniment) of some songs of four seconds."""
    rows = []
    for number in range(songs):
        vocals, accompaniment = song(number)
        for method, separate in methods.items():
            estimate = separate(number, vocals, accompaniment)
            rows.append(row(method, f"demo/{number}", estimate, vocals + accompaniment, vocals))
    return scores_frame(rows)


def honest(number: int, vocals: np.ndarray, accompaniment: np.ndarray) -> np.ndarray:
    """Vocals with a leak that grows from second to second and from song to song: some are easy, some are hard."""
    seconds = np.repeat(np.arange(vocals.shape[1] // WINDOW), WINDOW)
    return vocals + np.float32(0.1) * (1 + number + seconds).astype(np.float32) * accompaniment


def silent_where(hard: Callable[[int, int], bool], stand_in: str = "silence"):
    """The honest method, but with something else in its place in the seconds (song, second) that are `hard`."""

    def separate(number: int, vocals: np.ndarray, accompaniment: np.ndarray) -> np.ndarray:
        estimate = honest(number, vocals, accompaniment).copy()
        for second in range(estimate.shape[1] // WINDOW):
            if not hard(number, second):
                continue
            here = estimate[:, second * WINDOW : (second + 1) * WINDOW]
            here[...] = 0.0
            if stand_in == "one sample":
                here[0, 0] = 1e-4
            elif stand_in == "faint noise":
                here[...] = 1e-5 * np.random.default_rng(second).standard_normal(here.shape)
            elif stand_in == "the mixture":
                here[...] = (vocals + accompaniment)[:, second * WINDOW : (second + 1) * WINDOW]
        return estimate

    return separate


def test_silence_on_hard_songs_raises_the_published_csdr_and_nothing_that_ranks_or_compares():
    scores = of_songs({"honest": honest, "copy": silent_where(lambda number, _: number > 0)})
    summary = summarise(scores).set_index("method")
    assert summary.loc["copy", "csdr_median_db"] > summary.loc["honest", "csdr_median_db"] + 3
    assert summary.loc["copy", "csdr_tracks"] == 1
    assert summary.loc["copy", "csdr_full_median_db"] < summary.loc["honest", "csdr_full_median_db"]
    assert summary.loc["copy", "csdr_full_tracks"] == 4
    assert summary.loc["copy", "seconds_missing"] == pytest.approx(0.75)
    assert list(summary.index) == ["honest", "copy"]
    for measure in (measure for measure in MEASURES if measure.ranks):
        assert compare(scores, "copy", "honest", measure).difference < 0, measure
        assert compare(scores, "copy", "honest", measure).tracks == 4, measure
        assert list(summarise(scores, measure)["method"]) == ["honest", "copy"], measure


@pytest.mark.parametrize("stand_in", ["silence", "one sample", "faint noise", "the mixture"])
def test_whatever_stands_in_for_hard_seconds_they_count(stand_in: str):
    scores = of_songs({"honest": honest, "copy": silent_where(lambda _, second: second > 1, stand_in)})
    summary = summarise(scores).set_index("method")
    if stand_in in ("silence", "the mixture"):
        assert summary.loc["copy", "csdr_median_db"] > summary.loc["honest", "csdr_median_db"]
        assert summary.loc["copy", "seconds_missing"] == pytest.approx(0.5)
    assert compare(scores, "copy", "honest", CSDR_FULL).difference < 0
    assert compare(scores, "copy", "honest").difference < 0


def test_what_hardly_differs_from_silence_scores_as_silence_does():
    stand_ins = ("silence", "one sample", "faint noise")
    methods = {name: silent_where(lambda _, second: second > 0, name) for name in stand_ins}
    full = of_songs(methods, songs=1).set_index("method")["csdr_full_db"]
    assert full.to_numpy() == pytest.approx(0.0, abs=0.01)


@given(
    hard=st.sets(st.tuples(st.integers(0, 3), st.integers(0, 3))),
    leak=st.lists(st.floats(0.02, 0.7), min_size=16, max_size=16),
    level=st.floats(0.05, 0.6),
)
@settings(max_examples=25, deadline=None)
def test_no_choice_of_songs_and_seconds_to_be_silent_in_ever_helps(
    hard: set[tuple[int, int]], leak: list[float], level: float
):
    """Leaks below the level of the voice: no second of the method is below 0 dB, where silence would help rightly."""

    def method(number: int, vocals: np.ndarray, accompaniment: np.ndarray) -> np.ndarray:
        return vocals + np.repeat(leak[4 * number : 4 * number + 4], WINDOW).astype(np.float32) * accompaniment

    def copy(number: int, vocals: np.ndarray, accompaniment: np.ndarray) -> np.ndarray:
        estimate = method(number, vocals, accompaniment).copy()
        for second in range(4):
            if (number, second) in hard:
                estimate[:, second * WINDOW : (second + 1) * WINDOW] = 0.0
        return estimate

    def rival(_: int, vocals: np.ndarray, accompaniment: np.ndarray) -> np.ndarray:
        return vocals + np.float32(level) * accompaniment

    scores = of_songs({"method": method, "copy": copy, "rival": rival})
    place = {str(name): place for place, name in enumerate(summarise(scores)["method"])}
    assert not hard or place["copy"] > place["method"]
    for measure in (USDR, CSDR_FULL):
        before, after = (compare(scores, name, "rival", measure) for name in ("method", "copy"))
        assert after.difference <= before.difference + 1e-9
        assert after.low <= before.low + 1e-9
        assert not (after.verdict == "better" and before.verdict != "better")
    # Whole songs answered with silence alone: an angle to nothing is no better than any angle.
    whole = {number for number in range(4) if {(number, second) for second in range(4)} <= hard}
    for number in whole:
        one = scores[scores["track_id"] == f"demo/{number}"]
        assert compare(one, "copy", "method", SI_SDR).difference <= 0


def test_silence_counts_as_the_least_angle_and_takes_no_song_out():
    scores = of_songs({"honest": honest, "copy": silent_where(lambda number, _: number == 3)})
    result = compare(scores, "copy", "honest", SI_SDR)
    assert (result.tracks, result.missing) == (4, ())
    assert result.difference < -10


def test_methods_are_ranked_over_the_tracks_that_all_candidates_have():
    # Over its own tracks "easy" has the higher mean.
    scores = table(
        easy={"a": 9.0, "b": 8.0}, thorough={"a": 10.0, "b": 9.0, "c": 1.0}, mixture={"a": 0.0, "b": 0, "c": 0}
    )
    summary = summarise(scores).set_index("method")
    assert list(summary.index) == ["thorough", "easy", "mixture"]
    assert summary.loc["easy", "usdr_mean_db"] > summary.loc["thorough", "usdr_mean_db"]
    assert summary.loc["thorough", "usdr_common_mean_db"] == pytest.approx(9.5)
    assert list(summary["common_tracks"]) == [2, 2, 2]


def test_a_baseline_that_is_undefined_on_a_track_takes_it_from_nobody():
    scores = table(toy={"a": 1.0, "b": 2.0}, other={"a": 2.0, "b": 0.0}, ica={"a": 9.0, "b": None})
    summary = summarise(scores).set_index("method")
    assert list(summary["common_tracks"]) == [1, 2, 2]
    assert list(summary.index) == ["ica", "toy", "other"]
    # Nor does a candidate without any score.
    scores = table(toy={"a": 1.0, "b": 2.0}, broken={"a": None, "b": None})
    assert list(summarise(scores)["common_tracks"]) == [2, 0]


def test_coverage_names_the_measure_that_lacks_a_track_and_the_seconds_csdr_lacks():
    quiet = silent_where(lambda number, second: number == 1 or (number, second) == (2, 0))
    assert coverage(of_songs({"honest": honest, "quiet": quiet})) == [
        "quiet has no published cSDR on demo/1",
        "quiet has no SI-SDR on demo/1",
        "quiet has no published cSDR in a share of the seconds, which it answers with silence or with the mixture, "
        "on demo/1 (100 %), demo/2 (25 %)",
    ]
