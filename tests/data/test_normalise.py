from __future__ import annotations

from pathlib import Path

import numpy as np
import pyloudnorm
import pytest
import soundfile
import soxr
from small_datasets import RATE, tone

from data import audio, measure
from data.errors import InputError
from data.normalise import canonical_blocks, normalise_track
from data.recognition import ACCOMPANIMENT, MIXTURE, ROWS


def stems(folder: Path, mixture: np.ndarray, vocals: np.ndarray, rate: int = RATE, subtype: str = "FLOAT") -> Path:
    folder.mkdir()
    soundfile.write(folder / "mixture.wav", mixture, rate, subtype=subtype)
    soundfile.write(folder / "vocals.wav", vocals, rate, subtype=subtype)
    (folder.parent / "out").mkdir()
    return folder


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "FLOAT"])
def test_audio_in_canonical_rate_keeps_every_sample(tmp_path: Path, subtype: str) -> None:
    source = stems(tmp_path / "in", tone(2.0), tone(2.0, 330), subtype=subtype)
    normalise_track(source, tmp_path / "out")
    for name in ("mixture.wav", "vocals.wav"):
        np.testing.assert_array_equal(audio.read(tmp_path / "out" / name)[0], audio.read(source / name)[0])


def test_samples_beyond_full_scale_are_not_clipped(tmp_path: Path) -> None:
    source = stems(tmp_path / "in", tone(1.0, level=1.7), tone(1.0))
    measured = normalise_track(source, tmp_path / "out")
    assert measured["mixture_peak"] == pytest.approx(1.7, rel=0.1)
    assert measure.peak(audio.read(tmp_path / "out" / "mixture.wav")[0]) == measured["mixture_peak"]


@pytest.mark.parametrize("rate", [22050, 48000])
def test_another_rate_is_resampled_without_images(tmp_path: Path, rate: int) -> None:
    frequency = 10000.0
    source = stems(tmp_path / "in", tone(2.0, frequency, rate=rate), tone(2.0, rate=rate), rate)
    measured = normalise_track(source, tmp_path / "out")
    assert (measured["source_rate"], measured["frames"]) == (rate, 2 * RATE)
    mixture, _ = audio.read(tmp_path / "out" / "mixture.wav")
    inner = mixture[0, RATE // 2 : RATE // 2 + RATE] * np.hanning(RATE)  # one bin is one hertz
    level = 20 * np.log10(np.abs(np.fft.rfft(inner)) + 1e-12)
    away = np.ones(len(level), bool)
    away[int(frequency) - 100 : int(frequency) + 100] = False
    assert level[away].max() < level.max() - 90


def test_mono_becomes_dual_mono(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "mono.wav", tone(0.5)[:, 0], RATE)
    samples = np.concatenate(list(canonical_blocks(tmp_path / "mono.wav")), axis=1)
    assert samples.shape == (2, RATE // 2)
    np.testing.assert_array_equal(samples[0], samples[1])


def test_unequal_lengths_are_trimmed_to_the_shorter_and_recorded(tmp_path: Path) -> None:
    measured = normalise_track(stems(tmp_path / "in", tone(2.0), tone(1.5)), tmp_path / "out")
    assert (measured["frames"], measured["trimmed_frames"]) == (RATE * 3 // 2, RATE // 2)
    assert audio.info(tmp_path / "out" / "mixture.wav").frames == RATE * 3 // 2


def test_more_than_two_channels_are_refused(tmp_path: Path) -> None:
    source = stems(tmp_path / "in", np.zeros((100, 6)), np.zeros((100, 6)))
    with pytest.raises(InputError, match="6 channels"):
        normalise_track(source, tmp_path / "out")


def test_measurements_are_what_they_are_called(tmp_path: Path) -> None:
    time = np.arange(4 * RATE) / RATE
    sine = np.sin(2 * np.pi * 997 * time)
    vocals = np.stack([0.5 * sine, 0.5 * sine], axis=1)
    vocals[2 * RATE :] = 0
    measured = normalise_track(stems(tmp_path / "in", vocals, vocals), tmp_path / "out")
    assert measured["vocals_peak"] == pytest.approx(0.5, abs=1e-3)
    assert measured["vocals_rms_db"] == pytest.approx(20 * np.log10(0.5) - 3.01 - 3.01, abs=0.05)
    assert measured["vocal_activity"] == 0.5
    assert measured["vocal_level_db"] == pytest.approx([-9.03, -9.03, -120, -120], abs=0.05)
    # BS.1770: a 997 Hz sine at 0 dBFS in one channel is -3.01 LUFS; here two channels at -6.02 dB. Gating drops the
    # silence, but not the blocks across its edge.
    assert measured["mixture_lufs"] == pytest.approx(-3.01 + 3.01 - 6.02, abs=0.5)


def test_silence_has_no_loudness() -> None:
    silence = np.zeros((2, RATE), np.float32)
    assert measure.loudness_lufs(silence) is None
    assert measure.rms_db(silence) == -120


def test_loudness_is_pyloudnorms() -> None:
    rng = np.random.default_rng(0)
    samples = (0.1 * rng.standard_normal((2, 12 * RATE))).astype(np.float32)
    samples[:, : 4 * RATE] *= 0.02  # quiet enough for the relative gate
    expected = pyloudnorm.Meter(RATE).integrated_loudness(samples.T.astype(np.float64))
    assert measure.loudness_lufs(samples) == pytest.approx(expected, abs=1e-3)


def test_resampling_in_blocks_is_resampling_at_once(tmp_path: Path) -> None:
    samples = np.random.default_rng(0).uniform(-0.5, 0.5, (48000 * 3 + 123, 2)).astype(np.float32)
    soundfile.write(tmp_path / "a.wav", samples, 48000, subtype="FLOAT")
    streamed = np.concatenate(list(canonical_blocks(tmp_path / "a.wav")), axis=1)
    whole = soxr.resample(samples, 48000, RATE, quality="HQ").T
    assert streamed.shape == whole.shape
    np.testing.assert_allclose(streamed, whole, atol=1e-6)


def test_audio_that_needs_no_change_takes_no_space(tmp_path: Path) -> None:
    source = stems(tmp_path / "in", tone(2.0), tone(2.0, 330))
    normalise_track(source, tmp_path / "out")
    for name in ("mixture.wav", "vocals.wav"):
        assert (tmp_path / "out" / name).samefile(source / name)


def test_fingerprints_of_mixture_and_accompaniment_lie_beside_the_audio(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    music = np.concatenate([tone(1.0, frequency) for frequency in rng.uniform(200, 2000, 8)])
    normalise_track(stems(tmp_path / "in", music, music), tmp_path / "out")
    fingerprint = np.load(tmp_path / "out" / "recording.npy")
    assert fingerprint.dtype == np.uint32
    lengths = dict(zip(ROWS, fingerprint[:, 0].tolist(), strict=True))
    assert lengths[MIXTURE, 1.0] > 20
    assert lengths[ACCOMPANIMENT, 1.0] == 0  # all of it is sung
