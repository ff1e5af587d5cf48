from __future__ import annotations

import math
import warnings

import museval
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.audio import SAMPLE_RATE
from models.metrics import csdr, csdr_full, csdr_windows, leakage_db, si_sdr, silent_windows, usdr, windows_missing

SEEDS = st.integers(0, 2**32 - 1)


@pytest.fixture(autouse=True)
def _no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def noise(seed: int, seconds: float = 3.0, level: float = 0.1) -> np.ndarray:
    frames = round(seconds * SAMPLE_RATE)
    return (level * np.random.default_rng(seed).standard_normal((2, frames))).astype(np.float32)


def museval_windows(vocals, estimate, accompaniment, accompaniment_estimate) -> np.ndarray:
    references = [signal.T.astype(np.float64) for signal in (vocals, accompaniment)]
    estimates = [signal.T.astype(np.float64) for signal in (estimate, accompaniment_estimate)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return museval.evaluate(references, estimates, win=SAMPLE_RATE, hop=SAMPLE_RATE)[0][0]


def test_csdr_equals_musevals_framewise_sdr_and_its_median():
    # Three seconds and a rest, which museval leaves out; the level of the error differs between windows.
    vocals, accompaniment = noise(1, 3.4), noise(2, 3.4)
    envelope = np.linspace(0.1, 1.0, vocals.shape[1], dtype=np.float32)
    estimate = 0.8 * vocals + 0.3 * envelope * accompaniment
    mixture = vocals + accompaniment
    signals = (vocals, estimate, accompaniment, mixture - estimate)
    theirs = museval_windows(*signals)
    assert theirs.shape == (3,)
    np.testing.assert_allclose(csdr_windows(*signals), theirs, atol=1e-6, rtol=0)
    assert csdr(*signals) == pytest.approx(np.median(theirs), abs=1e-6)


def test_csdr_leaves_out_the_windows_that_museval_leaves_out():
    vocals, accompaniment = noise(1, 5.0), noise(2, 5.0)
    estimate = vocals + 0.1 * noise(3, 5.0)
    accompaniment_estimate = accompaniment + 0.1 * noise(4, 5.0)
    for window, signal in enumerate((vocals, estimate, accompaniment, accompaniment_estimate)):
        signal[:, window * SAMPLE_RATE : (window + 1) * SAMPLE_RATE] = 0.0
    ours = csdr_windows(vocals, estimate, accompaniment, accompaniment_estimate)
    theirs = museval_windows(vocals, estimate, accompaniment, accompaniment_estimate)
    assert list(np.isnan(ours)) == [True, True, True, True, False]
    np.testing.assert_allclose(ours, theirs, atol=1e-6, rtol=0)
    assert csdr(vocals, estimate, accompaniment, accompaniment_estimate) == pytest.approx(theirs[4], abs=1e-6)


def test_every_second_counts_where_museval_counts_only_what_the_estimate_answers():
    vocals, accompaniment = noise(1, 5.0), noise(2, 5.0)
    vocals[:, :SAMPLE_RATE] = 0.0  # the song's own silence is nobody's doing
    estimate = vocals + 0.1 * accompaniment
    estimate[:, SAMPLE_RATE : 3 * SAMPLE_RATE] = 0.0
    estimate[:, 3 * SAMPLE_RATE : 4 * SAMPLE_RATE] = (vocals + accompaniment)[:, 3 * SAMPLE_RATE : 4 * SAMPLE_RATE]
    signals = (vocals, estimate, accompaniment, vocals + accompaniment - estimate)
    assert csdr(*signals) == pytest.approx(20.0, abs=0.1)  # the last second alone
    assert windows_missing(*signals) == pytest.approx(3 / 4)
    # Silence 0 dB, twice; the mixture 0 dB, as voice and accompaniment are equally loud; and 20 dB.
    assert csdr_full(*signals[:3]) == pytest.approx(0.0, abs=0.05)


def test_both_csdr_agree_where_nothing_is_silent():
    vocals, accompaniment = noise(1), noise(2)
    estimate = vocals + 0.3 * accompaniment
    mixture = vocals + accompaniment
    assert csdr_full(vocals, estimate, accompaniment) == pytest.approx(
        csdr(vocals, estimate, accompaniment, mixture - estimate), abs=1e-6
    )
    assert windows_missing(vocals, estimate, accompaniment, mixture - estimate) == 0.0


def test_a_perfect_second_is_finite_where_every_second_counts():
    vocals, accompaniment = noise(1), noise(2)
    assert csdr(vocals, vocals, accompaniment, accompaniment) == math.inf
    assert 90 < csdr_full(vocals, vocals, accompaniment) < 150


def test_one_silent_channel_does_not_make_a_window_missing():
    vocals, other = noise(1, 1.0), noise(2, 1.0)
    vocals[1] = 0.0
    assert np.isfinite(csdr_windows(vocals, 0.9 * vocals, other, other)).all()


def test_a_track_shorter_than_a_window_is_one_window():
    vocals, other = noise(1, 0.5), noise(2, 0.5)
    assert csdr_windows(vocals, vocals + 0.1 * other, other, other) == pytest.approx([20.0], abs=0.1)


@given(seed=SEEDS, share=st.floats(0.01, 2.0))
@settings(max_examples=25, deadline=None)
def test_usdr_is_the_ratio_of_energies_over_the_whole_track(seed: int, share: float):
    s, n = noise(seed, 1.3), noise(seed + 1, 1.3)
    e = s + np.float32(share) * n
    s64, d64 = s.astype(np.float64), s.astype(np.float64) - e.astype(np.float64)
    expected = 10 * np.log10((np.sum(s64**2) + 1e-7) / (np.sum(d64**2) + 1e-7))
    assert usdr(s, e) == pytest.approx(expected, abs=1e-9)


def test_usdr_of_a_perfect_estimate_is_bounded_by_the_epsilon():
    s = noise(1)
    energy = np.sum(s.astype(np.float64) ** 2)
    assert usdr(s, s) == pytest.approx(10 * np.log10((energy + 1e-7) / 1e-7))


def test_usdr_of_silence_is_zero_and_of_the_opposite_minus_six():
    s = noise(1)
    assert usdr(s, np.zeros_like(s)) == 0.0
    assert usdr(s, -s) == pytest.approx(-6.02, abs=0.01)


@given(seed=SEEDS, gain=st.floats(1e-3, 1e3), sign=st.sampled_from([1.0, -1.0]))
@settings(max_examples=25, deadline=None)
def test_si_sdr_does_not_change_with_the_gain_of_the_estimate(seed: int, gain: float, sign: float):
    s = noise(seed, 1.2).astype(np.float64)
    e = s + 0.3 * noise(seed + 1, 1.2)
    assert si_sdr(s, sign * gain * e) == pytest.approx(si_sdr(s, e), abs=1e-7)


@given(seed=SEEDS, share=st.floats(0.01, 3.0))
@settings(max_examples=25, deadline=None)
def test_si_sdr_is_the_angle_between_estimate_and_reference(seed: int, share: float):
    s = noise(seed, 1.2).astype(np.float64)
    e = s + share * noise(seed + 1, 1.2)
    cosine = np.vdot(s, e) / np.linalg.norm(s) / np.linalg.norm(e)
    assert si_sdr(s, e) == pytest.approx(10 * np.log10(cosine**2 / (1 - cosine**2)), abs=1e-6)


def test_si_sdr_of_a_scaled_reference_is_infinite_or_as_good():
    s = noise(1)
    assert si_sdr(s, s) == math.inf
    assert si_sdr(s, 2.0 * s) == math.inf
    assert si_sdr(s, 0.37 * s) > 120  # float32 rounding of the estimate


def test_a_silent_reference_has_no_sdr():
    silence, e = np.zeros((2, SAMPLE_RATE), dtype=np.float32), noise(1, 1.0)
    assert math.isnan(usdr(silence, e))
    assert math.isnan(si_sdr(silence, e))
    assert math.isnan(csdr(silence, e, e, e))
    assert math.isnan(csdr_full(silence, e, e))
    assert math.isnan(windows_missing(silence, e, e, e))
    assert math.isnan(si_sdr(e, silence))


def test_empty_signals_have_no_scores():
    empty = np.zeros((2, 0), dtype=np.float32)
    scores = usdr(empty, empty), si_sdr(empty, empty), csdr(empty, empty, empty, empty), leakage_db(empty, empty, empty)
    assert all(math.isnan(score) for score in scores)
    assert math.isnan(csdr_full(empty, empty, empty))
    assert math.isnan(windows_missing(empty, empty, empty, empty))


def test_leakage_counts_only_the_windows_where_nobody_sings():
    vocals, mixture = noise(1, 4.0), noise(2, 4.0)
    vocals[:, 2 * SAMPLE_RATE :] = 0.0
    estimate = mixture.copy()
    estimate[:, 2 * SAMPLE_RATE :] *= 0.1
    assert list(silent_windows(vocals)) == [False, False, True, True]
    assert leakage_db(vocals, estimate, mixture) == pytest.approx(-20.0, abs=1e-3)


def test_dither_below_the_threshold_counts_as_silence():
    vocals = noise(1, 2.0, level=1e-4)
    vocals[:, SAMPLE_RATE:] = noise(2, 1.0, level=3e-3)
    assert list(silent_windows(vocals)) == [True, False]


def test_leakage_is_undefined_without_silent_windows_or_without_a_mixture_in_them():
    vocals, mixture = noise(1), noise(2)
    assert math.isnan(leakage_db(vocals, mixture, mixture))
    silence = np.zeros_like(vocals)
    assert math.isnan(leakage_db(silence, silence, silence))


def test_leakage_of_exact_silence_is_finite_and_low():
    silence, mixture = np.zeros((2, SAMPLE_RATE), dtype=np.float32), noise(1, 1.0)
    assert -120 < leakage_db(silence, silence, mixture) < -90


@pytest.mark.parametrize("measure", [usdr, si_sdr])
def test_signals_of_different_lengths_are_refused(measure):
    with pytest.raises(ValueError, match="one shape"):
        measure(noise(1, 1.0), noise(1, 1.1))
