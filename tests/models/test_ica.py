from __future__ import annotations

import time
import warnings

import numpy as np
import pytest
from sklearn.decomposition import FastICA

from data.audio import SAMPLE_RATE
from models.ica import fit_ica, separate_ica
from models.metrics import si_sdr


def sources(seed: int, frames: int = 40_000) -> np.ndarray:
    """Two independent, non-Gaussian sources `(2, frames)`: spiky like a voice, flat like a pad."""
    generator = np.random.default_rng(seed)
    return np.stack([generator.laplace(size=frames), generator.uniform(-1.7, 1.7, size=frames)])


def stereo(seed: int, seconds: float = 4.0) -> tuple[np.ndarray, np.ndarray]:
    """A mixture whose vocals and accompaniment are each panned to one place, and its vocals, `(2, frames)`."""
    voice, band = 0.1 * sources(seed, round(seconds * SAMPLE_RATE))
    vocals = np.outer([0.8, 0.6], voice).astype(np.float32)
    return vocals + np.outer([0.3, 0.9], band).astype(np.float32), vocals


@pytest.mark.parametrize("seed", range(5))
def test_components_equal_scikit_learns_up_to_sign_and_order(seed: int):
    mixing = np.random.default_rng(seed + 100).uniform(-1, 1, (2, 2))
    signal = mixing @ sources(seed) + np.array([[0.5], [-2.0]])
    ours = fit_ica(signal, seed=seed, tolerance=1e-14).apply(signal)
    theirs, agreement = scikit_learns(signal, ours)
    order = np.argmax(np.abs(agreement), axis=1)
    assert sorted(order) == [0, 1]
    signs = np.sign(agreement[[0, 1], order])
    np.testing.assert_allclose(ours, signs[:, None] * theirs[order], atol=1e-6, rtol=0)


def scikit_learns(signal: np.ndarray, ours: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Scikit-learn's components from a start that leads to the same first component as ours, and their correlation.

    Deflation pins the second component to the first, and on finite data the two possible firsts are not quite at
    right angles: results are comparable where both found the same one first.
    """
    for start in range(20):
        reference = FastICA(
            algorithm="deflation", whiten="unit-variance", fun="logcosh", tol=1e-14, max_iter=500, random_state=start
        )
        theirs = reference.fit_transform(signal.T).T
        agreement = ours @ theirs.T / signal.shape[1]
        if abs(agreement[0, 0]) > abs(agreement[0, 1]):
            return theirs, agreement
    raise AssertionError("no start led to the same first component")


def test_components_are_uncorrelated_centred_and_of_unit_variance():
    signal = np.array([[1.0, 0.4], [0.3, 1.0]]) @ sources(7) + 3.0
    components = fit_ica(signal).apply(signal)
    np.testing.assert_allclose(components @ components.T / components.shape[1], np.eye(2), atol=1e-9)
    np.testing.assert_allclose(components.mean(axis=1), 0.0, atol=1e-9)


def test_the_same_seed_gives_the_same_bytes():
    mixture, vocals = stereo(1)
    first, second = separate_ica(mixture, vocals, seed=3), separate_ica(mixture, vocals, seed=3)
    assert first.estimate is not None
    assert second.estimate is not None
    assert first.estimate.tobytes() == second.estimate.tobytes()


@pytest.mark.parametrize("seed", range(4))
def test_vocals_panned_to_one_place_are_recovered_whichever_component_they_are(seed: int):
    mixture, vocals = stereo(5)
    result = separate_ica(mixture, vocals, seed=seed)
    assert result.estimate is not None
    assert result.estimate.dtype == np.float32
    assert result.estimate.shape == mixture.shape
    assert si_sdr(vocals, result.estimate) > 20


def test_each_channel_gets_the_level_that_fits_its_vocals():
    mixture, vocals = stereo(5)
    estimate = separate_ica(mixture, vocals).estimate
    assert estimate is not None
    for channel in range(2):
        error = vocals[channel] - estimate[channel]
        # A projection leaves an error at right angles to the estimate.
        assert abs(np.vdot(error, estimate[channel])) < 1e-3 * np.vdot(estimate[channel], estimate[channel])


@pytest.mark.parametrize(
    ("case", "reason"),
    [
        ("dual mono", "same signal"),
        ("scaled", "same signal"),
        ("mono", "mono"),
        ("silent", "silent"),
        ("sung", "vocals"),
    ],
)
def test_where_ica_is_undefined_it_says_why(case: str, reason: str):
    mixture, vocals = stereo(5, 1.0)
    if case == "dual mono":
        mixture = mixture[[0, 0]]
    elif case == "scaled":
        mixture = np.stack([mixture[0], -0.5 * mixture[0]])
    elif case == "mono":
        mixture, vocals = mixture[:1], vocals[:1]
    elif case == "silent":
        mixture = np.zeros_like(mixture)
    else:
        vocals = np.zeros_like(vocals)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = separate_ica(mixture, vocals)
    assert result.estimate is None
    assert reason in result.reason


def test_a_fixed_point_that_is_not_reached_is_told():
    mixture, _ = stereo(5, 1.0)
    assert not fit_ica(mixture, tolerance=0.0, max_iterations=1).converged
    assert fit_ica(mixture).converged


def test_a_song_of_four_minutes_takes_seconds():
    mixture, vocals = (np.tile(signal, 24) for signal in stereo(2, 10.0))
    start = time.perf_counter()
    assert separate_ica(mixture, vocals).estimate is not None
    assert time.perf_counter() - start < 20
