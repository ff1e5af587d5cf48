from __future__ import annotations

import math
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import network_of, tiny_candidate, tiny_pairs

from data.audio import read, write
from data.chunks import Row, rows_of
from models.candidate import Candidate
from models.metrics import usdr
from models.separate import Separator, separate, separate_stream
from models.training.validation import (
    TrackValidation,
    Validation,
    first_sung_chunk,
    middle_stretches,
    validate,
)


def _separator(candidate: Candidate, context_seconds: float = 0.05) -> Separator:
    torch.manual_seed(0)
    return Separator(network_of(candidate), candidate, torch.device("cpu"), context_seconds=context_seconds)


def _validate(separator: Separator, rows: list[Row], frames: int, batch_size: int) -> list[TrackValidation]:
    return validate(separator, separator.candidate.loss.build(), rows, frames, batch_size)


def test_validation_measures_what_people_will_hear_of_every_track(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_chunks = partial(separate_stream, chunk_seconds=0.2)
    monkeypatch.setattr("models.training.validation.separate_stream", in_chunks)
    rows = rows_of(tiny_pairs(tmp_path, train=1, validation=2), "validation", tmp_path)
    separator = _separator(tiny_candidate(), context_seconds=0.0)
    tracks = _validate(separator, rows, 4410, 2)
    assert [track.track_id for track in tracks] == ["demo/song-1", "demo/song-2"]
    for row, track in zip(rows, tracks, strict=True):
        mixture, vocals = read(row.mixture)[0], read(row.vocals)[0]
        assert track.usdr_db == pytest.approx(usdr(vocals, separate(separator, mixture, chunk_seconds=0.2)), abs=1e-7)
        assert track.usdr_db != pytest.approx(usdr(vocals, separator(mixture)), abs=1e-6)  # it was in chunks
    assert Validation(tuple(tracks)).usdr_db == pytest.approx(np.mean([track.usdr_db for track in tracks]))


def test_the_batch_changes_nothing(tmp_path: Path) -> None:
    rows = rows_of(tiny_pairs(tmp_path, train=1, validation=2), "validation", tmp_path)
    separator = _separator(tiny_candidate())
    one, other = (Validation(tuple(_validate(separator, rows, 4410, size))) for size in (1, 4))
    assert [len(track.losses) for track in one.tracks] == [6, 6]
    assert one.loss == pytest.approx(other.loss, rel=1e-5)
    assert one.loss == pytest.approx(np.mean([loss for track in one.tracks for loss in track.losses]))
    assert one.usdr_db == pytest.approx(other.usdr_db, abs=1e-4)


def test_a_quiet_song_has_the_same_loss_and_usdr_as_a_loud_one(tmp_path: Path) -> None:
    pairs = tiny_pairs(tmp_path)
    separator, rows = _separator(tiny_candidate()), rows_of(pairs, "validation", tmp_path)
    (loud,) = _validate(separator, rows, 4410, 2)
    for path in (rows[0].mixture, rows[0].vocals):
        write(path, 0.1 * read(path)[0], subtype="FLOAT")
    (quiet,) = _validate(separator, rows, 4410, 2)
    assert quiet.losses == pytest.approx(loud.losses, rel=1e-4)
    assert quiet.usdr_db == pytest.approx(loud.usdr_db, abs=1e-3)


def test_validation_without_vocals_has_a_loss_and_no_usdr(tmp_path: Path) -> None:
    pairs = tiny_pairs(tmp_path).assign(input="accompaniment", target="silence")
    rows = rows_of(pairs, "validation", tmp_path)
    validation = Validation(tuple(_validate(_separator(tiny_candidate()), rows, 4410, 2)))
    assert math.isfinite(validation.loss)
    assert math.isnan(validation.usdr_db)
    assert validation.table["usdr_db"].isna().all()
    assert first_sung_chunk(rows, 4410) is None


def test_a_context_is_measured_on_the_middle_of_the_first_tracks(tmp_path: Path) -> None:
    rows = rows_of(tiny_pairs(tmp_path, train=1, validation=5), "validation", tmp_path)
    stretches = middle_stretches(rows)
    assert len(stretches) == 3
    np.testing.assert_allclose(stretches[0], read(rows[0].mixture)[0], atol=1e-6)
