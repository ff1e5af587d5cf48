from __future__ import annotations

import itertools
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from tiny import tiny_candidate

from data.audio import write
from data.chunks import rows_of
from data.errors import InputError
from models.training.batches import STATISTICS, Batches, Resident, Streamed, ahead, make_batches

FRAMES = 1000
CPU = torch.device("cpu")
AUGMENTED = {"remix": 0.5, "gain_db": [-6.0, 6.0], "swap_channels": 0.5, "flip_sign": 0.5}
PLAIN = {"remix": 0.0, "gain_db": [0.0, 0.0], "swap_channels": 0.0, "flip_sign": 0.0}


@pytest.fixture
def pairs(tmp_path: Path) -> pd.DataFrame:
    """Three tracks of 16-bit noise, one shorter than a chunk; loopback rows of the first two."""
    rows = []
    for index, frames in enumerate((3000, 2500, 400)):
        random = np.random.default_rng(index)
        vocals, accompaniment = (0.2 * random.uniform(-1, 1, (2, 2, frames))).astype(np.float32)
        write(tmp_path / f"{index}/vocals.wav", vocals, subtype="PCM_16")
        write(tmp_path / f"{index}/mixture.wav", vocals + accompaniment, subtype="PCM_16")
        row = {
            "track_id": f"demo/{index}",
            "split": "train",
            "input": "mixture",
            "mixture_path": f"{index}/mixture.wav",
            "vocals_path": f"{index}/vocals.wav",
            "frames": frames,
        }
        rows.append(row)
        if index < 2:
            rows.append({**row, "input": ["vocals", "accompaniment"][index]})
    return pd.DataFrame(rows)


Make = Callable[..., Batches]


@pytest.fixture
def make(pairs: pd.DataFrame, tmp_path: Path) -> Make:
    def batches(kind: type[Batches], share: slice = slice(None), **training: Any) -> Batches:
        training = {"batch_size": 8, "augmentation": AUGMENTED, **training}
        settings = tiny_candidate(training=training).training
        return kind(rows_of(pairs, "train", tmp_path), FRAMES, settings, CPU, share)

    return batches


@pytest.mark.parametrize("augmentation", [PLAIN, AUGMENTED], ids=["plain", "augmented"])
def test_the_resident_training_set_gives_the_very_batches_that_are_read_from_disk(
    make: Make, augmentation: dict[str, Any]
) -> None:
    streamed, resident = (make(kind, augmentation=augmentation).from_step(3) for kind in (Streamed, Resident))
    for one, other in islice(zip(streamed, resident, strict=True), 12):
        assert one.shape == (8, 2, 2, FRAMES)
        torch.testing.assert_close(one, other, rtol=0, atol=1e-7)


@pytest.mark.parametrize("kind", [Streamed, Resident])
def test_a_batch_depends_on_the_seed_and_its_step_alone(make: Make, kind: type[Batches]) -> None:
    whole = list(islice(make(kind).from_step(0), 6))
    for late, early in zip(islice(make(kind).from_step(4), 2), whole[4:], strict=True):
        assert torch.equal(late, early)
    assert not torch.equal(whole[4], whole[5])
    assert not torch.equal(whole[4], next(make(kind, seed=9).from_step(4)))


def test_steps_and_statistics_do_not_hear_the_same(make: Make) -> None:
    batches = make(Streamed)
    assert not torch.equal(batches.read(batches.draw(0)), batches.read(batches.draw(0, STATISTICS)))


@pytest.mark.parametrize("kind", [Streamed, Resident])
def test_the_shares_of_two_processes_make_the_batch_of_one(make: Make, kind: type[Batches]) -> None:
    whole = next(make(kind).from_step(2))
    shares = [next(make(kind, share).from_step(2)) for share in (slice(0, 4), slice(4, 8))]
    assert torch.equal(torch.cat(shares), whole)


def test_loopback_rows_share_memory_with_their_track(make: Make) -> None:
    resident = make(Resident)
    assert isinstance(resident, Resident)
    assert resident._audio.shape == (2, 2, 3000 + 2500 + 400)
    assert resident._audio.dtype == torch.int16


def test_on_a_cpu_the_training_set_is_read_from_disk_unless_asked(pairs: pd.DataFrame, tmp_path: Path) -> None:
    settings, rows = tiny_candidate().training, rows_of(pairs, "train", tmp_path)
    kinds = [type(make_batches(rows, FRAMES, settings, CPU, slice(None), place)) for place in ("auto", "resident")]
    assert kinds == [Streamed, Resident]


def test_a_file_shorter_than_the_pairs_say_is_refused(make: Make, pairs: pd.DataFrame, tmp_path: Path) -> None:
    write(tmp_path / "1/vocals.wav", np.zeros((2, 100), np.float32), subtype="PCM_16")
    with pytest.raises(InputError, match="demo/1") as caught:
        make(Resident)
    assert caught.value.found == "100 frames"


@pytest.mark.parametrize("threads", [1, 3])
def test_what_is_drawn_ahead_comes_in_order_and_ends_with_its_reader(threads: int) -> None:
    assert list(ahead(lambda step: step, iter(range(20)), threads)) == list(range(20))
    drawn: list[int] = []
    endless = ahead(lambda step: drawn.append(step) or step, itertools.count(), threads)
    assert [next(endless) for _ in range(3)] == [0, 1, 2]
    endless.close()  # type: ignore[attr-defined]
    assert len(drawn) <= 3 + 2 * threads


def test_an_error_while_drawing_ahead_is_raised_at_its_step() -> None:
    def draw(step: int) -> int:
        if step == 2:
            raise InputError("audio file", expected="a", found="b", remedy="c")
        return step

    batches = ahead(draw, itertools.count(), 2)
    assert [next(batches), next(batches)] == [0, 1]
    with pytest.raises(InputError):
        next(batches)
