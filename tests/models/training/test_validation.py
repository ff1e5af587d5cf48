from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import tiny_candidate, tiny_pairs

from data.audio import read
from data.chunks import rows_of
from models.losses import build_loss
from models.metrics import usdr
from models.networks import build_network
from models.training.validation import Validation, first_sung_chunk, validate

CPU = torch.device("cpu")


def test_validation_counts_every_frame_of_every_track_once(tmp_path: Path) -> None:
    pairs = tiny_pairs(tmp_path, train=1, validation=2)
    candidate = tiny_candidate(training={"chunk_seconds": 1.0})
    network = build_network(candidate).eval()
    rows = rows_of(pairs, "validation", tmp_path)
    tracks = validate(network, build_loss(candidate), rows, 44100, 2, CPU)
    assert [track.track_id for track in tracks] == ["demo/song-1", "demo/song-2"]
    for row, track in zip(rows, tracks, strict=True):
        mixture, vocals = read(row.mixture)[0], read(row.vocals)[0]
        padded = np.pad(mixture, ((0, 0), (0, 44100 - mixture.shape[1])))
        with torch.inference_mode():
            estimate = network(torch.from_numpy(padded)[None])[0, :, : mixture.shape[1]].numpy()
        assert track.usdr_db == pytest.approx(usdr(vocals, estimate), abs=1e-4)
    assert Validation(tuple(tracks)).usdr_db == pytest.approx(np.mean([track.usdr_db for track in tracks]))


def test_the_loss_is_the_mean_over_chunks_whatever_the_batch(tmp_path: Path) -> None:
    rows = rows_of(tiny_pairs(tmp_path, train=1, validation=2), "validation", tmp_path)
    candidate = tiny_candidate()
    network, loss = build_network(candidate).eval(), build_loss(candidate)
    one, other = (Validation(tuple(validate(network, loss, rows, 4410, size, CPU))) for size in (1, 4))
    assert [len(track.losses) for track in one.tracks] == [6, 6]
    assert one.loss == pytest.approx(other.loss, rel=1e-5)
    assert one.loss == pytest.approx(np.mean([loss for track in one.tracks for loss in track.losses]))


def test_validation_without_vocals_has_a_loss_and_no_usdr(tmp_path: Path) -> None:
    pairs = tiny_pairs(tmp_path).assign(input="accompaniment", target="silence")
    candidate, rows = tiny_candidate(), rows_of(pairs, "validation", tmp_path)
    validation = Validation(tuple(validate(build_network(candidate).eval(), build_loss(candidate), rows, 4410, 2, CPU)))
    assert math.isfinite(validation.loss)
    assert math.isnan(validation.usdr_db)
    assert validation.table["usdr_db"].isna().all()
    assert first_sung_chunk(rows, 4410) is None
