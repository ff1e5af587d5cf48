"""What a training needs to go on where it was stopped: one file, written whole, replaced while training goes on.

Everything random follows from the seed and the number of the step, so the state is weights, moments and numbers.
"""

from __future__ import annotations

import hashlib
import io
import json
import pickle
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import torch
from torch import Tensor

from data.files import publish
from models.candidate import Candidate
from models.context import UNMEASURED, Context

# Part of every state: one that was written by another version of the training code is not gone on with.
VERSION = "2"


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
        "candidate": candidate.model_dump(mode="json", exclude={"description"}),
        "pairs": json.loads(heard.to_json(orient="values")),
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def save_state(path: Path, of: str, saved: Saved) -> None:
    """Write the state of the training that `identity` calls `of`, whole or not at all."""
    buffer = io.BytesIO()
    # Plain values only: loading never executes code.
    progressed = asdict(saved.progressed) | {"context": list(saved.progressed.context)}
    content = {"of": of, "progressed": progressed, "engine": saved.engine, "best": saved.best}
    torch.save(content, buffer)
    with publish(path) as partial:
        partial.write_bytes(buffer.getbuffer())


def load_state(path: Path, of: str) -> Saved | str | None:
    """The state of the training called `of`; None where there is no file, and the reason where it is of no use."""
    if not path.is_file():
        return None
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        context = Context(*content["progressed"].pop("context"))
        saved = Saved(Progressed(**content["progressed"], context=context), content["engine"], content["best"])
    except (RuntimeError, pickle.UnpicklingError, EOFError, ValueError, KeyError, TypeError, OSError):
        return f"{path.name} cannot be read"
    return saved if content["of"] == of else f"{path.name} is of a training with other settings or data"
