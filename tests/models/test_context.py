"""The length of music that a network needs around a chunk, found by splitting."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from tiny import tiny_candidate
from torch import Tensor, nn

from data.audio import SAMPLE_RATE, Audio
from models.context import LENGTHS, SETTLED_DB, UNMEASURED, Context, in_words, measure_context
from models.networks.base import Network
from models.separate import Separator
from models.stft import Sound


class _Echo(Network):
    """Gives the mixture, and quietly what was heard `seconds` before and will be heard `seconds` later."""

    def __init__(self, seconds: float, gain: float = 0.5) -> None:
        super().__init__(tiny_candidate().stft)
        self.reach, self.gain = round(seconds * SAMPLE_RATE), gain

    def estimate(self, mixture: Sound) -> Sound:
        waveform = mixture.waveform
        padded = nn.functional.pad(waveform, (self.reach, self.reach))
        n = waveform.shape[-1]
        echoes: Tensor = padded[..., :n] + padded[..., 2 * self.reach :]
        return Sound(self.stft, waveform=waveform + self.gain * echoes)


class _Average(Network):
    """Gives the mixture times the share of its own peak in the whole window: what never settles."""

    def estimate(self, mixture: Sound) -> Sound:
        waveform = mixture.waveform
        return Sound(self.stft, waveform=waveform * waveform.abs().mean(dim=(1, 2), keepdim=True))


def _song(seconds: float, seed: int = 0) -> Audio:
    noise = np.random.default_rng(seed).standard_normal((2, round(seconds * SAMPLE_RATE)))
    swell = np.linspace(0.1, 1.0, noise.shape[1]) ** 2  # no part of a song is as loud as the whole
    return (noise * swell).astype(np.float32)


def _measured(network: Network, *songs: Audio) -> Context:
    return measure_context(Separator(network, tiny_candidate(), torch.device("cpu")), songs)


@pytest.mark.parametrize(("reach", "expected"), [(0.2, 0.25), (0.9, 1.0), (2.5, 3.0)])
def test_the_context_is_the_shortest_that_holds_all_that_a_network_hears(reach: float, expected: float) -> None:
    found = _measured(_Echo(reach), _song(20))
    assert found.seconds == expected
    assert found.difference_db <= SETTLED_DB


def test_a_difference_below_the_level_is_as_good_as_none() -> None:
    found = _measured(_Echo(0.9, gain=0.002), _song(20))
    assert found.seconds == LENGTHS[0]
    assert -70 < found.difference_db <= SETTLED_DB


def test_a_loud_song_counts_no_more_than_a_quiet_one() -> None:
    easy = _song(20, 1)  # all of it between the cuts: whatever the context, nothing is missing
    easy[:, : 8 * SAMPLE_RATE] = easy[:, 12 * SAMPLE_RATE :] = 0
    found, louder = (_measured(_Echo(0.9, gain=0.005), _song(20), gain * easy) for gain in (1, 100))
    assert found.seconds == louder.seconds
    assert louder.difference_db == pytest.approx(found.difference_db, abs=0.1)


def test_where_no_length_is_enough_more_time_is_spent_only_for_something() -> None:
    found = _measured(_Average(tiny_candidate().stft), _song(40))
    assert found.difference_db > SETTLED_DB
    assert found.seconds in LENGTHS


def test_music_too_short_or_silent_is_not_measured_on() -> None:
    assert _measured(_Echo(0.2), _song(5)) == UNMEASURED
    assert _measured(_Echo(0.2), np.zeros((2, 20 * SAMPLE_RATE), np.float32)) == UNMEASURED
    assert _measured(_Echo(0.2)) == UNMEASURED


def test_lengths_that_would_reach_the_ends_of_the_music_are_not_tried() -> None:
    # 3 s would be enough, but the stretch is as short as 4 s between two cuts, 2 s on either side and 4 s beyond.
    found = _measured(_Echo(2.5), _song(12.5))
    assert found.seconds < 3
    assert found.difference_db > SETTLED_DB


def test_a_context_is_told_with_what_is_left_at_it() -> None:
    assert in_words(Context(3.0, -41.3)) == "context 3 s (-41 dB between split and whole)"
    assert "not measured" in in_words(Context(2.0, math.nan))
