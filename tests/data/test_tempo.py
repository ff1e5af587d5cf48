"""Tempo: clicks and generated songs of known tempo, and what has none."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.audio import SAMPLE_RATE, Audio
from data.demo import mixing
from data.demo.music import Song
from data.demo.voice import draw_singer
from data.tempo import TempoMeter

SONGS = 8


def tempo(audio: Audio, block: int = SAMPLE_RATE) -> float | None:
    meter = TempoMeter()
    for start in range(0, audio.shape[1], block):
        meter.feed(audio[:, start : start + block])
    return meter.finish()


def stereo(mono: np.ndarray) -> Audio:
    return np.tile(mono.astype(np.float32), (2, 1))


def noise(seconds: float, seed: int = 0) -> Audio:
    return (np.random.default_rng(seed).standard_normal((2, round(seconds * SAMPLE_RATE))) * 0.1).astype(np.float32)


def struck(times: np.ndarray, strike: np.ndarray, seconds: float) -> Audio:
    mono = np.zeros(round(seconds * SAMPLE_RATE) + len(strike))
    for time in times:
        start = round(time * SAMPLE_RATE)
        mono[start : start + len(strike)] += strike
    return stereo(mono)


def clicks(bpm: float, seconds: float = 12.0) -> Audio:
    frames = np.arange(500)
    return struck(np.arange(0, seconds, 60 / bpm), 0.7 * np.exp(-frames / 80) * np.sin(frames * 0.2), seconds)


@pytest.fixture(scope="module")
def songs() -> list[tuple[float, Audio]]:
    """Songs of 12 s and the tempo they were composed in."""
    composed: list[Song] = []

    def compose(*arguments: object, **named: object) -> Song:
        composed.append(original(*arguments, **named))  # type: ignore[arg-type]
        return composed[-1]

    original = mixing.compose
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mixing, "compose", compose)
        mixtures = []
        for seed in range(SONGS):
            rng = np.random.default_rng([seed, 3])
            mixtures.append(mixing.record(rng, 12.0, singers=[draw_singer(rng, female=seed % 2 == 0)]).mixture)
    return [(song.tempo, mixture) for song, mixture in zip(composed, mixtures, strict=True)]


@pytest.mark.parametrize("seconds", [6, 12, 30])
@pytest.mark.parametrize("bpm", [80, 90, 100, 120, 133, 140, 150, 160])
def test_clicks_have_the_tempo_they_are_struck_in(bpm: float, seconds: float) -> None:
    assert tempo(clicks(bpm, seconds)) == pytest.approx(bpm, rel=0.005)


def test_fast_clicks_have_their_tempo_or_half_of_it() -> None:
    measured = tempo(clicks(170))
    assert measured is not None
    assert min(abs(measured - 170), abs(2 * measured - 170)) < 0.02 * 170


@pytest.mark.parametrize("bpm", [92, 110, 128])
def test_syncopated_bursts_over_a_beat_have_the_tempo_of_the_beat(bpm: float) -> None:
    rng = np.random.default_rng(1)
    beat = 60 / bpm
    burst = rng.standard_normal(3000) * np.exp(-np.arange(3000) / 700)
    bars = np.arange(0, 16, 4 * beat)
    on_beats = struck(np.arange(0, 16, beat), 0.4 * burst, 20)
    between = struck(np.ravel(bars[:, None] + beat * np.array([0.75, 1.5, 2.75])), 0.25 * burst, 20)
    assert tempo(on_beats + between) == pytest.approx(bpm, rel=0.02)


def test_most_songs_have_the_tempo_they_were_composed_in_and_nearly_all_an_octave_of_it(
    songs: list[tuple[float, Audio]],
) -> None:
    ratios = np.array([(tempo(mixture) or 0.0) / composed for composed, mixture in songs])
    assert np.sum(np.abs(ratios - 1) < 0.02) >= 0.7 * SONGS
    octaves = [np.abs(ratios / octave - 1) < 0.02 for octave in (0.5, 1, 2)]
    assert np.sum(np.any(octaves, axis=0)) >= 0.85 * SONGS


def test_tempo_does_not_depend_on_the_level(songs: list[tuple[float, Audio]]) -> None:
    for _, mixture in songs[:4]:
        assert tempo(mixture * np.float32(0.01)) == pytest.approx(tempo(mixture), rel=1e-3)


@settings(max_examples=20, deadline=None)
@given(st.integers(1000, 600_000), st.integers(1, 400_000))
def test_tempo_does_not_depend_on_the_size_of_the_blocks(first: int, others: int) -> None:
    audio = clicks(113, 8.0) + noise(8.0, 5)[:, :1] + np.float32(0.1) * clicks(97, 8.0)
    meter = TempoMeter()
    meter.feed(audio[:, :first])
    for start in range(first, audio.shape[1], max(others, 2000)):
        meter.feed(audio[:, start : start + max(others, 2000)])
    assert meter.finish() == tempo(audio, audio.shape[1])


def test_what_comes_after_a_long_beginning_counts_too() -> None:
    quiet_then_clicks = np.concatenate([np.zeros((2, 20 * SAMPLE_RATE), np.float32), clicks(104, 40)], axis=1)
    assert tempo(quiet_then_clicks) == pytest.approx(104, rel=0.005)


@pytest.mark.parametrize("seconds", [0.0, 0.01, 1.0, 3.9])
def test_less_than_four_seconds_have_no_tempo(seconds: float) -> None:
    assert tempo(clicks(120)[:, : round(seconds * SAMPLE_RATE)]) is None


def test_four_seconds_of_clicks_have_one() -> None:
    assert tempo(clicks(120)[:, : 4 * SAMPLE_RATE]) == pytest.approx(120, rel=0.01)


def test_silence_and_an_offset_have_no_tempo() -> None:
    assert tempo(np.zeros((2, 10 * SAMPLE_RATE), np.float32)) is None
    assert tempo(np.full((2, 10 * SAMPLE_RATE), 0.3, np.float32)) is None


@pytest.mark.parametrize("hertz", [(50,), (440,), (443.7,), (220, 277.2, 329.6)])
def test_held_tones_have_no_tempo(hertz: tuple[float, ...]) -> None:
    time = np.arange(10 * SAMPLE_RATE) / SAMPLE_RATE
    assert tempo(stereo(sum(0.2 * np.sin(2 * np.pi * each * time) for each in hertz))) is None


@pytest.mark.parametrize(("seconds", "times"), [(4, 40), (10, 10), (30, 3)])
def test_white_noise_has_no_tempo(seconds: int, times: int) -> None:
    assert [tempo(noise(seconds, seed)) for seed in range(times)] == [None] * times


@pytest.mark.parametrize("seed", range(5))
def test_irregular_strokes_have_no_tempo(seed: int) -> None:
    rng = np.random.default_rng(seed)
    burst = 0.3 * rng.standard_normal(3000) * np.exp(-np.arange(3000) / 700)
    assert tempo(struck(rng.uniform(0, 20, 50), burst, 20)) is None


def test_one_stroke_has_no_tempo() -> None:
    assert tempo(struck(np.array([3.0]), np.ones(200), 10)) is None


def test_what_comes_late_is_not_heard_and_takes_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("data.tempo._LONGEST_S", 12)
    meter, short = TempoMeter(), TempoMeter()
    for block in (clicks(100.0), clicks(150.0, 30.0)):
        meter.feed(block)
    short.feed(clicks(100.0)[:, : 12 * SAMPLE_RATE])
    assert sum(map(len, meter._bands)) == sum(map(len, short._bands))
    assert meter.finish() == short.finish()
