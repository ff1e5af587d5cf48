"""The training loop: chunks in, the best checkpoint and the loss curves out.

One process, one device. Reading a candidate, choosing files and talking to whoever launched the training belong to
`models.train`; what a network or a loss does, to their own modules.

A run has a fixed number of steps, and everything random follows from the candidate's seed: two runs on a CPU with the
same number of threads give identical weights. Validation uses the averaged weights (EMA), and these are what is kept.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from data.audio import SAMPLE_RATE
from data.chunks import Augmentation, Batch, ChunkDrawer, Row, chunks_in_order, rows_of
from data.errors import InputError
from data.files import publish
from data.tables import write_table
from models.candidate import Candidate, TrainingSettings
from models.checkpoint import Checkpoint, current_commit, save_checkpoint
from models.curves import CURVES, draw_curves
from models.losses import Loss, build_loss
from models.networks import build_network
from models.networks.base import Network
from models.noise import noisy_copies, repeated
from models.stft import Sound

CHECKPOINT_FILE, CURVES_FILE, PICTURE_FILE = "checkpoint.pt", "curves.parquet", "curves.png"
STATISTICS_BATCHES = 8  # batches that the input statistics are computed from
SECONDS_BETWEEN_LINES = 3.0  # a reader of the log sees life at least this often


class Reporter(Protocol):
    """Who hears of progress."""

    def log(self, line: str) -> None: ...

    def epoch(self, row: Mapping[str, Any], curves_png: bytes | None) -> None: ...


@dataclass(frozen=True)
class Provenance:
    """Where training data and code came from, kept in the checkpoint as it is."""

    fingerprints: Mapping[str, str] = field(default_factory=dict)
    licences: tuple[str, ...] = ()
    git_commit: str | None = None


@dataclass(frozen=True)
class TrainingResult:
    """What a training run gave: the files it wrote, the kept epoch's numbers, and the curves."""

    checkpoint: Path
    curves: pd.DataFrame
    best_epoch: int
    best_step: int
    validation_loss: float
    validation_usdr_db: float
    parameters: int
    seconds: float


def train(
    candidate: Candidate,
    pairs: pd.DataFrame,
    audio_root: Path,
    output: Path,
    reporter: Reporter,
    device: torch.device | str = "cpu",
    provenance: Provenance | None = None,
) -> TrainingResult:
    """Train `candidate` on the rows of `pairs` and write checkpoint.pt, curves.parquet and curves.png into `output`.

    All three are brought up to date after every epoch, each as a whole file: a run that is stopped leaves the best
    separator so far. Raises InputError for an empty training or validation set, audio that cannot be read, and a loss
    or gradient that is not finite, naming the step.
    """
    settings, device = candidate.training, torch.device(device)
    frames = round(settings.chunk_seconds * SAMPLE_RATE)
    train_rows, validation_rows = rows_of(pairs, "train", audio_root), rows_of(pairs, "validation", audio_root)
    drawer = ChunkDrawer(train_rows, frames, settings.seed, _augmentation(settings))

    torch.manual_seed(settings.seed)
    network, loss = build_network(candidate).to(device), build_loss(candidate)
    parameters = sum(parameter.numel() for parameter in network.parameters())
    reporter.log(
        f"{candidate.name}: {parameters / 1e6:.2f} million parameters, {len(train_rows)} training rows, "
        f"{len(validation_rows)} validation tracks, {settings.epochs} epochs of {settings.steps_per_epoch} steps, "
        f"on {device}"
    )
    # Epochs count from 1; the draws of epoch 0 are for the statistics.
    statistics = (drawer.batch(0, step, settings.batch_size).mixture for step in range(STATISTICS_BATCHES))
    network.fit_input(torch.from_numpy(mixture).to(device) for mixture in statistics)
    run = _Run(candidate, network, loss, device, reporter)

    curves: list[dict[str, Any]] = []
    best: dict[str, Any] | None = None
    for epoch in range(1, settings.epochs + 1):
        train_loss = run.epoch(epoch, drawer)
        validation_loss, usdr_db = validate(run.averaged, loss, validation_rows, frames, settings.batch_size, device)
        row = {
            "epoch": epoch,
            "step": run.step,
            "train_loss": train_loss,
            "validation_loss": validation_loss,
            "validation_usdr_db": usdr_db,
            "learning_rate": learning_rate_at(run.step - 1, settings),
            "seconds": time.monotonic() - run.began,
        }
        curves.append(row)
        if best is None or validation_loss < best["validation_loss"]:
            best = row
            save_checkpoint(output / CHECKPOINT_FILE, _checkpoint(candidate, run.averaged, row, provenance))
        picture = _write_curves(curves, output, candidate.name)
        reporter.epoch(row, picture)
    assert best is not None
    reporter.log(f"kept epoch {best['epoch']}: validation loss {best['validation_loss']:.4f}")
    return TrainingResult(
        checkpoint=output / CHECKPOINT_FILE,
        curves=pd.DataFrame(curves),
        best_epoch=best["epoch"],
        best_step=best["step"],
        validation_loss=best["validation_loss"],
        validation_usdr_db=best["validation_usdr_db"],
        parameters=parameters,
        seconds=time.monotonic() - run.began,
    )


