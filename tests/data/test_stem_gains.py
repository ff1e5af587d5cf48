"""Gains of stems in their mixture, measured on stems whose gains are known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.stem_gains import MOST, POOR_DB, StemFit, StemGains

RATE = 44100
FRAMES = 8 * RATE
KNOWN = np.array([[1.53, 1.53], [0.4, 0.7], [0.1, 3.0], [0.9, 0.9]])


def sounds(count: int, seed: int = 0, frames: int = FRAMES) -> np.ndarray:
    """Stems (count, 2, frames) like music in two ways: most energy is low, and each is louder now and softer then."""
    rng = np.random.default_rng(seed)
    noise = rng.standard_normal((count, 2, frames + 64))
    low = np.cumsum(noise, axis=-1)[..., 64:] - np.cumsum(noise, axis=-1)[..., :-64]
    swell = np.repeat(rng.uniform(0.2, 1.0, (count, 1, -(-frames // 4410))), 4410, axis=-1)[..., :frames]
    return np.asarray(0.01 * low * swell, dtype=np.float32)


def mixed(stems: np.ndarray, gains: np.ndarray) -> np.ndarray:
    """The sum (2, frames) of stems at gains (stems, 2)."""
    return np.asarray(np.sum(stems * gains[:, :, None], axis=0), dtype=np.float32)


def fitted(mixture: np.ndarray, stems: list[np.ndarray] | np.ndarray, block: int = RATE) -> StemGains:
    fit = StemFit(len(stems))
    for start in range(0, mixture.shape[1], block):
        fit.feed(mixture[:, start : start + block], [stem[:, start : start + block] for stem in stems])
    return fit.finish()


def test_gains_are_found_to_a_percent_in_each_channel() -> None:
    stems = sounds(4)
    found = fitted(mixed(stems, KNOWN), stems)
    np.testing.assert_allclose(found.measured, KNOWN, rtol=0.01)
    np.testing.assert_array_equal(found.usable, found.measured)
    assert found.plain_db is not None
    assert found.fitted_db is not None
    assert found.fitted_db < -60 < -10 < found.plain_db
    assert not found.faults
    assert not found.poor


@settings(max_examples=25, deadline=None)
@given(
    gains=st.lists(st.tuples(st.floats(0.1, 4.0), st.floats(0.1, 4.0)), min_size=1, max_size=6),
    seed=st.integers(0, 1000),
)
def test_whatever_the_gains_are_they_are_found(gains: list[tuple[float, float]], seed: int) -> None:
    stems = sounds(len(gains), seed, frames=4 * RATE)
    np.testing.assert_allclose(fitted(mixed(stems, np.array(gains)), stems).measured, gains, rtol=0.01)


def test_gains_of_a_compressed_mix_are_the_mean_of_what_the_compressor_did() -> None:
    stems = sounds(4)
    mixture = np.tanh(1.5 * mixed(stems, KNOWN)) / 1.5
    found = fitted(mixture.astype(np.float32), stems)
    ratio = found.measured / KNOWN
    assert not found.poor
    assert not found.faults
    assert (ratio < 1.0).all()
    assert (ratio > 0.5).all()
    # One knob for all of them: the compressor turned down whatever was played.
    assert ratio.std() < 0.05
    assert found.fitted_db < found.plain_db - 5  # type: ignore[operator]


def test_a_voice_on_one_side_has_a_gain_there_and_none_on_the_other() -> None:
    stems = sounds(3)
    stems[1, 1] = 0
    found = fitted(mixed(stems, KNOWN[:3]), stems)
    assert found.measured[1, 0] == pytest.approx(0.4, rel=0.01)
    assert np.isnan(found.measured[1, 1])
    assert found.usable[1, 1] == found.usable[1, 0]
    assert not found.faults


def test_a_mono_stem_that_the_mix_places_to_one_side_is_placed_there() -> None:
    stems = sounds(3)
    stems[0] = stems[0, :1]
    found = fitted(mixed(stems, np.array([[0.9, 0.0], [1, 1], [1, 1]])), stems)
    np.testing.assert_allclose(found.measured[0], [0.9, 0.0], atol=0.01)


def test_a_silent_stem_has_no_gain_and_disturbs_no_other() -> None:
    stems = sounds(4)
    stems[2] = 0
    found = fitted(mixed(stems, KNOWN), stems)
    assert np.isnan(found.measured[2]).all()
    np.testing.assert_allclose(found.measured[[0, 1, 3]], KNOWN[[0, 1, 3]], rtol=0.01)
    assert np.isfinite(found.usable).all()


def test_the_noise_of_a_quiet_file_is_not_turned_up() -> None:
    stems = sounds(3)
    stems[1] = 1e-5 * stems[1]
    rest = 0.05 * sounds(1, seed=9)[0]
    found = fitted(mixed(stems, np.ones((3, 2))) + rest, stems)
    assert np.isnan(found.measured[1]).all()
    assert not found.faults  # silence is none
    assert found.usable[1].max() < 2


def test_a_stem_that_ends_early_is_silent_from_there_on() -> None:
    stems = list(sounds(3))
    whole = np.stack([stem.copy() for stem in stems])
    whole[0][:, FRAMES // 3 :] = 0
    stems[0] = stems[0][:, : FRAMES // 3]
    np.testing.assert_allclose(fitted(mixed(whole, KNOWN[:3]), stems).measured, KNOWN[:3], rtol=0.01)


def test_copies_of_one_stem_share_its_gain() -> None:
    """What the mixture leaves open is decided for the gain that all share, not by rounding errors."""
    stems = sounds(3)
    stems = np.concatenate([stems, stems[:1]])
    found = fitted(mixed(stems, np.array([[2, 2], [1, 1], [1, 1], [0, 0]])), stems)
    np.testing.assert_allclose(found.measured, np.ones((4, 2)), rtol=0.01)
    assert found.fitted_db is not None
    assert found.fitted_db < -60


def test_stems_that_are_nearly_copies_add_up_to_what_the_mix_holds() -> None:
    stems = sounds(3)
    near = stems[0] + 1e-4 * sounds(1, seed=5)[0]
    stems = np.concatenate([stems, near[None]])
    rest = 0.1 * sounds(1, seed=7)[0]
    found = fitted(mixed(stems, np.array([[1.2, 1.2], [1, 1], [1, 1], [0.8, 0.8]])) + rest, stems)
    together = found.usable[0] + found.usable[3]
    np.testing.assert_allclose(together, 2.0, rtol=0.02)
    assert (found.usable[[0, 3]] > 0).all()


def test_a_stem_that_is_not_in_the_mix_gets_nothing_of_it() -> None:
    stems = sounds(3)
    found = fitted(mixed(stems[:2], np.ones((2, 2))), stems)
    np.testing.assert_array_equal(found.measured[2], [0, 0])
    assert not found.faults


def test_a_stem_that_is_in_the_mix_upside_down_is_taken_so() -> None:
    stems = sounds(3)
    found = fitted(mixed(stems, np.array([[1, 1], [-0.8, -0.8], [1, 1]])), stems)
    np.testing.assert_allclose(found.measured[1], -0.8, rtol=0.01)


def test_a_negative_gain_that_only_takes_out_bleed_is_not_believed() -> None:
    """The voice's microphone heard the guitar, the mix holds the guitar with less of the voice than it has."""
    guitar, voice, drums = sounds(3)
    stems = np.stack([0.3 * voice + guitar, guitar, drums])
    found = fitted(guitar - 0.2 * voice + drums, stems)
    assert "negative" in found.faults[0][0]
    assert np.isnan(found.measured[0]).all()
    assert (found.usable > 0).all()
    # The guitar is what the mixture holds of it less what the voice's microphone brings along.
    np.testing.assert_allclose(found.measured[1], 1 - found.usable[0], atol=0.05)


