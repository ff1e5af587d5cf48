from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from tiny import tiny_candidate, tiny_pairs

from data.audio import read
from data.chunks import rows_of
from data.errors import InputError
from data.tables import read_table
from models.checkpoint import load_checkpoint, load_separator
from models.curves import CURVES
from models.losses import build_loss
from models.metrics import usdr
from models.networks import build_network
from models.training import TrainingResult, ahead, learning_rate_at, train, update_average, validate


class Listener:
    def __init__(self) -> None:
        self.lines: list[str] = []
        self.epochs: list[tuple[Mapping[str, Any], bytes | None]] = []

    def log(self, line: str) -> None:
        self.lines.append(line)

    def epoch(self, row: Mapping[str, Any], curves_png: bytes | None) -> None:
        self.epochs.append((row, curves_png))


def _train(root: Path, output: Path, **changes: dict[str, Any]) -> tuple[TrainingResult, Listener]:
    listener = Listener()
    pairs = tiny_pairs(root / "audio")
    return train(tiny_candidate(**changes), pairs, root / "audio", output, listener), listener


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


def test_a_worse_epoch_does_not_replace_the_kept_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    losses = iter([0.3, 0.2, 0.25])
    monkeypatch.setattr("models.training.validate", lambda *arguments: (next(losses), 1.0))
    result, _ = _train(tmp_path, tmp_path / "out", training={"epochs": 3})
    assert result.best_epoch == 2
    assert load_checkpoint(result.checkpoint).metrics["step"] == 6


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
    real = build_loss(tiny_candidate())

    def counting(prediction: Any, vocals: Any, mixture: Any) -> torch.Tensor:
        sizes.append((len(mixture.waveform), len(vocals.waveform)))
        return real(prediction, vocals, mixture)

    monkeypatch.setattr("models.training.build_loss", lambda candidate: counting)
    _train(tmp_path, tmp_path / "out", noise={"profiles": 2, "snrs_db": [30.0, 20.0, 10.0]}, training={"epochs": 1})
    assert sizes[0] == (2 * (1 + 2 * 3), 2 * (1 + 2 * 3))


@pytest.mark.parametrize("split", ["train", "validation"])
def test_an_empty_set_is_an_error_before_anything_is_written(tmp_path: Path, split: str) -> None:
    pairs = tiny_pairs(tmp_path)
    with pytest.raises(InputError, match=f"{split} set"):
        train(tiny_candidate(), pairs[pairs["split"] != split], tmp_path, tmp_path / "out", Listener())
    assert not (tmp_path / "out").exists()


def test_a_loss_that_is_not_finite_stops_the_training_and_names_the_step(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"at step \d+ \(epoch \d\)"):
        _train(tmp_path, tmp_path / "out", training={"learning_rate": 1e30, "clip_norm": 1e30})


def test_damaged_audio_stops_the_training_and_names_the_file(tmp_path: Path) -> None:
    pairs = tiny_pairs(tmp_path)
    damaged = tmp_path / pairs["vocals_path"][0]
    damaged.write_bytes(b"not audio")
    with pytest.raises(InputError) as caught:
        train(tiny_candidate(), pairs, tmp_path, tmp_path / "out", Listener())
    assert caught.value.file == str(damaged)


def test_validation_counts_every_frame_of_every_track_once(tmp_path: Path) -> None:
    pairs = tiny_pairs(tmp_path, train=1, validation=2)
    candidate = tiny_candidate(training={"chunk_seconds": 1.0})
    network = build_network(candidate).eval()
    rows = rows_of(pairs, "validation", tmp_path)
    _, measured = validate(network, build_loss(candidate), rows, 44100, 2, torch.device("cpu"))
    expected = []
    for row in rows:
        mixture, vocals = read(row.mixture)[0], read(row.vocals)[0]
        padded = np.pad(mixture, ((0, 0), (0, 44100 - mixture.shape[1])))
        with torch.inference_mode():
            estimate = network(torch.from_numpy(padded)[None])[0, :, : mixture.shape[1]].numpy()
        expected.append(usdr(vocals, estimate))
    assert measured == pytest.approx(np.mean(expected), abs=1e-4)


def test_validation_without_vocals_has_a_loss_and_no_usdr(tmp_path: Path) -> None:
    pairs = tiny_pairs(tmp_path).assign(input="accompaniment", target="silence")
    candidate = tiny_candidate()
    rows = rows_of(pairs, "validation", tmp_path)
    loss, measured = validate(
        build_network(candidate).eval(), build_loss(candidate), rows, 4410, 2, torch.device("cpu")
    )
    assert math.isfinite(loss)
    assert math.isnan(measured)


def test_the_learning_rate_warms_up_and_falls_to_nothing() -> None:
    settings = tiny_candidate(training={"epochs": 10, "steps_per_epoch": 10, "warmup_steps": 10}).training
    rates = [learning_rate_at(step, settings) for step in range(100)]
    assert rates[0] == pytest.approx(0.01 / 11)
    assert max(rates) == rates[10] == 0.01
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[-1] < 1e-5
    constant = settings.model_copy(update={"schedule": "constant"})
    assert learning_rate_at(99, constant) == 0.01


def test_averaged_weights_follow_slowly_and_without_decay_at_once() -> None:
    network = build_network(tiny_candidate())
    start = copy.deepcopy(network)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(1.0)
    for decay, moved in ((0.0, 1.0), (0.9, 0.1)):
        averaged = copy.deepcopy(start)
        update_average(averaged, network, decay, step=1000)
        for before, after in zip(start.parameters(), averaged.parameters(), strict=True):
            torch.testing.assert_close(after - before, torch.full_like(before, moved))


def test_batches_come_in_order_however_many_threads_draw_them() -> None:
    assert list(ahead(lambda step: step, 20, 3)) == list(range(20))  # type: ignore[arg-type,return-value]
