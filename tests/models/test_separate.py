from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import tiny_candidate

from data.audio import SAMPLE_RATE, Audio
from data.errors import InputError
from models.networks import build_network
from models.separate import Separator, separate, separate_stream


def _noise(frames: int) -> Audio:
    return np.random.default_rng(frames).standard_normal((2, frames)).astype(np.float32)


def _identity(mixture: Audio) -> Audio:
    return mixture.copy()


@settings(deadline=None, max_examples=60)
@given(frames=st.integers(1, 5000), chunk=st.integers(2, 1500), share=st.floats(0, 0.5))
def test_chunks_of_an_identity_add_up_to_exactly_the_input(frames: int, chunk: int, share: float) -> None:
    mixture = _noise(frames)
    overlap = int(share * chunk)
    vocals = separate(_identity, mixture, chunk / SAMPLE_RATE, overlap / SAMPLE_RATE)
    np.testing.assert_array_equal(vocals, mixture)


def test_the_cross_fade_weights_sum_to_one_and_move_from_the_old_chunk_to_the_new() -> None:
    levels = iter([0.0, 1.0])

    def separator(mixture: Audio) -> Audio:
        return np.full_like(mixture, next(levels))

    vocals = separate(separator, np.zeros((2, 180), np.float32), 100 / SAMPLE_RATE, 20 / SAMPLE_RATE)[0]
    assert not vocals[:80].any()
    assert (vocals[100:] == 1).all()
    steps = np.diff(vocals[79:101])
    np.testing.assert_allclose(steps, np.full(21, 1 / 21), rtol=1e-4)


def test_a_network_in_chunks_is_close_to_the_network_on_the_whole() -> None:
    torch.manual_seed(0)
    candidate = tiny_candidate(network={"output": "mask"})
    separator = Separator(build_network(candidate), candidate, torch.device("cpu"))
    mixture = _noise(30_000)
    whole = separator(mixture)
    chunked = separate(separator, mixture, 0.2, 0.05)
    error = np.square(chunked - whole).sum() / np.square(whole).sum()
    assert 10 * np.log10(error) < -30


@pytest.mark.parametrize("frames", [1, 2, 63, 1000])
def test_music_shorter_than_a_window_or_a_chunk_is_separated(frames: int) -> None:
    candidate = tiny_candidate()
    separator = Separator(build_network(candidate), candidate, torch.device("cpu"))
    vocals = separate(separator, _noise(frames))
    assert vocals.shape == (2, frames)
    assert vocals.dtype == np.float32


def test_a_stream_reads_one_chunk_at_a_time_and_never_the_same_frames_twice_but_the_overlap() -> None:
    asked: list[tuple[int, int]] = []

    def read(start: int, frames: int) -> Audio:
        asked.append((start, frames))
        return np.zeros((2, frames), np.float32)

    pieces = list(separate_stream(_identity, read, 1000, 300 / SAMPLE_RATE, 100 / SAMPLE_RATE))
    assert asked == [(0, 300), (200, 300), (400, 300), (600, 300), (800, 200)]
    assert sum(piece.shape[1] for piece in pieces) == 1000


def test_progress_rises_to_one() -> None:
    shares: list[float] = []
    separate(_identity, _noise(1000), 300 / SAMPLE_RATE, 100 / SAMPLE_RATE, shares.append)
    assert shares == sorted(shares)
    assert shares[-1] == 1.0


def test_what_cannot_be_separated_is_refused() -> None:
    with pytest.raises(InputError, match="at least one frame"):
        separate(_identity, np.zeros((2, 0), np.float32))
    with pytest.raises(InputError, match="shape"):
        separate(_identity, np.zeros((1, 10), np.float32))
    with pytest.raises(ValueError, match="overlap"):
        separate(_identity, _noise(10), 1.0, 0.6)
