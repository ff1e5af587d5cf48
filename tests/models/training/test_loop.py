from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from listener import Listener
from tiny import tiny_candidate, tiny_pairs

from data.audio import read, write
from data.chunks import rows_of
from data.errors import InputError
from data.tables import read_table
from models.checkpoint import load_checkpoint, load_separator
from models.contest import VALIDATION
from models.context import measure_context
from models.curves import CURVES
from models.metrics import usdr
from models.separate import CONTEXT_SECONDS, separate
from models.training import TrainingResult, train
from models.training.engine import Engine
from models.training.faults import STANDSTILL
from models.training.validation import TrackValidation, middle_stretches


def _train(root: Path, output: Path, place: str = "auto", **changes: dict[str, Any]) -> tuple[TrainingResult, Listener]:
    listener = Listener()
    pairs = tiny_pairs(root / "audio")
    return train(tiny_candidate(**changes), pairs, root / "audio", output, listener, place=place), listener


def test_training_lowers_the_loss_and_beats_the_mixture_on_an_unseen_track(tmp_path: Path) -> None:
    network = {"output": "mask", "input": "magnitude", "norm": "layer", "pre_fc": [32], "fc": [32, 32]}
    result, _ = _train(
        tmp_path, tmp_path / "out", network=network, training={"epochs": 6, "steps_per_epoch": 20, "batch_size": 4}
    )
    assert result.curves["train_loss"].iloc[-1] < 0.6 * result.curves["train_loss"].iloc[0]
    mixture, vocals = (read(tmp_path / f"audio/demo/normalised/song-3/{name}.wav")[0] for name in ("mixture", "vocals"))
    estimate = load_separator(result.checkpoint)(mixture)
    assert usdr(vocals, estimate) > usdr(vocals, mixture) + 3


def test_the_files_hold_every_epoch_and_the_best_one(tmp_path: Path) -> None:
    result, listener = _train(tmp_path, tmp_path / "out", training={"epochs": 3})
    curves = read_table(tmp_path / "out/curves.parquet", CURVES)
    pd.testing.assert_frame_equal(curves, result.curves, check_dtype=False)
    assert curves["epoch"].tolist() == [1, 2, 3]
    assert curves["step"].tolist() == [3, 6, 9]
    best = curves.loc[curves["validation_loss"].idxmin()]
    assert result.best_epoch == best["epoch"]
    checkpoint = load_checkpoint(result.checkpoint)
    assert checkpoint.metrics["validation_loss"] == best["validation_loss"]
    assert [row["epoch"] for row, _ in listener.epochs] == [1, 2, 3]
    assert listener.epochs[-1][1] == (tmp_path / "out/curves.png").read_bytes()
    assert listener.epochs[-1][1].startswith(b"\x89PNG")
    assert curves["kept"].tolist() == [epoch == best["epoch"] for epoch in curves["epoch"]]
    tracks = read_table(tmp_path / "out/validation.parquet", VALIDATION)
    assert tracks["track_id"].tolist() == ["demo/song-3"]
    assert tracks["usdr_db"].mean() == best["validation_usdr_db"]


@pytest.mark.parametrize(("measure", "kept"), [("loss", 2), ("usdr", 3)])
def test_the_best_epoch_by_the_chosen_measure_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, measure: str, kept: int
) -> None:
    outcomes = iter([(0.3, 1.0), (0.2, 1.5), (0.25, 2.0), (0.26, 1.9)])

    def validate(*arguments: Any) -> list[TrackValidation]:
        loss, usdr_db = next(outcomes)
        return [TrackValidation("demo/song-3", usdr_db, (loss,))]

    monkeypatch.setattr("models.training.loop.validate", validate)
    result, _ = _train(tmp_path, tmp_path / "out", training={"epochs": 4, "keep_best": measure})
    assert result.best_epoch == kept
    assert load_checkpoint(result.checkpoint).metrics["step"] == 3 * kept


def test_training_stops_early_where_nothing_is_gained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    losses = iter([0.3, 0.2, 0.25, 0.24, 0.1])
    monkeypatch.setattr(
        "models.training.loop.validate", lambda *_: [TrackValidation("demo/song-3", 0.0, (next(losses),))]
    )
    result, listener = _train(tmp_path, tmp_path / "out", training={"epochs": 9, "early_stopping_epochs": 2})
    assert result.curves["epoch"].tolist() == [1, 2, 3, 4]
    assert result.best_epoch == 2
    assert any("stopped early" in line for line in listener.lines)


