"""Trainings that lead nowhere: what they look like, and what to do about them.

Each function raises InputError where it is so.
"""

from __future__ import annotations

from data.errors import InputError
from models.candidate import Candidate
from models.training.state import Progressed

STANDSTILL = 1e-6  # relative change of the validation loss below which it has not moved


def require_few_skipped(candidate: Candidate, progressed: Progressed, loss: float, norm: float) -> None:
    """Some steps may have no finite loss or gradient, but no more than the candidate allows; the last had these."""
    most = candidate.training.max_skipped_steps
    if progressed.skipped > most:
        kept = f"the checkpoint of epoch {progressed.best['epoch']} stands" if progressed.best else "nothing is kept"
        raise InputError(
            f"training of {candidate.name}",
            expected="a finite loss and gradient (training.max_skipped_steps: "
            f"at most {most} steps of an epoch without)",
            found=f"{progressed.skipped} such steps up to step {progressed.step} (epoch {progressed.epoch}), "
            f"the last with loss {loss} and gradient norm {norm}; {kept}",
            remedy="lower training.learning_rate or training.clip_norm, or lengthen training.warmup_steps",
        )


def require_progress(candidate: Candidate, progressed: Progressed) -> None:
    """An epoch has steps that count, and gradients."""
    if not (progressed.losses and progressed.moved):
        raise InputError(
            f"training of {candidate.name}",
            expected="steps with a gradient",
            found=f"none in epoch {progressed.epoch}: every gradient is zero"
            if progressed.losses
            else f"none in epoch {progressed.epoch}: no step had a finite loss",
            remedy="look at the candidate's network and loss: the loss must depend on the weights",
        )


def require_movement(candidate: Candidate, progressed: Progressed) -> None:
    """From epoch to epoch the validation loss changes."""
    losses = [row["validation_loss"] for row in progressed.curves]
    if len(losses) > 1 and max(losses) - min(losses) <= STANDSTILL * abs(losses[0]):
        raise InputError(
            f"training of {candidate.name}",
            expected="a validation loss that moves",
            found=f"{losses[-1]:.6g} after each of {len(losses)} epochs",
            remedy="raise training.learning_rate, or look at the candidate's network and loss",
        )
