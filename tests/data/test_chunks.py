from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from data.audio import SAMPLE_RATE, read, write
from data.chunks import Augmentation, ChunkDrawer, chunks_in_order, rows_of
from data.errors import InputError

FRAMES = 1000


def _pairs(root: Path, lengths: tuple[int, ...] = (5000, 6000, 400), split: str = "train") -> pd.DataFrame:
    """Tracks whose samples tell where they come from: the vocals of track i lie in i + [0, 0.5)."""
    rows = []
    for index, frames in enumerate(lengths):
        place = np.arange(frames, dtype=np.float32) / 2**14
        vocals = np.stack([index + 1 + place, -(index + 1 + place)])
        accompaniment = np.stack([np.full(frames, 16.0 * (index + 1)), np.full(frames, 8.0)]).astype(np.float32)
        write(root / f"{index}/vocals.wav", vocals, subtype="FLOAT")
        write(root / f"{index}/mixture.wav", vocals + accompaniment, subtype="FLOAT")
        rows.append(
            {
                "track_id": f"demo/{index}",
                "split": split,
                "kind": "original",
                "input": "mixture",
                "target": "vocals",
                "mixture_path": f"{index}/mixture.wav",
                "vocals_path": f"{index}/vocals.wav",
                "frames": frames,
            }
        )
    return pd.DataFrame(rows)


def _drawer(root: Path, pairs: pd.DataFrame, **changes: object) -> ChunkDrawer:
    return ChunkDrawer(rows_of(pairs, "train", root), FRAMES, 7, Augmentation(**changes))  # type: ignore[arg-type]


def test_a_chunk_is_a_true_excerpt_of_mixture_and_vocals(tmp_path: Path) -> None:
    batch = _drawer(tmp_path, _pairs(tmp_path)).batch(1, 0, 40)
    assert batch.mixture.shape == batch.vocals.shape == (40, 2, FRAMES)
    assert batch.mixture.dtype == np.float32
    starts = set()
    for mixture, vocals in zip(*batch, strict=True):
        index = int(vocals[0, 0]) - 1
        start = round((vocals[0, 0] - index - 1) * 2**14)
        heard = min(FRAMES, 400) if index == 2 else FRAMES
        for name, chunk in (("vocals", vocals), ("mixture", mixture)):
            whole, _ = read(tmp_path / f"{index}/{name}.wav")
            np.testing.assert_array_equal(chunk[:, :heard], whole[:, start : start + heard])
            assert not chunk[:, heard:].any()
        starts.add((index, start))
    assert {index for index, _ in starts} == {0, 1, 2}
    assert len(starts) > 20


def test_a_batch_depends_on_seed_epoch_and_step_alone(tmp_path: Path) -> None:
    pairs = _pairs(tmp_path)
    change = {"remix": 0.5, "gain_db": (-6.0, 6.0), "swap_channels": 0.5, "flip_sign": 0.5}
    first = _drawer(tmp_path, pairs, **change)
    first.batch(1, 0, 3)
    second = _drawer(tmp_path, pairs, **change)
    np.testing.assert_array_equal(first.batch(2, 5, 8).mixture, second.batch(2, 5, 8).mixture)
    others = [first.batch(2, 4, 8), first.batch(1, 5, 8)]
    assert all(not np.array_equal(other.mixture, second.batch(2, 5, 8).mixture) for other in others)


def test_loopback_rows_hear_one_source_and_expect_it_or_silence(tmp_path: Path) -> None:
    pairs = _pairs(tmp_path, (5000,))
    vocal = _drawer(tmp_path, pairs.assign(input="vocals", target="vocals", kind="vocal_loopback")).batch(1, 0, 5)
    assert vocal.vocals.any()
    np.testing.assert_array_equal(vocal.mixture, vocal.vocals)
    rows = pairs.assign(input="accompaniment", target="silence", kind="instrumental_loopback")
    instrumental = _drawer(tmp_path, rows).batch(1, 0, 5)
    assert not instrumental.vocals.any()
    np.testing.assert_array_equal(instrumental.mixture[:, 0], np.full((5, FRAMES), 16.0, np.float32))