def test_a_budget_in_time_ends_the_training_with_a_validated_epoch(tmp_path: Path) -> None:
    result, _ = _train(tmp_path, tmp_path / "out", training={"epochs": 100_000, "minutes": 0.02})
    last = result.curves.iloc[-1]
    assert 0 < last["step"] < 300_000
    assert last["learning_rate"] < 0.01
    assert load_checkpoint(result.checkpoint).metrics["step"] <= last["step"]


def test_the_resident_training_set_trains_the_same_network(tmp_path: Path) -> None:
    streamed, _ = _train(tmp_path, tmp_path / "streamed")
    resident, _ = _train(tmp_path, tmp_path / "resident", place="resident")
    one, other = (load_checkpoint(result.checkpoint).weights for result in (streamed, resident))
    # The tiny tracks are float32: rounding to 16 bits is all that differs, and moves the few weights whose gradient is
    # nearly zero the other way, by a whole step of Adam.
    apart = torch.cat([(one[name] - other[name]).abs().flatten() for name in one])
    assert apart.quantile(0.95) < 1e-2
    assert apart.mean() < 2e-3


def test_what_a_training_leaves_is_what_its_checkpoint_gives_in_use(tmp_path: Path) -> None:
    pairs = tiny_pairs(tmp_path, train=1, validation=2, seconds=12.0)
    result = train(tiny_candidate(training={"epochs": 3}), pairs, tmp_path, tmp_path / "out", Listener())
    checkpoint, separator = load_checkpoint(result.checkpoint), load_separator(result.checkpoint)
    context = measure_context(separator, middle_stretches(rows_of(pairs, "validation", tmp_path)))
    assert checkpoint.normalises
    assert checkpoint.context_seconds == separator.context_seconds == context.seconds
    assert context.seconds != CONTEXT_SECONDS
    assert checkpoint.metrics["context_difference_db"] == pytest.approx(context.difference_db, abs=0.1)
    left = VALIDATION.read(tmp_path / "out").set_index("track_id")["usdr_db"]
    for row in rows_of(pairs, "validation", tmp_path):
        heard = separate(separator, read(row.mixture)[0])
        assert left[row.track_id] == pytest.approx(usdr(read(row.vocals)[0], heard), abs=1e-4)
    assert checkpoint.metrics["validation_usdr_db"] == pytest.approx(left.mean())


def test_progress_tells_where_the_training_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("models.training.watch.SECONDS_BETWEEN_LOOKS", 0.0)
    _, listener = _train(tmp_path, tmp_path / "out")
    assert [(p.epoch, p.step, p.steps) for p in listener.progresses] == [
        (1, 1, 6), (1, 2, 6), (1, 3, 6), (2, 4, 6), (2, 5, 6), (2, 6, 6),
    ]  # fmt: skip
    for progress in listener.progresses:
        assert math.isfinite(progress.loss)
        assert progress.gradient_norm > 0
        assert progress.examples_per_second > 0
        assert 0 <= progress.waiting_share <= 1
    assert listener.progresses[-1].seconds_left == 0
    (run,) = listener.runs
    assert run.name.startswith("tiny-")
    assert (run.first_step, run.steps, run.training_rows, run.validation_tracks) == (0, 6, 3, 1)
    assert [step for step, _ in listener.sounds] == [3, 6]
    mixture, _ = read(tmp_path / "audio/demo/normalised/song-3/mixture.wav")
    for _, sounds in listener.sounds:
        np.testing.assert_allclose(sounds["mixture"], mixture[:, :4410], atol=1e-6)
        assert sounds["estimate"].shape == sounds["vocals"].shape == (2, 4410)


@pytest.mark.parametrize("noise", [{"profiles": 0}, {"profiles": 2, "snrs_db": [20.0]}], ids=["clean", "noisy"])
def test_two_runs_give_identical_bytes(tmp_path: Path, noise: dict[str, Any]) -> None:
    first, _ = _train(tmp_path, tmp_path / "first", noise=noise)
    second, _ = _train(tmp_path, tmp_path / "second", noise=noise)
    assert first.checkpoint.read_bytes() == second.checkpoint.read_bytes()
    pd.testing.assert_frame_equal(first.curves.drop(columns="seconds"), second.curves.drop(columns="seconds"))


def test_another_seed_gives_other_weights(tmp_path: Path) -> None:
    first, _ = _train(tmp_path, tmp_path / "first")
    second, _ = _train(tmp_path, tmp_path / "second", training={"seed": 4})
    assert first.checkpoint.read_bytes() != second.checkpoint.read_bytes()