class _Run:
    """The state that moves from step to step: weights, their average, optimiser, noise."""

    def __init__(
        self, candidate: Candidate, network: Network, loss: Loss, device: torch.device, reporter: Reporter
    ) -> None:
        self.settings = candidate.training
        self.network = network
        self.averaged = copy.deepcopy(network).eval()
        self.step = 0
        self.began = time.monotonic()
        self._candidate = candidate
        self._loss = loss
        self._device = device
        self._reporter = reporter
        self._noise = torch.Generator(device).manual_seed(self.settings.seed)
        self._optimiser = torch.optim.AdamW(
            network.parameters(), lr=self.settings.learning_rate, weight_decay=self.settings.weight_decay
        )
        self._last_line = self.began

    def epoch(self, epoch: int, drawer: ChunkDrawer) -> float:
        """Train for one epoch; returns the mean loss of its steps."""
        settings = self.settings
        total = 0.0
        self.network.train()

        def draw(step: int) -> Batch:
            return drawer.batch(epoch, step, settings.batch_size)

        for batch in ahead(draw, settings.steps_per_epoch, settings.loader_threads):
            total += self._train_step(epoch, batch)
            self._tell(epoch)
        return total / settings.steps_per_epoch

    def _train_step(self, epoch: int, batch: Batch) -> float:
        noise = self._candidate.noise
        mixture, vocals = (torch.from_numpy(audio).to(self._device, non_blocking=True) for audio in batch)
        if noise.profiles > 0 and noise.snrs_db:
            mixture = noisy_copies(mixture, noise.profiles, noise.snrs_db, self._noise)
            vocals = repeated(vocals, noise.profiles, noise.snrs_db)
        X, Y = (Sound(self.network.stft, waveform=waveform) for waveform in (mixture, vocals))
        loss = self._loss(self.network.estimate(X), Y, X).mean()
        self._optimiser.zero_grad(set_to_none=True)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.settings.clip_norm)
        loss_value, norm_value = torch.stack([loss.detach(), norm]).tolist()
        if not (math.isfinite(loss_value) and math.isfinite(norm_value)):
            raise InputError(
                f"training of {self._candidate.name}",
                expected="a finite loss and gradient",
                found=f"loss {loss_value}, gradient norm {norm_value} at step {self.step + 1} (epoch {epoch})",
                remedy="lower training.learning_rate or training.clip_norm, or lengthen training.warmup_steps",
            )
        for group in self._optimiser.param_groups:
            group["lr"] = learning_rate_at(self.step, self.settings)
        self._optimiser.step()
        self.step += 1
        update_average(self.averaged, self.network, self.settings.ema_decay, self.step)
        self._last_loss = loss_value
        return loss_value

    def _tell(self, epoch: int) -> None:
        now = time.monotonic()
        if now - self._last_line < SECONDS_BETWEEN_LINES:
            return
        self._last_line = now
        settings, elapsed = self.settings, now - self.began
        steps = settings.epochs * settings.steps_per_epoch
        self._reporter.log(
            f"epoch {epoch}/{settings.epochs}, step {self.step}/{steps}, loss {self._last_loss:.4f}, "
            f"{self.step * settings.batch_size / elapsed:.1f} examples/s, "
            f"about {(steps - self.step) * elapsed / self.step:.0f} s left"
        )


def learning_rate_at(step: int, settings: TrainingSettings) -> float:
    """The learning rate of step `step` (from 0): linear warm-up, then constant, or a half cosine down to zero."""
    total = settings.epochs * settings.steps_per_epoch
    rate = settings.learning_rate * min(1.0, (step + 1) / (settings.warmup_steps + 1))
    if settings.schedule == "cosine":
        done = max(0.0, (step - settings.warmup_steps) / max(1, total - settings.warmup_steps))
        rate *= 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))
    return rate


