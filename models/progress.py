"""What a training tells while it runs, and to whom: the protocol `Reporter`, and the words all reporters share.

Who listens (terminal, Dagster, TensorBoard, Weights & Biases) stands in `models.reporters`; what is told and when, in
`models.training`. Nothing here imports torch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from data.audio import Audio
from models.candidate import Candidate

WAITING_WORTH_TELLING = 0.03  # share of the time; below it, loading is hidden behind computing


@dataclass(frozen=True)
class RunStart:
    """A training that begins or goes on: its readable name, what is trained on how much, where, and for how long.

    `steps` are planned, `minutes` is the time budget or None; `first_step` is 0, or where a resumed run goes on;
    `folder` is where the run's files go.
    """

    name: str
    candidate: Candidate
    parameters: int
    training_rows: int
    validation_tracks: int
    steps: int
    minutes: float | None
    first_step: int
    device: str
    processes: int
    folder: Path


@dataclass(frozen=True)
class Progress:
    """Where a training stands after a step.

    `epochs` and `steps` are how many there will be: as planned, or as many as a budget in time is expected to last for.
    `loss`, `learning_rate` and `gradient_norm` are the step's. `waiting_share` (0..1) is the share of the time since
    the last Progress that steps waited for data; `skipped` counts the steps so far that were not finite; `seconds`
    were trained so far, those before a resume included.
    """

    epoch: int
    epochs: int
    step: int
    steps: int
    loss: float
    learning_rate: float
    gradient_norm: float
    examples_per_second: float
    waiting_share: float
    skipped: int
    seconds: float
    seconds_left: float


class Reporter(Protocol):
    """Who hears of a training. Calls come from one thread, `start` before all others but `log` and `close`."""

    def start(self, run: RunStart) -> None:
        """The training begins, or goes on after a stop."""

    def log(self, line: str) -> None:
        """Something a person should read."""

    def progress(self, progress: Progress) -> None:
        """About once a second; reporters thin it out themselves."""

    def epoch(self, row: Mapping[str, Any], curves_png: bytes) -> None:
        """An epoch is done and validated: `row` has the columns CURVES, `curves_png` is the picture so far."""

    def audio(self, step: int, sounds: Mapping[str, Audio]) -> None:
        """After an epoch: excerpts by name (mixture, vocals, estimate), each (2, frames) float32 at 44100 Hz."""

    def close(self) -> None:
        """Nothing more will come; files are written out. May be called twice, and without `start`."""


class Reporters:
    """Several reporters as one; without any, a silent one."""

    def __init__(self, *reporters: Reporter) -> None:
        self._reporters = reporters

    def start(self, run: RunStart) -> None:
        for reporter in self._reporters:
            reporter.start(run)

    def log(self, line: str) -> None:
        for reporter in self._reporters:
            reporter.log(line)

    def progress(self, progress: Progress) -> None:
        for reporter in self._reporters:
            reporter.progress(progress)

    def epoch(self, row: Mapping[str, Any], curves_png: bytes) -> None:
        for reporter in self._reporters:
            reporter.epoch(row, curves_png)

    def audio(self, step: int, sounds: Mapping[str, Audio]) -> None:
        for reporter in self._reporters:
            reporter.audio(step, sounds)

    def close(self) -> None:
        # One that cannot close must not keep the others open.
        with ExitStack() as stack:
            for reporter in reversed(self._reporters):
                stack.callback(reporter.close)


class Expendable:
    """A reporter that may fail without ending the training: its first error is told, then it hears nothing more."""

    def __init__(self, reporter: Reporter, name: str, tell: Callable[[str], None]) -> None:
        self._reporter = reporter
        self._name = name
        self._tell = tell
        self._failed = False

    def start(self, run: RunStart) -> None:
        self._unless_failed(lambda: self._reporter.start(run))

    def log(self, line: str) -> None:
        self._unless_failed(lambda: self._reporter.log(line))

    def progress(self, progress: Progress) -> None:
        self._unless_failed(lambda: self._reporter.progress(progress))

    def epoch(self, row: Mapping[str, Any], curves_png: bytes) -> None:
        self._unless_failed(lambda: self._reporter.epoch(row, curves_png))

    def audio(self, step: int, sounds: Mapping[str, Audio]) -> None:
        self._unless_failed(lambda: self._reporter.audio(step, sounds))

    def close(self) -> None:
        # Also after a failure: what was written until then is kept.
        self._survive(self._reporter.close)

    def _unless_failed(self, call: Callable[[], None]) -> None:
        if not self._failed:
            self._survive(call)

    def _survive(self, call: Callable[[], None]) -> None:
        try:
            call()
        except Exception as error:
            # Whatever a library that only watches may raise, from a full disk to a bug: hours of training matter more.
            if not self._failed:
                self._failed = True
                self._tell(f"{self._name} hears no more of this run, which goes on: {type(error).__name__}: {error}")


class Pace:
    """Thins out what comes often: soon at first, then ever less often, by a share of how far it has come.

    Positions are anything that only grows, such as seconds or steps. After the first, which is always due, the next
    is due after `share` of the way from the first to the last, but no less than `shortest` and no more than `longest`.
    """

    def __init__(self, share: float, shortest: float = 0.0, longest: float = math.inf) -> None:
        self._share, self._shortest, self._longest = share, shortest, longest
        self._first: float | None = None
        self._last = 0.0

    def due(self, position: float) -> bool:
        """Whether something at `position` is to be passed on; if so, the next is counted from here."""
        if self._first is None:
            self._first = position
        else:
            gap = min(max(self._share * (self._last - self._first), self._shortest), self._longest)
            if position - self._last < gap:
                return False
        self._last = position
        return True


def run_name(candidate_name: str, now: datetime) -> str:
    """The readable name of a run that begins `now`, such as `bandsplit-2026-11-22-2305`."""
    return f"{candidate_name}-{now:%Y-%m-%d-%H%M}"


def start_line(run: RunStart) -> str:
    """What is trained on what, in words."""
    plan = f"{run.steps} steps" if run.minutes is None else f"{run.minutes:g} minutes, at most {run.steps} steps"
    if run.first_step:
        plan += f", going on after step {run.first_step}"
    machine = run.device if run.processes == 1 else f"{run.device} in {run.processes} processes"
    return (
        f"{run.name}: {run.parameters / 1e6:.2f} million parameters, {run.training_rows} training rows, "
        f"{run.validation_tracks} validation tracks, {plan}, on {machine}"
    )


def progress_line(progress: Progress) -> str:
    """Where a training stands, in words."""
    p = progress
    return f"epoch {p.epoch}/{p.epochs}, step {p.step}/{p.steps}, {measured(p)}, {duration(p.seconds_left)} left"


def measured(progress: Progress) -> str:
    """Loss, learning rate and speed in words; what hurts is told where it does."""
    p = progress
    words = [f"loss {p.loss:.4f}", f"learning rate {p.learning_rate:.2g}", f"{p.examples_per_second:.3g} examples/s"]
    if p.waiting_share >= WAITING_WORTH_TELLING:
        words.append(f"{p.waiting_share:.0%} waiting for data")
    if p.skipped:
        words.append(f"{p.skipped} steps skipped")
    return ", ".join(words)


def epoch_line(row: Mapping[str, Any]) -> str:
    """One epoch in words."""
    return (
        f"epoch {row['epoch']} done: training loss {row['train_loss']:.4f}, "
        f"validation loss {row['validation_loss']:.4f}, validation uSDR {row['validation_usdr_db']:.2f} dB, "
        f"{row['seconds']:.0f} s"
    )


def duration(seconds: float) -> str:
    """Seconds as a person says them: 42 s, 12 min, 3 h 20 min, 2 d 4 h."""
    if not math.isfinite(seconds):
        return "unknown time"
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 24:
        return f"{hours} h {minutes} min"
    return f"{hours // 24} d {hours % 24} h"
