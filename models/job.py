"""Work for a process of its own, as a value: the class that reads a command line also writes it.

What is done stands in the module that the process is started with, `models.train`, `models.score` or
`models.validate`; how it is started, in `models.launch` and `assets.launcher`. Nothing here imports torch.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from dataclasses import MISSING, Field, dataclass, fields
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, ClassVar, Literal, Self, get_args, get_origin, get_type_hints

from models.launch import LESS_MEMORY, LESS_MEMORY_MEASURING


@dataclass(frozen=True)
class Job:
    """What a command of this project is to do: fields with a type, what `--help` says, and the word for a value.

    The first stands on the command line alone, the others after their names. `less_memory` is what to do where the
    command finds too little; `shared` whether several processes can do it together.
    """

    module: ClassVar[str]
    description: ClassVar[str]
    less_memory: ClassVar[str]
    shared: ClassVar[bool] = False

    @classmethod
    def parse(cls, arguments: Iterable[str] | None = None) -> Self:
        """The job of this process's command line, or of `arguments`; what is wrong there ends the process."""
        parser = argparse.ArgumentParser(prog=f"python -m {cls.module}", description=cls.description)
        hints, (first, *others) = get_type_hints(cls, include_extras=True), fields(cls)
        parser.add_argument(first.name, **_told(hints[first.name]))
        for each in others:
            required = each.default is MISSING
            default = None if required else each.default
            parser.add_argument(_flag(each), required=required, default=default, **_told(hints[each.name]))
        return cls(**vars(parser.parse_args(None if arguments is None else list(arguments))))

    @property
    def command(self) -> list[str]:
        """The module and the arguments that `parse` reads this job from."""
        first, *others = fields(self)
        said = [each for each in others if getattr(self, each.name) != each.default]
        return [self.module, str(getattr(self, first.name)), *(f"{_flag(e)}={getattr(self, e.name)}" for e in said)]


def _flag(argument: Field[Any]) -> str:
    return f"--{argument.name.replace('_', '-')}"


def _told(annotated: Any) -> dict[str, Any]:
    """What argparse has to know of a field."""
    kind, help, *word = get_args(annotated)
    kind = next((each for each in get_args(kind) if NoneType in get_args(kind)), kind)
    if get_origin(kind) is Literal:
        return {"help": help, "choices": get_args(kind)}
    return {"help": help, "type": kind, "metavar": word[0] if word else None}


@dataclass(frozen=True)
class TrainJob(Job):
    """A candidate to train on the pairs in a file; what is not said is where the settings have it."""

    module = "models.train"
    description = "Train one candidate."
    less_memory = LESS_MEMORY
    shared = True

    config: Annotated[str, "a candidate's YAML file, or its name", "CONFIG"]
    pairs: Annotated[Path | None, "the training pairs", "PARQUET"] = None
    audio_root: Annotated[Path | None, "the folder that paths in the pairs start from", "DIR"] = None
    output: Annotated[Path | None, "where checkpoint and curves are written", "DIR"] = None
    data: Annotated[
        Literal["auto", "stream", "resident"] | None, "where chunks come from (default: ISOLATION_TRAINING_DATA)"
    ] = None
    save_every: Annotated[
        float | None,
        "how often the state is saved that a stopped training goes on from (default: every minute)",
        "SECONDS",
    ] = None
    device: Annotated[str | None, "auto, cpu, cuda, cuda:1, mps (default: the setting ISOLATION_DEVICE)"] = None


@dataclass(frozen=True)
class MeasureJob(Job):
    """A checkpoint to measure on tracks whose paths start from `audio_root`, on a device, into a folder."""

    less_memory = LESS_MEMORY_MEASURING

    checkpoint: Annotated[Path, "the separator", "CHECKPOINT"]
    tracks: Annotated[Path, "the tracks to measure on", "PARQUET"]
    audio_root: Annotated[Path, "where their paths start from", "DIR"]
    output: Annotated[Path, "where the results are written", "DIR"]
    device: Annotated[str, "auto, cpu, cuda, cuda:1, mps"] = "auto"


@dataclass(frozen=True)
class ScoreJob(MeasureJob):
    """A checkpoint to score on held-out tracks."""

    module = "models.score"
    description = "Score a checkpoint on held-out tracks."


@dataclass(frozen=True)
class ValidateJob(MeasureJob):
    """A checkpoint to validate on training pairs."""

    module = "models.validate"
    description = "Validate a checkpoint on training pairs."
