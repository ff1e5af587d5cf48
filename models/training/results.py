"""The files of a training: checkpoint, curves and validation table for those who come after, the state for itself."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
from torch import Tensor, nn

from data.files import publish
from data.layout import CHECKPOINT_FILE, CURVES_PICTURE_FILE, EARLIER_STATE_FILE, STATE_FILE
from models.candidate import Candidate
from models.checkpoint import Checkpoint, current_commit, save_checkpoint
from models.contest import VALIDATION
from models.curves import CURVES
from models.report.figures import curves_figure
from models.training.state import Progressed, Saved, goes_on, load_state, save_state


@dataclass(frozen=True)
class Provenance:
    """Where training data and code came from, kept in the checkpoint as it is."""

    fingerprints: Mapping[str, str] = field(default_factory=dict)
    licences: tuple[str, ...] = ()
    git_commit: str | None = field(default_factory=current_commit)


@dataclass(frozen=True)
class TrainingResult:
    """What a training run gave: the files it wrote, the kept epoch's numbers, and the curves."""

    name: str
    checkpoint: Path
    curves: pd.DataFrame
    best_epoch: int
    best_step: int
    validation_loss: float
    validation_usdr_db: float
    parameters: int
    seconds: float


class Results:
    """The folder that a training writes into; `of` names the training, as `models.training.state.identity` does."""

    def __init__(self, folder: Path, candidate: Candidate, of: str, provenance: Provenance) -> None:
        self.folder = folder
        self._candidate = candidate
        self._of = of
        self._provenance = provenance
        self._best: Mapping[str, Tensor] = {}
        self._of_use = True  # the state that lies there, as one to fall back on

    def resume(self, network: nn.Module, log: Callable[[str], None]) -> Saved | None:
        """Where this training of `network` was stopped, if it was; what is found and of no use is told.

        Raises InputError where a state may not be read.
        """
        useless: list[str] = []
        for file in (STATE_FILE, EARLIER_STATE_FILE):
            found = load_state(self.folder / file, self._of)
            if isinstance(found, Saved) and found.progressed.finished:
                return found if (self.folder / CHECKPOINT_FILE).is_file() else None
            if isinstance(found, Saved) and not goes_on(found, network):
                found = f"{file} is damaged"
            if isinstance(found, Saved):
                if useless:
                    log(f"{useless[0]}: training goes on from the state before it, step {found.progressed.step}")
                self._best, self._of_use = found.best, not useless
                return found
            if found is not None:
                useless.append(found)
        if useless:
            log(f"{useless[0]}: training begins anew")
            self._of_use = False
        return None

    def keep(self, progressed: Progressed, weights: Mapping[str, Tensor]) -> None:
        """Make `weights` the checkpoint: those of the epoch that is the best so far."""
        assert progressed.best is not None
        self._best = {name: tensor.detach().cpu().clone() for name, tensor in weights.items()}
        self._write_best(progressed)

    def save(self, progressed: Progressed, engine: Mapping[str, Any]) -> None:
        """Save the state of a training that goes on, and keep the one before."""
        before = self.folder / EARLIER_STATE_FILE if self._of_use else None
        save_state(self.folder / STATE_FILE, self._of, Saved(progressed, engine, self._best), before=before)
        self._of_use = True

    def finish(self, progressed: Progressed) -> None:
        """Note that the training is over; what it would have gone on from is dropped.

        The best checkpoint is written once more: a run killed between writing it and saving the state may have
        left that of an epoch which then came out differently.
        """
        self._write_best(progressed)
        progressed.finished = True
        (self.folder / EARLIER_STATE_FILE).unlink(missing_ok=True)
        save_state(self.folder / STATE_FILE, self._of, Saved(progressed, {}, {}))

    def write_curves(self, progressed: Progressed) -> bytes:
        """Bring the table and the picture of the curves up to date; returns the picture."""
        frame = _curves(progressed)
        CURVES.write(self.folder, frame)
        picture = curves_figure(frame, f"Training of {self._candidate.name}")
        with publish(self.folder / CURVES_PICTURE_FILE) as partial:
            partial.write_bytes(picture)
        return picture

    def summary(self, progressed: Progressed, parameters: int) -> TrainingResult:
        """What the training gave."""
        best = progressed.best
        assert best is not None
        return TrainingResult(
            name=progressed.name,
            checkpoint=self.folder / CHECKPOINT_FILE,
            curves=_curves(progressed),
            best_epoch=best["epoch"],
            best_step=best["step"],
            validation_loss=best["validation_loss"],
            validation_usdr_db=best["validation_usdr_db"],
            parameters=parameters,
            seconds=progressed.seconds,
        )

    def _write_best(self, progressed: Progressed) -> None:
        assert progressed.best is not None
        # Times would make two equal runs differ.
        metrics = {name: value for name, value in progressed.best.items() if name != "seconds"}
        if not math.isnan(progressed.context.difference_db):
            metrics["context_difference_db"] = progressed.context.difference_db
        provenance = self._provenance
        save_checkpoint(
            self.folder / CHECKPOINT_FILE,
            Checkpoint(
                candidate=self._candidate,
                weights=self._best,
                metrics=metrics,
                context_seconds=progressed.context.seconds,
                fingerprints=provenance.fingerprints,
                licences=provenance.licences,
                git_commit=provenance.git_commit,
            ),
        )
        VALIDATION.write(self.folder, pd.DataFrame(progressed.validation))


def _curves(progressed: Progressed) -> pd.DataFrame:
    best = progressed.best
    return pd.DataFrame(progressed.curves).assign(kept=lambda rows: rows["epoch"] == (best["epoch"] if best else 0))
