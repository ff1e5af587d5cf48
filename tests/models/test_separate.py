from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import network_of, tiny_candidate

from data.audio import SAMPLE_RATE, Audio
from data.errors import InputError
from models.separate import Separator, layout_of, separate, separate_stream


@dataclass
class Stub:
    """A separator that does `work` to each window, with a context of `context` frames."""

    context: int = 0
    work: Callable[[Audio], Audio] = np.copy
    hop: int = 1

    @property
    def context_seconds(self) -> float:
        return self.context / SAMPLE_RATE

    def __call__(self, mixtures: Audio, level: float) -> Audio:
        return np.stack([self.work(mixture) for mixture in mixtures])


def _noise(frames: int) -> Audio:
    return np.random.default_rng(frames).standard_normal((2, frames)).astype(np.float32)


def _in_frames(chunk: int, fade: int) -> dict[str, float]:
    return {"chunk_seconds": chunk / SAMPLE_RATE, "fade_seconds": fade / SAMPLE_RATE}


@settings(deadline=None, max_examples=100)
@given(
    frames=st.integers(1, 5000),
    chunk=st.integers(1, 1500),
    share=st.floats(0, 1),
    context=st.integers(0, 800),
    batch=st.integers(1, 5),
    hop=st.integers(1, 300),
)
def test_chunks_of_an_identity_add_up_to_exactly_the_input(
    frames: int, chunk: int, share: float, context: int, batch: int, hop: int
) -> None:
    mixture = _noise(frames)

    def read(start: int, count: int) -> Audio:
        return mixture[:, start : start + count]

    layout = _in_frames(chunk, int(share * chunk))
    pieces = list(separate_stream(Stub(context, hop=hop), read, frames, batch=batch, **layout))
    np.testing.assert_array_equal(np.concatenate(pieces, axis=1), mixture)


@settings(deadline=None, max_examples=100)
@given(frames=st.integers(1, 5000), chunk=st.integers(1, 1500), context=st.integers(0, 800), data=st.data())
def test_what_hears_no_farther_than_its_context_gives_the_same_split_as_whole(
    frames: int, chunk: int, context: int, data: st.DataObject
) -> None:
    fade = data.draw(st.integers(0, chunk))
    mixture = np.random.default_rng(0).integers(-9, 9, (2, frames)).astype(np.float32)

    def neighbours(window: Audio) -> Audio:
        padded = np.pad(window, ((0, 0), (context, context)))
        return padded[:, : window.shape[1]] + 2 * padded[:, 2 * context :]

    vocals = separate(Stub(context, neighbours), mixture, **_in_frames(chunk, fade))
    np.testing.assert_array_equal(vocals, neighbours(mixture))


def test_the_cross_fade_weights_sum_to_one_and_move_from_the_old_chunk_to_the_new() -> None:
    levels = iter([0.0, 1.0])
    separator = Stub(30, lambda window: np.full_like(window, next(levels)))
    vocals = separate(separator, np.zeros((2, 200), np.float32), **_in_frames(100, 20))[0]
    assert not vocals[:100].any()
    assert (vocals[120:] == 1).all()
    steps = np.diff(vocals[99:121])
    np.testing.assert_allclose(steps, np.full(21, 1 / 21), rtol=1e-4)


def test_a_network_in_chunks_is_close_to_the_network_on_the_whole() -> None:
    torch.manual_seed(0)
    candidate = tiny_candidate(network={"output": "mask"})
    network, mixture = network_of(candidate), _noise(30_000)
    mixture[:, 15_000:] *= 0.1  # chunks of different levels
    whole = Separator(network, candidate, torch.device("cpu"))(mixture)

    def difference_db(context_seconds: float) -> float:
        separator = Separator(network, candidate, torch.device("cpu"), context_seconds=context_seconds)
        chunked = separate(separator, mixture, chunk_seconds=0.2, fade_seconds=0.01)
        return float(10 * np.log10(np.square(chunked - whole).sum() / np.square(whole).sum()))

    assert difference_db(0.1) < -90
    assert difference_db(0.0) > -75


@pytest.mark.parametrize("frames", [1, 2, 63, 1000])
def test_music_shorter_than_a_window_or_a_chunk_is_separated(frames: int) -> None:
    candidate = tiny_candidate()
    separator = Separator(network_of(candidate), candidate, torch.device("cpu"))
    vocals = separate(separator, _noise(frames))
    assert vocals.shape == (2, frames)
    assert vocals.dtype == np.float32
    np.testing.assert_allclose(vocals, separator(_noise(frames)), rtol=1e-4, atol=1e-6)


