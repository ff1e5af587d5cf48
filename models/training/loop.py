"""The training loop: chunks in, the best checkpoint and the loss curves out, and a state to go on from at any time.

Reading a candidate, choosing files and talking to whoever launched the training belong to `models.train`; what one
step does, to `models.training.engine`; what is drawn, to `models.training.batches`.

Everything random follows from the candidate's seed and the number of the step: two runs on a CPU with the same number
of threads give identical weights, and so does one that was killed and went on, unless its budget is in time. Validation
uses the averaged weights (EMA), and these are what is kept.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from data.audio import SAMPLE_RATE
from data.chunks import VOCALS, Chunk, Row, rows_of
from data.errors import InputError
from models.candidate import Candidate
from models.context import Context, in_words, measure_context
from models.losses.functions import Loss
from models.progress import Progress, Reporter, Reporters, RunStart, run_name
from models.separate import Separator
from models.training.batches import STATISTICS, Streamed, make_batches
from models.training.engine import Engine
from models.training.processes import Processes
from models.training.results import Provenance, Results, TrainingResult
from models.training.schedule import epochs_without_progress, learning_rate_at
from models.training.state import Progressed, identity
from models.training.validation import Validation, first_sung_chunk, middle_stretches, validate

STATISTICS_BATCHES = 8  # batches that the input statistics are computed from
SILENT_BATCHES = 64  # without a voice in so many batches, there is none to learn from
SECONDS_BETWEEN_LOOKS = 1.0  # at loss and clock: each look waits for the device
SECONDS_BETWEEN_SAVES = 60.0
SAVING_SHARE = 0.01  # of the time, at most, goes into saving states
STANDSTILL = 1e-6  # relative change of the validation loss below which it has not moved


def train(
    candidate: Candidate,
    pairs: pd.DataFrame,
    audio_root: Path,
    output: Path,
    reporter: Reporter,
    device: torch.device | str = "cpu",
    provenance: Provenance | None = None,
    *,
    place: str = "auto",
    processes: Processes | None = None,
    save_every_s: float | None = None,
) -> TrainingResult:
    """Train `candidate` on the rows of `pairs`; write checkpoint, curves and validation table into the folder `output`.

    All are brought up to date after every epoch, each as a whole file: a run that is stopped leaves the best separator
    so far. A state is saved every `save_every_s` seconds (by default every minute, or less often where that would cost
    time); where one of the same settings and audio is found in `output`, training goes on from it. `place` is where the
    training set is kept: auto, stream or resident, as `make_batches` takes it.

    Raises InputError for an empty or silent training or validation set, audio that cannot be read, too many steps
    without a finite loss or gradient, and a loss that does not move.
    """
    settings, device, processes = candidate.training, torch.device(device), processes or Processes()
    frames, share = round(settings.chunk_seconds * SAMPLE_RATE), processes.share_of(settings.batch_size)
    rows, validation_rows = rows_of(pairs, "train", audio_root), rows_of(pairs, "validation", audio_root)
    example = _audible(candidate, rows, validation_rows, frames)

    torch.manual_seed(settings.seed)
    network, loss = candidate.network.build(candidate.stft).to(device), candidate.loss.build()
    parameters = sum(parameter.numel() for parameter in network.parameters())
    results = Results(output, candidate, identity(candidate, pairs), provenance or Provenance())
    resumed = results.resume(network, reporter.log)
    if resumed is None:
        progressed = Progressed(run_name(candidate.name, datetime.now()))
        network.fit_input(mixture.to(device) for mixture in _mixtures(candidate, rows, frames, STATISTICS_BATCHES))
    else:
        progressed = resumed.progressed
    engine = Engine(candidate, network, loss, device, processes)
    if resumed is not None and not progressed.finished:
        engine.restore(resumed.engine)
    if not processes.first:
        reporter = Reporters()
    if not progressed.finished:
        reporter.start(
            RunStart(
                name=progressed.name,
                candidate=candidate,
                parameters=parameters,
                training_rows=len(rows),
                validation_tracks=len(validation_rows),
                steps=settings.epochs * settings.steps_per_epoch,
                minutes=settings.minutes,
                first_step=progressed.step,
                device=str(device),
                processes=processes.count,
                folder=output,
            )
        )
        batches = make_batches(rows, frames, settings, device, share, place).from_step(progressed.step)
        loop = _Loop(
            candidate, engine, loss, batches, validation_rows, example, progressed, results, reporter, processes
        )
        loop.run(save_every_s)
    return results.summary(progressed, parameters)


class _Loop:
    """Epoch after epoch until the budget is spent or nothing more is gained."""

    def __init__(
        self,
        candidate: Candidate,
        engine: Engine,
        loss: Loss,
        batches: Iterator[Tensor],
        validation_rows: Sequence[Row],
        example: Chunk,
        progressed: Progressed,
        results: Results,
        reporter: Reporter,
        processes: Processes,
    ) -> None:
        self._settings = candidate.training
        self._steps = self._settings.epochs * self._settings.steps_per_epoch
        self._name, self._candidate = candidate.name, candidate
        self._engine, self._loss, self._batches = engine, loss, batches
        self._validation_rows, self._example = validation_rows, example
        self._stretches = middle_stretches(validation_rows)
        self._progressed, self._results, self._reporter, self._processes = progressed, results, reporter, processes
        self._device = next(engine.network.parameters()).device
        self._unseen: list[Tensor] = []  # loss and gradient norm of steps that nobody has looked at yet
        self._skipped = sum(row["skipped"] for row in progressed.curves)
        self._validation_seconds = 0.0

    def run(self, save_every_s: float | None) -> None:
        """Train to the end, and bring the files to their last state."""
        progressed = self._progressed
        self._save_every_s = SECONDS_BETWEEN_SAVES if save_every_s is None else save_every_s
        self._adapts = save_every_s is None
        self._began = time.monotonic() - progressed.seconds
        self._looked = self._saved = time.monotonic()
        self._looked_at, self._waited = progressed.step, 0.0
        while not (self._between_epochs() and self._over()):
            self._train_epoch()
            self._close_epoch()
        best = progressed.best
        assert best is not None
        if self._processes.first:
            self._results.finish(progressed)
        self._reporter.log(
            f"kept epoch {best['epoch']} of {progressed.epoch - 1}: validation loss {best['validation_loss']:.4f}, "
            f"uSDR {best['validation_usdr_db']:.2f} dB, {in_words(progressed.context)}"
        )

    def _between_epochs(self) -> bool:
        """Whether every step taken belongs to an epoch that is closed; a training may go on from anywhere."""
        progressed = self._progressed
        return progressed.step == (progressed.curves[-1]["step"] if progressed.curves else 0)

    def _over(self) -> bool:
        patience = self._settings.early_stopping_epochs
        if patience is not None and epochs_without_progress(self._qualities()) >= patience:
            self._reporter.log(f"stopped early: no better validation {self._settings.keep_best} for {patience} epochs")
            return True
        return self._spent() >= 1

    def _spent(self) -> float:
        """The share of the budget that is spent, in steps or in time, whichever is more; all processes agree on it."""
        settings, progressed = self._settings, self._progressed
        progressed.seconds = time.monotonic() - self._began
        self._share_spent = progressed.step / self._steps
        if settings.minutes is not None:
            # Validation is part of the budget, also the one that is still to come.
            time_share = progressed.seconds / max(60 * settings.minutes - self._validation_seconds, 1e-9)
            self._share_spent = max(self._share_spent, self._processes.agreed(time_share, self._device))
        return self._share_spent

    def _train_epoch(self) -> None:
        settings, progressed, qualities = self._settings, self._progressed, self._qualities()
        last, spent = progressed.epoch * settings.steps_per_epoch, self._spent()
        while progressed.step < last:
            waiting = time.monotonic()
            sources = next(self._batches)
            self._waited += time.monotonic() - waiting
            progressed.learning_rate = learning_rate_at(progressed.step, settings, spent, qualities)
            self._unseen.append(self._engine.step(sources, progressed.step, progressed.learning_rate))
            progressed.step += 1
            spent, now = self._spent(), time.monotonic()
            if now - self._looked >= SECONDS_BETWEEN_LOOKS:
                self._look()
            if now - self._saved >= self._save_every_s:
                self._look()
                self._save()
            if spent >= 1:
                break
        self._look()

    def _look(self) -> None:
        """Look at the steps since the last look: count those that were skipped, and tell of the others."""
        if not self._unseen:
            return
        progressed, settings = self._progressed, self._settings
        loss = norm = math.nan
        for loss, norm in torch.stack(self._unseen).tolist():
            if self._engine.counts(loss, norm):
                progressed.losses.append(loss)
                progressed.moved = progressed.moved or norm > 0
            else:
                progressed.skipped += 1
        self._unseen.clear()
        if progressed.skipped > settings.max_skipped_steps:
            kept = (
                f"the checkpoint of epoch {progressed.best['epoch']} stands" if progressed.best else "nothing is kept"
            )
            raise InputError(
                f"training of {self._name}",
                expected="a finite loss and gradient (training.max_skipped_steps: "
                f"at most {settings.max_skipped_steps} steps of an epoch without)",
                found=f"{progressed.skipped} such steps up to step {progressed.step} (epoch {progressed.epoch}), "
                f"the last with loss {loss} and gradient norm {norm}; {kept}",
                remedy="lower training.learning_rate or training.clip_norm, or lengthen training.warmup_steps",
            )
        self._tell(loss, norm)

    def _tell(self, loss: float, norm: float) -> None:
        settings, progressed, now = self._settings, self._progressed, time.monotonic()
        passed, steps = max(now - self._looked, 1e-9), progressed.step - self._looked_at
        # Not asked anew: looks come when a process's own clock says so, and asking is for all processes at once.
        spent = max(self._share_spent, 1e-9)
        expected = max(progressed.step, round(progressed.step / spent))  # fewer than planned where time is the budget
        self._reporter.progress(
            Progress(
                epoch=progressed.epoch,
                epochs=-(-expected // settings.steps_per_epoch),
                step=progressed.step,
                steps=expected,
                loss=loss,
                learning_rate=progressed.learning_rate,
                gradient_norm=norm,
                examples_per_second=steps * settings.batch_size / passed,
                waiting_share=self._waited / passed,
                skipped=self._skipped + progressed.skipped,
                seconds=progressed.seconds,
                seconds_left=progressed.seconds * max(1 / spent - 1, 0.0),
            )
        )
        self._looked, self._looked_at, self._waited = now, progressed.step, 0.0

    def _close_epoch(self) -> None:
        """Validate, keep the weights if they are the best, and tell of the epoch."""
        settings, progressed, processes = self._settings, self._progressed, self._processes
        self._require_progress()
        began = time.monotonic()
        own = self._validation_rows[processes.rank :: processes.count]
        frames = self._example.vocals.shape[-1]
        context = self._measured_context()
        separator = Separator(self._engine.averaged, self._candidate, self._device, context_seconds=context.seconds)
        tracks = validate(separator, self._loss, own, frames, settings.batch_size)
        validation = Validation(tuple(processes.gathered(tracks)))
        self._validation_seconds = time.monotonic() - began
        progressed.seconds = time.monotonic() - self._began
        row = {
            "epoch": progressed.epoch,
            "step": progressed.step,
            "train_loss": float(np.mean(progressed.losses)),
            "validation_loss": validation.loss,
            "validation_usdr_db": validation.usdr_db,
            "learning_rate": progressed.learning_rate,
            "skipped": progressed.skipped,
            "seconds": progressed.seconds,
        }
        progressed.curves.append(row)
        self._skipped += progressed.skipped
        progressed.epoch, progressed.losses, progressed.skipped, progressed.moved = progressed.epoch + 1, [], 0, False
        best = epochs_without_progress(self._qualities()) == 0
        if best:
            progressed.best, progressed.validation = row, validation.table.to_dict("records")
            progressed.context = context
        if processes.first:
            if best:
                self._results.keep(progressed, self._engine.averaged.state_dict())
            self._reporter.epoch(row, self._results.write_curves(progressed))
            self._play()
            self._save()
        self._require_movement()
        self._looked, self._looked_at, self._waited = time.monotonic(), progressed.step, 0.0

    def _measured_context(self) -> Context:
        """The context that the averaged weights need by now; all processes agree on it."""
        separator = Separator(self._engine.averaged, self._candidate, self._device)
        found = measure_context(separator, self._stretches)
        return Context(*(self._processes.agreed(figure, self._device) for figure in found))

    @torch.inference_mode()
    def _play(self) -> None:
        """Let the same stretch of the validation tracks be heard after every epoch."""
        mixture = torch.from_numpy(self._example.mixture)[None].to(self._device)
        estimate = self._engine.averaged(mixture)[0].float().cpu().numpy()
        sounds = {"mixture": self._example.mixture, "vocals": self._example.vocals, "estimate": estimate}
        self._reporter.audio(self._progressed.step, sounds)

    def _save(self) -> None:
        began = time.monotonic()
        if self._processes.first:
            self._results.save(self._progressed, self._engine.state())
        self._saved = time.monotonic()
        if self._adapts:  # large networks on slow disks: save less often rather than train less
            self._save_every_s = max(SECONDS_BETWEEN_SAVES, (self._saved - began) / SAVING_SHARE)

    def _qualities(self) -> list[float]:
        """How good each epoch was, higher is better."""
        by_usdr = self._settings.keep_best == "usdr"
        return [row["validation_usdr_db"] if by_usdr else -row["validation_loss"] for row in self._progressed.curves]

    def _require_progress(self) -> None:
        progressed = self._progressed
        if not (progressed.losses and progressed.moved):
            raise InputError(
                f"training of {self._name}",
                expected="steps with a gradient",
                found=f"none in epoch {progressed.epoch}: every gradient is zero"
                if progressed.losses
                else f"none in epoch {progressed.epoch}: no step had a finite loss",
                remedy="look at the candidate's network and loss: the loss must depend on the weights",
            )

    def _require_movement(self) -> None:
        losses = [row["validation_loss"] for row in self._progressed.curves]
        if len(losses) > 1 and max(losses) - min(losses) <= STANDSTILL * abs(losses[0]):
            raise InputError(
                f"training of {self._name}",
                expected="a validation loss that moves",
                found=f"{losses[-1]:.6g} after each of {len(losses)} epochs",
                remedy="raise training.learning_rate, or look at the candidate's network and loss",
            )


def _mixtures(candidate: Candidate, rows: Sequence[Row], frames: int, count: int) -> Iterator[Tensor]:
    """Batches of training mixtures `(b, c, n)` that no step hears, the same in every process."""
    batches = Streamed(rows, frames, candidate.training, torch.device("cpu"), slice(None))
    for number in range(count):
        yield batches.read(batches.draw(number, STATISTICS)).sum(dim=1)


def _audible(candidate: Candidate, rows: Sequence[Row], validation_rows: Sequence[Row], frames: int) -> Chunk:
    """A validation chunk in which vocals are heard. Raises InputError where there is none there or in training."""
    batches = Streamed(rows, frames, candidate.training, torch.device("cpu"), slice(None))
    draws = (batches.draw(number, STATISTICS) for number in range(SILENT_BATCHES))
    if not any(batches.read(draw)[:, VOCALS].any() for draw in draws):
        raise _silent("train", f"silence in {SILENT_BATCHES * candidate.training.batch_size} chunks drawn at random")
    example = first_sung_chunk(validation_rows, frames)
    if example is None:
        raise _silent("validation", f"silence in all {len(validation_rows)} tracks")
    return example


def _silent(split: str, found: str) -> InputError:
    return InputError(
        f"{split} set",
        expected="vocals that can be heard",
        found=found,
        remedy="look at the tracks' vocals in training_set/manifest (column vocal_activity): are the right stems used?",
    )
