"""What a training needs to go on where it was stopped: one file, written whole, replaced while training goes on.

The one before is kept beside it: where a disk has damaged the newest, a training goes on from there, to the same bytes.

Everything random follows from the seed and the number of the step, so the state is weights, moments and numbers.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from pydantic import TypeAdapter, ValidationError
from torch import Tensor, nn

from data.errors import os_error
from data.files import link, obstacle, publish
from models.candidate import Candidate
from models.checkpoint import first_not_finite, fits
from models.context import UNMEASURED, Context
from models.torch_files import Unreadable, read_torch_file, require_plain

# Part of every state: one that was written by another version of the training code is not gone on with.
VERSION = "2"
LARGEST_VALUES = 64_000_000  # bytes beside the tensors: the losses of an epoch's steps, the curves of all epochs


@dataclass
class Progressed:
    """How far a training is, in numbers.

    `learning_rate` was that of the last step. `losses` are those of the present epoch's steps that counted, `skipped`
    how many of its steps did not, and `moved` whether any of them had a gradient. `curves` holds the rows of the epochs
    that are over, `best` the row of the one whose weights are kept, and `validation` its tracks, measured with the
    `context` that these weights need. `seconds` are of training, all lives of the process together.
    """

    name: str
    step: int = 0
    learning_rate: float = 0.0
    epoch: int = 1
    losses: list[float] = field(default_factory=list)
    moved: bool = False
    skipped: int = 0
    seconds: float = 0.0
    curves: list[dict[str, Any]] = field(default_factory=list)
    best: dict[str, Any] | None = None
    validation: list[dict[str, Any]] = field(default_factory=list)
    context: Context = UNMEASURED
    finished: bool = False

    @property
    def between_epochs(self) -> bool:
        """Whether every step taken belongs to an epoch that is closed; a training may go on from anywhere."""
        return self.step == (self.curves[-1]["step"] if self.curves else 0)

    def close_epoch(self, validation_loss: float, validation_usdr_db: float) -> dict[str, Any]:
        """Note that the present epoch is over, and begin the next; returns its row of the curves."""
        row = {
            "epoch": self.epoch,
            "step": self.step,
            "train_loss": float(np.mean(self.losses)),
            "validation_loss": validation_loss,
            "validation_usdr_db": validation_usdr_db,
            "learning_rate": self.learning_rate,
            "skipped": self.skipped,
            "seconds": self.seconds,
        }
        self.curves.append(row)
        self.epoch, self.losses, self.skipped, self.moved = self.epoch + 1, [], 0, False
        return row


class Saved(NamedTuple):
    """A state: the numbers, what `Engine.state` gave, and the weights of the best epoch so far."""

    progressed: Progressed
    engine: Mapping[str, Any]
    best: Mapping[str, Tensor]


def identity(candidate: Candidate, pairs: pd.DataFrame) -> str:
    """What a training is of: its settings, and the audio it hears. Prose and folders are no part of it."""
    heard = pairs[["track_id", "split", "input", "frames", "mixture_sha256", "vocals_sha256"]]
    content = {
        "version": VERSION,
        "candidate": candidate.recorded,
        "pairs": json.loads(heard.to_json(orient="values")),
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def save_state(path: Path, of: str, saved: Saved, *, before: Path | None = None) -> None:
    """Write the state of the training that `identity` calls `of`, whole or not at all.

    The one that it replaces is kept as `before`, if that is given.
    """
    buffer = io.BytesIO()
    # Plain values only: loading never executes code.
    progressed = asdict(saved.progressed) | {"context": list(saved.progressed.context)}
    content = {"of": of, "progressed": progressed, "engine": saved.engine, "best": saved.best}
    torch.save(content, buffer)
    with publish(path) as partial:
        partial.write_bytes(buffer.getbuffer())
        if before is not None and path.is_file():
            with publish(before) as kept:  # a second name: at no moment is there no state under the first
                link(path, kept)


def load_state(path: Path, of: str) -> Saved | str | None:
    """The state of the training called `of`; None where there is no file, and the reason where it is of no use.

    Raises InputError where the operating system refuses to read it: it may be whole, and hours of training.
    """
    try:
        found = obstacle(path)
        if found is not None:
            return None if found == "no such file" else f"{path.name} is {found}"
        content = read_torch_file(path, largest_pickle=LARGEST_VALUES)
        require_plain(content, depth=8, values=20_000_000)
        progressed = _PROGRESSED.validate_python(content["progressed"])
        saved, found_of = Saved(progressed, content["engine"], content["best"]), content["of"]
    except OSError as error:
        raise os_error(error, "training state", file=path) from error
    except (Unreadable, ValidationError, KeyError, TypeError):
        return f"{path.name} is damaged"
    return saved if found_of == of else f"{path.name} is of a training with other settings or data"


def goes_on(saved: Saved, network: nn.Module) -> bool:
    """Whether a training of `network` can go on from a state: names, shapes and types agree, weights are finite."""
    try:
        engine = saved.engine
        weights = [engine["network"], engine["averaged"], *([saved.best] if saved.best else [])]
        if not all(fits(network, each) and first_not_finite(each) is None for each in weights):
            return False
        shapes = [parameter.shape for parameter in network.parameters()]
        moments = engine["optimiser"]["state"]
        return all(moments[at][name].shape == shapes[at] for at in moments for name in ("exp_avg", "exp_avg_sq"))
    except (KeyError, IndexError, TypeError, AttributeError):
        return False


_PROGRESSED = TypeAdapter(Progressed)