def test_a_stream_reads_windows_of_one_length_after_one_look_at_the_level() -> None:
    asked: list[tuple[int, int]] = []

    def read(start: int, frames: int) -> Audio:
        asked.append((start, frames))
        return np.zeros((2, frames), np.float32)

    pieces = list(separate_stream(Stub(50), read, 1000, **_in_frames(300, 20)))
    assert asked[:4] == [(0, 300), (300, 300), (600, 300), (900, 100)]
    assert asked[4:] == [(0, 420), (250, 420), (550, 420), (580, 420)]
    assert sum(piece.shape[1] for piece in pieces) == 1000


def test_windows_begin_where_the_song_has_a_frame_of_its_stft() -> None:
    starts: list[int] = []

    def read(start: int, frames: int) -> Audio:
        starts.append(start)
        return np.zeros((2, frames), np.float32)

    list(separate_stream(Stub(50, hop=64), read, 1000, **_in_frames(300, 20)))
    assert starts[4:] == [0, 256, 512]
    assert not any(start % 64 for start in starts)


def test_a_batch_is_heard_together_and_holds_no_more_windows_than_asked_for() -> None:
    shapes: list[tuple[int, ...]] = []

    class Watching(Stub):
        def __call__(self, mixtures: Audio, level: float) -> Audio:
            shapes.append(mixtures.shape)
            return mixtures

    mixture = _noise(1000)
    pieces = separate_stream(Watching(50), lambda a, n: mixture[:, a : a + n], 1000, batch=3, **_in_frames(300, 20))
    np.testing.assert_array_equal(np.concatenate(list(pieces), axis=1), mixture)
    assert shapes == [(3, 2, 420), (1, 2, 420)]


def test_a_separator_is_told_the_level_of_the_whole_song_for_every_chunk() -> None:
    levels: list[float] = []

    class Watching(Stub):
        def __call__(self, mixtures: Audio, level: float) -> Audio:
            levels.append(level)
            return mixtures

    mixture = _noise(1000)
    mixture[:, 400:] *= 0.01
    separate(Watching(50), mixture, **_in_frames(300, 20))
    assert levels == [pytest.approx(float(np.sqrt(np.square(mixture).mean())))] * 4


@pytest.mark.parametrize("gain", [1e-12, 0.01, 0.1, 7.0, 1e4])
def test_a_louder_song_gives_the_same_vocals_louder(gain: float) -> None:
    torch.manual_seed(0)
    candidate = tiny_candidate()
    separator = Separator(network_of(candidate), candidate, torch.device("cpu"), context_seconds=0.05)
    mixture = 0.1 * _noise(30_000)
    vocals = separate(separator, mixture, chunk_seconds=0.2)
    louder = separate(separator, np.float32(gain) * mixture, chunk_seconds=0.2)
    assert np.abs(vocals).max() > 0
    np.testing.assert_allclose(louder / gain, vocals, rtol=0, atol=1e-4 * np.abs(vocals).max())


def test_silence_gives_silence() -> None:
    candidate = tiny_candidate()
    separator = Separator(network_of(candidate), candidate, torch.device("cpu"))
    assert not separate(separator, np.zeros((2, 30_000), np.float32), chunk_seconds=0.2).any()


def test_a_window_is_as_long_as_what_a_separator_is_given() -> None:
    frames: list[int] = []

    class Watching(Stub):
        def __call__(self, mixtures: Audio, level: float) -> Audio:
            frames.append(mixtures.shape[-1])
            return mixtures

    separate(Watching(12_345), _noise(200_000), chunk_seconds=1.0)
    assert set(frames) == {layout_of(1, 12_345 / SAMPLE_RATE, 1.0).window}


def test_progress_rises_to_one() -> None:
    shares: list[float] = []
    separate(Stub(50), _noise(1000), progress=shares.append, **_in_frames(300, 100))
    assert shares == sorted(shares)
    assert shares[-1] == 1.0


def test_what_cannot_be_separated_is_refused() -> None:
    with pytest.raises(InputError, match="at least one frame"):
        separate(Stub(), np.zeros((2, 0), np.float32))
    with pytest.raises(InputError, match="shape"):
        separate(Stub(), np.zeros((1, 10), np.float32))
    with pytest.raises(ValueError, match="a fade is at most as long"):
        separate(Stub(), _noise(10), chunk_seconds=1.0, fade_seconds=1.1)
    with pytest.raises(ValueError, match="nothing is shorter than nothing"):
        separate(Stub(-5), _noise(10))