def test_remix_takes_the_accompaniment_of_another_place_and_leaves_loopback_alone(tmp_path: Path) -> None:
    pairs = _pairs(tmp_path, (5000, 6000))
    pairs.loc[1, "input"] = "accompaniment"
    batch = _drawer(tmp_path, _pairs(tmp_path, (5000, 6000)), remix=1.0).batch(1, 0, 40)
    voices = batch.vocals[:, 0, 0].astype(int)
    players = np.round((batch.mixture - batch.vocals)[:, 0, 0] / 16).astype(int)
    assert {(1, 2), (2, 1)} <= set(zip(voices, players, strict=True))
    looped = _drawer(tmp_path, pairs, remix=1.0).batch(1, 0, 40)
    silent = ~looped.vocals.any(axis=(1, 2))
    assert silent.any()
    np.testing.assert_array_equal(looped.mixture[silent][:, 0], np.full((silent.sum(), FRAMES), 32.0))


def test_gains_stay_within_their_range_and_differ_between_sources(tmp_path: Path) -> None:
    batch = _drawer(tmp_path, _pairs(tmp_path, (5000,)), gain_db=(-6.0, 6.0)).batch(1, 0, 200)
    gains = 20 * np.log10(np.abs((batch.mixture - batch.vocals)[:, 1, 0]) / 8)
    assert -6.001 <= gains.min() < -5
    assert 5 < gains.max() <= 6.001
    np.testing.assert_allclose(batch.vocals[:, 0], -batch.vocals[:, 1])
    spread = np.log(batch.vocals[:, 0, 0]) - gains / 20 * np.log(10)
    assert np.ptp(spread) > 1


def test_channels_and_signs_change_for_each_source_on_its_own(tmp_path: Path) -> None:
    pairs = _pairs(tmp_path, (5000,))
    swapped = _drawer(tmp_path, pairs, swap_channels=0.5).batch(1, 0, 60)
    voice = swapped.vocals[:, 0, 0] < 0
    players = (swapped.mixture - swapped.vocals)[:, 0, 0] < 12
    assert {(False, False), (False, True), (True, False), (True, True)} == set(zip(voice, players, strict=True))
    flipped = _drawer(tmp_path, pairs, flip_sign=0.5).batch(1, 0, 60)
    assert 0 < (flipped.vocals[:, 0, 0] < 0).sum() < 60


def test_chunks_in_order_cover_a_track_exactly(tmp_path: Path) -> None:
    pairs = _pairs(tmp_path, (2500,), split="validation")
    (row,) = rows_of(pairs, "validation", tmp_path)
    pieces = list(chunks_in_order(row, FRAMES))
    assert [length for _, length in pieces] == [1000, 1000, 500]
    whole, _ = read(tmp_path / "0/mixture.wav")
    heard = np.concatenate([batch.mixture[0, :, :length] for batch, length in pieces], axis=1)
    np.testing.assert_array_equal(heard, whole)
    assert not pieces[-1][0].mixture[0, :, 500:].any()


def test_only_the_chunk_is_read(tmp_path: Path) -> None:
    pairs = _pairs(tmp_path, (50_000,))
    path = tmp_path / "0/vocals.wav"
    whole = path.read_bytes()
    path.write_bytes(whole[: 8 * 30_000].ljust(len(whole), b"\xff"))  # the second half is NaN, which no reader takes
    (row,) = rows_of(pairs, "train", tmp_path)
    first, _ = next(chunks_in_order(row, FRAMES))
    assert first.vocals.any()


@pytest.mark.parametrize("split", ["train", "validation"])
def test_an_empty_split_is_an_error_that_names_it(tmp_path: Path, split: str) -> None:
    pairs = _pairs(tmp_path, split="validation" if split == "train" else "train")
    with pytest.raises(InputError, match=f"{split} set"):
        rows_of(pairs, split, tmp_path)
    with pytest.raises(InputError, match="no rows"):
        rows_of(pairs.iloc[:0], split, tmp_path)


def test_audio_that_is_not_normalised_is_refused_with_its_track(tmp_path: Path) -> None:
    pairs = _pairs(tmp_path, (5000,))
    write(tmp_path / "0/vocals.wav", np.zeros((2, 5000), np.float32), sample_rate=SAMPLE_RATE // 2)
    with pytest.raises(InputError, match="demo/0") as caught:
        _drawer(tmp_path, pairs).batch(1, 0, 1)
    assert "22050 Hz" in caught.value.found
