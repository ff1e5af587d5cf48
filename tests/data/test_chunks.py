from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from data.audio import SAMPLE_RATE, Audio, read, write
from data.chunks import Planner, chunks_in_order, read_examples, rows_of
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


def _drawn(root: Path, pairs: pd.DataFrame, examples: int, remix: float = 0.0, seed: int = 7) -> tuple[Audio, Audio]:
    """Vocals and accompaniment of examples drawn from the pairs, each `(examples, 2, FRAMES)`."""
    rows = rows_of(pairs, "train", root)
    plan = Planner(rows, FRAMES, remix).draw(np.random.default_rng(seed), examples)
    sources = np.full((examples, 2, 2, FRAMES), np.nan, np.float32)
    read_examples(rows, plan, FRAMES, sources)
    return sources[:, 0], sources[:, 1]


def test_a_chunk_is_a_true_excerpt_of_vocals_and_accompaniment(tmp_path: Path) -> None:
    starts = set()
    for vocals, accompaniment in zip(*_drawn(tmp_path, _pairs(tmp_path), 40), strict=True):
        index = int(vocals[0, 0]) - 1
        start = round((vocals[0, 0] - index - 1) * 2**14)
        heard = min(FRAMES, 400) if index == 2 else FRAMES
        for name, chunk in (("vocals", vocals), ("mixture", vocals + accompaniment)):
            whole, _ = read(tmp_path / f"{index}/{name}.wav")
            np.testing.assert_array_equal(chunk[:, :heard], whole[:, start : start + heard])
            assert not chunk[:, heard:].any()
        starts.add((index, start))
    assert {index for index, _ in starts} == {0, 1, 2}
    assert len(starts) > 20


def test_loopback_rows_hear_one_source_alone(tmp_path: Path) -> None:
    pairs = _pairs(tmp_path, (5000,))
    vocals, accompaniment = _drawn(tmp_path, pairs.assign(input="vocals", target="vocals"), 5)
    assert vocals.any()
    assert not accompaniment.any()
    vocals, accompaniment = _drawn(tmp_path, pairs.assign(input="accompaniment", target="silence"), 5)
    assert not vocals.any()
    np.testing.assert_array_equal(accompaniment[:, 0], np.full((5, FRAMES), 16.0, np.float32))


def test_remix_takes_the_accompaniment_of_another_place_and_leaves_loopback_alone(tmp_path: Path) -> None:
    pairs = _pairs(tmp_path, (5000, 6000))
    vocals, accompaniment = _drawn(tmp_path, pairs, 40, remix=1.0)
    voices = vocals[:, 0, 0].astype(int)
    players = np.round(accompaniment[:, 0, 0] / 16).astype(int)
    assert {(1, 2), (2, 1)} <= set(zip(voices, players, strict=True))
    pairs.loc[1, "input"] = "accompaniment"
    vocals, accompaniment = _drawn(tmp_path, pairs, 40, remix=1.0)
    silent = ~vocals.any(axis=(1, 2))
    assert silent.any()
    np.testing.assert_array_equal(accompaniment[silent][:, 0], np.full((silent.sum(), FRAMES), 32.0))


def test_chunks_in_order_cover_a_track_exactly(tmp_path: Path) -> None:
    pairs = _pairs(tmp_path, (2500,), split="validation")
    (row,) = rows_of(pairs, "validation", tmp_path)
    pieces = list(chunks_in_order(row, FRAMES))
    assert [piece.length for piece in pieces] == [1000, 1000, 500]
    whole, _ = read(tmp_path / "0/mixture.wav")
    heard = np.concatenate([piece.mixture[:, : piece.length] for piece in pieces], axis=1)
    np.testing.assert_array_equal(heard, whole)
    assert not pieces[-1].mixture[:, 500:].any()


def test_only_the_chunk_is_read(tmp_path: Path) -> None:
    pairs = _pairs(tmp_path, (50_000,))
    path = tmp_path / "0/vocals.wav"
    whole = path.read_bytes()
    path.write_bytes(whole[: 8 * 30_000].ljust(len(whole), b"\xff"))  # the second half is NaN, which no reader takes
    (row,) = rows_of(pairs, "train", tmp_path)
    assert next(chunks_in_order(row, FRAMES)).vocals.any()


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
        _drawn(tmp_path, pairs, 1)
    assert "22050 Hz" in caught.value.found