@torch.no_grad()
def update_average(averaged: Network, network: Network, decay: float, step: int) -> None:
    """Move the averaged weights towards the network's; the first steps are averaged over a shorter past."""
    weight = 1 - min(decay, (1 + step) / (10 + step)) if decay > 0 else 1.0
    torch._foreach_lerp_(list(averaged.parameters()), list(network.parameters()), weight)
    for kept, moving in zip(averaged.buffers(), network.buffers(), strict=True):
        kept.copy_(moving)


@torch.inference_mode()
def validate(
    network: Network, loss: Loss, rows: list[Row], frames: int, batch_size: int, device: torch.device
) -> tuple[float, float]:
    """Mean loss over all chunks of the validation tracks, and mean uSDR in dB over those with vocals.

    Every track counts from its beginning to its end, in chunks of `frames`. uSDR is NaN where no track has vocals.
    """
    losses: list[float] = []
    usdrs: list[float] = []
    for row in rows:
        signal, error = 0.0, 0.0
        for mixture, vocals, lengths in _batches(row, frames, batch_size, device):
            X, Y = (Sound(network.stft, waveform=waveform) for waveform in (mixture, vocals))
            estimate = network.estimate(X)
            losses += loss(estimate, Y, X).tolist()
            heard = torch.arange(frames, device=device) < lengths[:, None, None]
            apart = (network.finish(estimate, X) - vocals) * heard
            signal += float(vocals.square().sum(dtype=torch.float64))
            error += float(apart.square().sum(dtype=torch.float64))
        if signal > 0:
            usdrs.append(10 * math.log10((signal + 1e-7) / (error + 1e-7)))
    return float(np.mean(losses)), float(np.mean(usdrs)) if usdrs else math.nan


def ahead(draw: Callable[[int], Batch], steps: int, threads: int) -> Iterator[Batch]:
    """`draw(0), draw(1), ...` in order, drawn by `threads` threads ahead of their use."""
    with ThreadPoolExecutor(threads, thread_name_prefix="chunks") as pool:
        waiting: list[Future[Batch]] = [pool.submit(draw, step) for step in range(min(2 * threads, steps))]
        try:
            for step in range(steps):
                batch = waiting.pop(0).result()
                if step + 2 * threads < steps:
                    waiting.append(pool.submit(draw, step + 2 * threads))
                yield batch
        finally:
            for future in waiting:
                future.cancel()


def _batches(row: Row, frames: int, batch_size: int, device: torch.device) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """A track's chunks in batches: mixture and vocals `(b, 2, frames)`, and how many frames of each are real."""
    chunks: list[tuple[Batch, int]] = []
    last = -(-row.frames // frames)
    for index, chunk in enumerate(chunks_in_order(row, frames), start=1):
        chunks.append(chunk)
        if len(chunks) == batch_size or index == last:
            mixture = np.concatenate([batch.mixture for batch, _ in chunks])
            vocals = np.concatenate([batch.vocals for batch, _ in chunks])
            lengths = torch.tensor([length for _, length in chunks], device=device)
            yield torch.from_numpy(mixture).to(device), torch.from_numpy(vocals).to(device), lengths
            chunks.clear()


def _augmentation(settings: TrainingSettings) -> Augmentation:
    change = settings.augmentation
    return Augmentation(
        remix=change.remix,
        gain_db=(change.gain_db[0], change.gain_db[1]),
        swap_channels=change.swap_channels,
        flip_sign=change.flip_sign,
    )


def _checkpoint(
    candidate: Candidate, network: Network, row: Mapping[str, Any], provenance: Provenance | None
) -> Checkpoint:
    provenance = provenance or Provenance(git_commit=current_commit())
    return Checkpoint(
        candidate=candidate,
        weights=network.state_dict(),
        # Times would make two equal runs differ.
        metrics={key: value for key, value in row.items() if key != "seconds"},
        fingerprints=provenance.fingerprints,
        licences=provenance.licences,
        git_commit=provenance.git_commit,
    )


def _write_curves(curves: list[dict[str, Any]], output: Path, name: str) -> bytes:
    frame = pd.DataFrame(curves)
    write_table(output / CURVES_FILE, frame, CURVES)
    picture = draw_curves(frame, f"Training of {name}")
    with publish(output / PICTURE_FILE) as partial:
        partial.write_bytes(picture)
    return picture