def test_noise_makes_the_batch_larger_by_n_times_m(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []
    real = tiny_candidate().loss.build()

    def counting(prediction: Any, vocals: Any, mixture: Any) -> torch.Tensor:
        sizes.append((len(mixture.waveform), len(vocals.waveform)))
        return real(prediction, vocals, mixture)

    monkeypatch.setattr("models.losses.L1Settings.build", lambda settings: counting)
    _train(tmp_path, tmp_path / "out", noise={"profiles": 2, "snrs_db": [30.0, 20.0, 10.0]}, training={"epochs": 1})
    assert sizes[0] == (2 * (1 + 2 * 3), 2 * (1 + 2 * 3))


@pytest.mark.parametrize("split", ["train", "validation"])
def test_an_empty_set_is_an_error_before_anything_is_written(tmp_path: Path, split: str) -> None:
    pairs = tiny_pairs(tmp_path)
    with pytest.raises(InputError, match=f"{split} set"):
        train(tiny_candidate(), pairs[pairs["split"] != split], tmp_path, tmp_path / "out", Listener())
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("split", ["train", "validation"])
def test_a_set_without_a_voice_is_an_error_before_anything_is_written(tmp_path: Path, split: str) -> None:
    pairs = tiny_pairs(tmp_path)
    for row in pairs[pairs["split"] == split].itertuples():
        write(tmp_path / str(row.vocals_path), np.zeros((2, row.frames), np.float32), subtype="FLOAT")
    with pytest.raises(InputError, match=f"{split} set") as caught:
        train(tiny_candidate(), pairs, tmp_path, tmp_path / "out", Listener())
    assert "silence" in caught.value.found
    assert not (tmp_path / "out").exists()


def test_steps_that_are_not_finite_are_skipped_and_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clean, _ = _train(tmp_path, tmp_path / "clean", training={"epochs": 1})
    _spoil(monkeypatch, steps={1})
    result, listener = _train(tmp_path, tmp_path / "out", training={"epochs": 1})
    assert result.curves["skipped"].tolist() == [1]
    assert math.isfinite(result.curves["train_loss"][0])
    assert listener.progresses[-1].skipped == 1
    weights = load_checkpoint(result.checkpoint).weights
    assert all(tensor.isfinite().all() for tensor in weights.values() if tensor.is_floating_point())
    assert any(
        not torch.equal(weights[name], other) for name, other in load_checkpoint(clean.checkpoint).weights.items()
    )


def test_too_many_steps_that_are_not_finite_stop_the_training_and_leave_the_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _spoil(monkeypatch, steps=set(range(4, 100)))
    with pytest.raises(InputError, match="training of tiny") as caught:
        _train(tmp_path, tmp_path / "out", training={"epochs": 3, "steps_per_epoch": 4, "max_skipped_steps": 2})
    assert "the checkpoint of epoch 1 stands" in caught.value.found
    assert "epoch 2" in caught.value.found
    assert load_checkpoint(tmp_path / "out/checkpoint.pt").metrics["epoch"] == 1


def test_a_gradient_of_nothing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="training of tiny") as caught:
        _train(tmp_path, tmp_path / "out", loss={"name": "l1", "waveform": 0.0, "spectrum": 1e-30})
    assert "every gradient is zero" in caught.value.found
    assert not (tmp_path / "out/checkpoint.pt").exists()


def test_a_loss_that_does_not_move_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="training of tiny") as caught:
        _train(tmp_path, tmp_path / "out", training={"learning_rate": STANDSTILL * 1e-6})
    assert "after each of 2 epochs" in caught.value.found


def test_damaged_audio_stops_the_training_and_names_the_file(tmp_path: Path) -> None:
    pairs = tiny_pairs(tmp_path)
    damaged = tmp_path / pairs["vocals_path"][0]
    damaged.write_bytes(b"not audio")
    with pytest.raises(InputError) as caught:
        train(tiny_candidate(), pairs, tmp_path, tmp_path / "out", Listener())
    assert caught.value.file == str(damaged)


def _spoil(monkeypatch: pytest.MonkeyPatch, steps: set[int]) -> None:
    """Make the sources of some training steps infinite, as they reach the engine."""
    real = Engine.step

    def step(engine: Engine, sources: torch.Tensor, number: int, rate: float) -> torch.Tensor:
        return real(engine, sources * math.inf if number in steps else sources, number, rate)

    monkeypatch.setattr(Engine, "step", step)