def test_a_gain_beyond_any_desk_is_not_believed() -> None:
    stems = sounds(3)
    stems[0] /= 100
    found = fitted(mixed(stems, np.array([[100, 100], [1, 1], [1, 1]])), stems)
    assert f"beyond {MOST:g}" in found.faults[0][0]
    assert (found.usable[0] <= MOST).all()
    np.testing.assert_allclose(found.measured[1:], 1, rtol=0.02)


def test_a_gain_that_is_noise_is_not_believed() -> None:
    """A stem 55 dB below what no stem explains: its two halves give two answers."""
    stems = sounds(2)
    rest = sounds(1, seed=3)[0]
    stems[0] *= 0.002
    found = fitted(stems[1] + rest, stems)
    assert any("unsteady" in fault for fault in found.faults.get(0, []))
    assert (found.usable[0] < 4).all()


def test_a_fader_that_moves_is_no_reason_for_doubt() -> None:
    stems = sounds(3)
    fader = np.linspace(0.5, 1.5, FRAMES, dtype=np.float32)
    found = fitted(mixed(stems[1:], np.ones((2, 2))) + fader * stems[0], stems)
    assert not found.faults
    np.testing.assert_allclose(found.measured[0], 1.0, rtol=0.1)


def test_a_mix_of_other_sounds_than_its_stems_is_poor() -> None:
    found = fitted(sounds(1, seed=8)[0], sounds(3))
    assert found.poor
    assert found.fitted_db is not None
    assert found.fitted_db > POOR_DB


def test_a_mix_that_is_shifted_against_its_stems_is_poor() -> None:
    stems = sounds(3)
    assert fitted(np.roll(mixed(stems, np.ones((3, 2))), 4000, axis=1), stems).poor


@pytest.mark.parametrize("what", ["mixture", "stems", "no stems"])
def test_silence_says_nothing(what: str) -> None:
    stems = sounds(2)
    mixture = mixed(stems, np.ones((2, 2)))
    found = {
        "mixture": lambda: fitted(0 * mixture, stems),
        "stems": lambda: fitted(mixture, 0 * stems),
        "no stems": lambda: fitted(mixture, []),
    }[what]()
    assert found.plain_db is None
    assert found.fitted_db is None
    assert found.poor
    assert np.isfinite(found.usable).all()


def test_one_silent_channel_leaves_the_other_its_gains() -> None:
    stems = sounds(3)
    stems[:, 1] = 0
    found = fitted(mixed(stems, KNOWN[:3]), stems)
    np.testing.assert_allclose(found.measured[:, 0], KNOWN[:3, 0], rtol=0.01)
    assert np.isnan(found.measured[:, 1]).all()


def test_thirty_stems_and_a_track_of_a_second_are_fitted_too() -> None:
    gains = np.random.default_rng(1).uniform(0.3, 2.0, (30, 2))
    stems = sounds(30)
    np.testing.assert_allclose(fitted(mixed(stems, gains), stems).measured, gains, rtol=0.01)
    short = sounds(3, frames=RATE // 2)
    np.testing.assert_allclose(fitted(mixed(short, KNOWN[:3]), short).measured, KNOWN[:3], rtol=0.01)


def test_memory_does_not_grow_with_the_track() -> None:
    fit = StemFit(3)
    kept = {name: value.nbytes for name, value in vars(fit).items() if isinstance(value, np.ndarray)}
    for _ in range(3):
        fit.feed(np.ones((2, RATE), np.float32), list(sounds(3, frames=RATE)))
    assert {name: value.nbytes for name, value in vars(fit).items() if isinstance(value, np.ndarray)} == kept
