"""The training loop: chunks in, the best checkpoint and the loss curves out, and a state to go on from at any time.

Reading a candidate, choosing files and talking to whoever launched the training belong to `models.train`; what one
step does, to `models.training.engine`; what is drawn, to `models.training.batches`.

Everything random follows from the candidate's seed and the number of the step: two runs on a CPU with the same number
of threads give identical weights, and so does one that was killed and went on, unless its budget is in time. Validation
uses the averaged weights (EMA), and these are what is kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor

from data.audio import SAMPLE_RATE
from data.chunks import Chunk, Row, rows_of
from models.candidate import Candidate
from models.context import Context, in_words, measure_context
from models.losses.functions import Loss
from models.progress import Reporter, Reporters, RunStart, run_name
from models.separate import Separator
from models.training.batches import make_batches
from models.training.budget import Budget
from models.training.engine import Engine
from models.training.faults import require_movement, require_progress
from models.training.hearing import audible_chunk, first_mixtures
from models.training.processes import Processes
from models.training.results import Provenance, Results, TrainingResult
from models.training.save_clock import SaveClock
from models.training.schedule import epochs_without_progress, learning_rate_at
from models.training.state import Progressed, identity
from models.training.validation import Validation, middle_stretches, validate
from models.training.watch import Watch


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
    example = audible_chunk(settings, rows, validation_rows, frames)

    torch.manual_seed(settings.seed)
    network, loss = candidate.network.build(candidate.stft).to(device), candidate.loss.build()
    parameters = sum(parameter.numel() for parameter in network.parameters())
    results = Results(output, candidate, identity(candidate, pairs), provenance or Provenance())
    resumed = results.resume(network, reporter.log)
    if resumed is None:
        progressed = Progressed(run_name(candidate.name, datetime.now()))
        network.fit_input(mixture.to(device) for mixture in first_mixtures(settings, rows, frames))
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
                steps=settings.steps,
                minutes=settings.minutes,
                first_step=progressed.step,
                device=str(device),
                processes=processes.count,
                folder=output,
            )
        )
        batches = make_batches(rows, frames, settings, device, share, place).from_step(progressed.step)
        saves = SaveClock(save_every_s)
        _Loop(
            candidate, engine, loss, batches, validation_rows, example, progressed, results, reporter, processes, saves
        ).run()
    return results.summary(progressed, parameters)


@dataclass
class _Loop:
    """Epoch after epoch until the budget is spent or nothing more is gained."""

    candidate: Candidate
    engine: Engine
    loss: Loss
    batches: Iterator[Tensor]
    validation_rows: Sequence[Row]
    example: Chunk
    progressed: Progressed
    results: Results
    reporter: Reporter
    processes: Processes
    saves: SaveClock

    def __post_init__(self) -> None:
        """The clocks begin to run."""
        self.device, self.stretches = self.engine.device, middle_stretches(self.validation_rows)
        self.budget = Budget(self.candidate.training, self.progressed, self.processes, self.device)
        self.watch = Watch(self.candidate, self.progressed, self.budget, self.engine.counts, self.reporter)

    def run(self) -> None:
        """Train to the end, and bring the files to their last state."""
        while not (self.progressed.between_epochs and self._over()):
            self._train_epoch()
            require_progress(self.candidate, self.progressed)
            self._close_epoch()
            require_movement(self.candidate, self.progressed)
            self.watch.begin()
        if self.processes.first:
            self.results.finish(self.progressed)
        self.reporter.log(_what_was_kept(self.progressed))

    def _over(self) -> bool:
        settings = self.candidate.training
        patience = settings.early_stopping_epochs
        if patience is not None and epochs_without_progress(self._qualities()) >= patience:
            self.reporter.log(f"stopped early: no better validation {settings.keep_best} for {patience} epochs")
            return True
        return self.budget.spent() >= 1

    def _train_epoch(self) -> None:
        settings, progressed, qualities = self.candidate.training, self.progressed, self._qualities()
        last, spent = progressed.epoch * settings.steps_per_epoch, self.budget.spent()
        while progressed.step < last:
            with self.watch.waiting():
                sources = next(self.batches)
            progressed.learning_rate = learning_rate_at(progressed.step, settings, spent, qualities)
            self.watch.saw(self.engine.step(sources, progressed.step, progressed.learning_rate))
            progressed.step += 1
            spent, saves = self.budget.spent(), self.saves.due
            if saves or self.watch.due:
                self.watch.look()
            if saves:
                self._save()
            if spent >= 1:
                break
        self.watch.look()

    def _close_epoch(self) -> None:
        """Validate, keep the weights if they are the best, and tell of the epoch."""
        with self.budget.validating():
            context, validation = self._validated()
        row = self.progressed.close_epoch(validation.loss, validation.usdr_db)
        best = epochs_without_progress(self._qualities()) == 0
        if best:
            self.progressed.best, self.progressed.context = row, context
            self.progressed.validation = validation.table.to_dict("records")
        if self.processes.first:
            if best:
                self.results.keep(self.progressed, self.engine.averaged.state_dict())
            self.reporter.epoch(row, self.results.write_curves(self.progressed))
            self._play()
            self._save()

    def _validated(self) -> tuple[Context, Validation]:
        """How good the averaged weights are, with the context that they need by now; all processes agree on both."""
        averaged, device, processes = self.engine.averaged, self.device, self.processes
        found = measure_context(Separator(averaged, self.candidate, device), self.stretches)
        context = Context(*(processes.agreed(figure, device) for figure in found))
        separator = Separator(averaged, self.candidate, device, context_seconds=context.seconds)
        own, frames = self.validation_rows[processes.rank :: processes.count], self.example.vocals.shape[-1]
        tracks = validate(separator, self.loss, own, frames, self.candidate.training.batch_size)
        return context, Validation(tuple(processes.gathered(tracks)))

    @torch.inference_mode()
    def _play(self) -> None:
        """Let the same stretch of the validation tracks be heard after every epoch."""
        mixture = torch.from_numpy(self.example.mixture)[None].to(self.device)
        estimate = self.engine.averaged(mixture)[0].float().cpu().numpy()
        sounds = {"mixture": self.example.mixture, "vocals": self.example.vocals, "estimate": estimate}
        self.reporter.audio(self.progressed.step, sounds)

    def _save(self) -> None:
        with self.saves.saving():
            if self.processes.first:
                self.results.save(self.progressed, self.engine.state())

    def _qualities(self) -> list[float]:
        """How good each epoch was, higher is better."""
        by_usdr = self.candidate.training.keep_best == "usdr"
        return [row["validation_usdr_db"] if by_usdr else -row["validation_loss"] for row in self.progressed.curves]


def _what_was_kept(progressed: Progressed) -> str:
    best = progressed.best
    assert best is not None
    return (
        f"kept epoch {best['epoch']} of {progressed.epoch - 1}: validation loss {best['validation_loss']:.4f}, "
        f"uSDR {best['validation_usdr_db']:.2f} dB, {in_words(progressed.context)}"
    )
