"""What a candidate is: the settings of one separator, from STFT to training, read from one YAML file.

Only settings and their validation belong here; those of networks and losses stand beside what they build, in
`models.networks` and `models.losses`. What the others mean in tensors stands in `models.stft`, `models.noise`,
`models.augment` and `models.training`. This module does not import torch, so that the names and settings of candidates
can be listed cheaply.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Self, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, Field, ValidationError, model_validator

from data.errors import InputError
from data.files import publish
from data.yaml_files import read_yaml
from models.former_names import CANDIDATES as FORMER_NAMES
from models.former_names import as_recorded, as_today
from models.losses import LossSettings
from models.networks import NetworkSettings
from models.section import Batch, Count, Decibels, NotNegative, Positive, Section, Share, StftSettings

CANDIDATES = Path(__file__).with_name("candidates")

NAME = r"^[a-z0-9][a-z0-9_-]{0,99}$"  # of a candidate: its file, its partition key, a part of folder names
_NAMING = "a file name of lower-case letters, digits, - and _, for it names the candidate"
_CHECK = "check the path, and what stands in the file"

LIKE = "like"  # the key of a file that says only what is different from another candidate


class NoiseSettings(Section):
    """White Gaussian noise on the fly: `profiles` (N) noises for each of the M `snrs_db`."""

    profiles: Annotated[int, Field(ge=0, le=1000)]
    snrs_db: Annotated[list[Decibels], Field(max_length=1000)]


class AugmentationSettings(Section):
    """Changes drawn anew for every chunk; `remix` is explained in `data.chunks`, the others in `models.augment`."""

    remix: Share
    gain_db: list[Decibels] = Field(min_length=2, max_length=2)
    swap_channels: Share
    flip_sign: Share

    @model_validator(mode="after")
    def _gains_are_ordered(self) -> Self:
        if self.gain_db[0] > self.gain_db[1]:
            raise ValueError(f"gain_db must be [lowest, highest], found {self.gain_db}")
        return self


class ConstantSettings(Section):
    """The same learning rate throughout."""

    name: Literal["constant"]


class CosineSettings(Section):
    """Half a cosine from the full learning rate down to nothing at the end of the budget."""

    name: Literal["cosine"]


class PlateauSettings(Section):
    """The learning rate times `factor` whenever `epochs` epochs in a row were no better on the validation tracks."""

    name: Literal["plateau"]
    epochs: Count
    factor: Annotated[float, Field(gt=0, lt=1)]


ScheduleSettings = Annotated[ConstantSettings | CosineSettings | PlateauSettings, Field(discriminator="name")]


class TrainingSettings(Section):
    """How long, how fast and on what chunks a candidate trains.

    `epochs` times `steps_per_epoch` is the budget in steps, `minutes` one in time: what is spent first ends the
    training. `keep_best`: the measure on the validation tracks by which an epoch is kept, and by which the plateau and
    early stopping go. `max_skipped_steps`: how many steps of one epoch may have no finite loss or gradient and are
    skipped. `precision`: of the network's own arithmetic; `auto` is what the device is good at.
    """

    seed: Annotated[int, Field(ge=0, lt=2**63)]
    epochs: Count
    steps_per_epoch: Count
    minutes: Positive | None
    batch_size: Batch
    chunk_seconds: Annotated[float, Field(gt=0, le=600)]
    learning_rate: Annotated[float, Field(gt=0, le=1000)]
    warmup_steps: Annotated[int, Field(ge=0, le=100_000_000)]
    schedule: ScheduleSettings
    weight_decay: NotNegative
    clip_norm: Positive
    max_skipped_steps: Annotated[int, Field(ge=0, le=100_000_000)]
    ema_decay: Annotated[float, Field(ge=0, lt=1)]
    keep_best: Literal["usdr", "loss"]
    early_stopping_epochs: Count | None
    precision: Literal["auto", "float32", "bfloat16", "float16"]
    compile: bool
    loader_threads: Annotated[int, Field(gt=0, le=1024)]
    augmentation: AugmentationSettings

    @property
    def steps(self) -> int:
        """The budget in steps."""
        return self.epochs * self.steps_per_epoch


class Candidate(Section):
    """All settings of one separator. `name` is the name of its file and its partition key."""

    name: Annotated[str, Field(max_length=100)]
    description: Annotated[str, Field(max_length=10_000)]
    stft: StftSettings
    network: NetworkSettings
    loss: LossSettings
    noise: NoiseSettings
    training: TrainingSettings

    @property
    def recorded(self) -> dict[str, Any]:
        """The settings that a training goes by, as records have them; described otherwise, it is the same candidate."""
        return as_recorded(self.model_dump(mode="json", exclude={"description"}))


def candidate_names(folder: Path = CANDIDATES) -> list[str]:
    """The names of the candidates in `folder`, sorted: its YAML files whose names can name one.

    Others are passed over; asked for by name, they are refused with the reason.
    """
    return sorted(path.stem for path in folder.glob("*.yaml") if re.fullmatch(NAME, path.stem) and path.is_file())


def candidate_path(name: str, folder: Path = CANDIDATES) -> Path:
    """The file of the candidate called `name`. Raises InputError that lists the candidates there are."""
    names = candidate_names(folder)
    if name not in names:
        raise InputError(
            f"candidate {name}",
            file=folder,
            expected=f"one of {', '.join(names) or 'no candidates: the folder has no *.yaml'}",
            found=name,
            remedy=f"it is called {FORMER_NAMES[name]} now"
            if FORMER_NAMES.get(name) in names
            else f"choose one of these, or write {name}.yaml in that folder"
            if re.fullmatch(NAME, name)
            else f"choose one of these; {_NAMING}",
        )
    return folder / f"{name}.yaml"


def load_candidate(path: Path | str, folder: Path = CANDIDATES) -> Candidate:
    """Read and validate a candidate: a YAML file, or the name of one in `folder`.

    A file that says `like: toy` has the settings of toy where it says nothing else. Raises InputError for an unknown
    candidate, a file that cannot be read or is not YAML, and, all at once, for every bad key in it.
    """
    path = Path(path)
    if path.suffix.lower() not in (".yaml", ".yml"):
        path = candidate_path(str(path), folder)
    what = f"candidate {path.stem}"
    expected = f"a YAML file of settings, or the name of a candidate: {', '.join(candidate_names(folder))}"
    content = read_yaml(path, what, expected=expected, remedy=_CHECK)
    if not re.fullmatch(NAME, path.stem):
        raise InputError(what, file=path, expected=_NAMING, found=path.name, remedy="rename the file")
    if isinstance(content, Mapping) and LIKE in content:
        changes = {key: content[key] for key in content if key != LIKE}
        content = merged(as_today(_other(content[LIKE], path)), as_today(changes))
    return parse_candidate(path.stem, content, file=path)


def write_candidate(folder: Path, candidate: Candidate) -> Path:
    """Write all settings of a candidate into a file in `folder`, from which `load_candidate` reads the same one."""
    path = folder / f"{candidate.name}.yaml"
    with publish(path) as partial:
        partial.write_text(yaml.safe_dump(candidate.model_dump(mode="json", exclude={"name"}), sort_keys=False))
    return path


def merged(settings: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """`settings` with `changes` in their place, section by section; lists are replaced.

    A section that is given another `name` is replaced as a whole: the settings of one network say nothing of another's.
    """
    result = dict(settings)
    for key, value in changes.items():
        before = settings.get(key)
        if isinstance(before, Mapping) and isinstance(value, Mapping):
            name = before.get("name")
            value = merged(before, value) if value.get("name", name) == name else value
        result[key] = value
    return result


def _other(name: Any, path: Path) -> Mapping[str, Any]:
    """What stands in the file of the candidate that the one in `path` is to be like: beside it, or one that ships.

    One level only: what a candidate is stands in two files at most. Raises InputError for any other name.
    """
    names = dict.fromkeys(candidate_names(), CANDIDATES) | dict.fromkeys(candidate_names(path.parent), path.parent)
    names.pop(path.stem, None)
    found = _shown(name)
    if isinstance(name, str) and name in names:
        file = candidate_path(name, names[name])
        content = read_yaml(file, f"candidate {name}", expected="a YAML file of settings", remedy=_CHECK)
        if isinstance(content, Mapping) and LIKE not in content:
            return content
        itself_like = isinstance(content, Mapping)
        found = f"{name}, which {f'is itself like {_shown(content[LIKE])}' if itself_like else 'holds no settings'}"
    elif name == path.stem:
        found = "itself"
    raise InputError(
        f"candidate {path.stem}",
        file=path,
        expected=f"{LIKE}: the name of another candidate, in whose file all settings stand: {', '.join(sorted(names))}",
        found=found,
        remedy=f"name one of these, or remove {LIKE} and write all settings out",
    )


def parse_candidate(name: str, content: Any, file: Path | None = None) -> Candidate:
    """Validate the settings `content` of the candidate called `name`; `file` is where they came from.

    Raises InputError that names every bad key with what was expected and what was found.
    """
    if not isinstance(content, Mapping):
        raise InputError(
            f"candidate {name}",
            file=file,
            expected=f"settings: {', '.join(_keys(Candidate))}",
            found="an empty file" if content is None else f"a {type(content).__name__}",
            remedy="start from a copy of another candidate",
        )
    content = as_today(content)
    problems: list[tuple[str, str, str]] = []
    try:
        values = json.dumps({**content, "name": name}, default=str)
    except (ValueError, TypeError, RecursionError) as error:
        raise InputError(
            f"candidate {name}",
            file=file,
            expected="settings that are text, numbers and lists of them",
            found=str(error),
            remedy="start from a copy of another candidate",
        ) from error
    if "name" in content:
        problems.append(("name", "no such key: the file name is the name", _shown(content["name"])))
    try:
        candidate = Candidate.model_validate_json(values)
    except ValidationError as error:
        problems += [_problem(fault, content) for fault in error.errors(include_url=False)]
    if problems:
        raise InputError(
            f"candidate {name}: {len(problems)} bad {'key' if len(problems) == 1 else 'keys'}",
            file=file,
            expected="; ".join(f"{key}: {expected}" for key, expected, _ in problems),
            found="; ".join(f"{key}: {found}" for key, _, found in problems),
            remedy="correct these keys",
        )
    return candidate


def _problem(fault: Any, content: Mapping[str, Any]) -> tuple[str, str, str]:
    """One fault of pydantic's as (dotted key, expected, found)."""
    place, holder, parts = list(fault["loc"]), content, []
    for part in place[:-1]:
        # The chosen variant of a section (`loss.l1.spectrum`) is in pydantic's path but not in the file.
        if isinstance(holder, Mapping) and part not in holder:
            continue
        holder = holder[part]
        parts.append(str(part))
    key = ".".join([*parts, str(place[-1])]) if place else "the candidate"
    if fault["type"] == "missing":
        return key, "a value", "no such key in the file"
    if fault["type"] == "extra_forbidden":
        known = _known_keys(parts, content)
        close = difflib.get_close_matches(str(place[-1]), known, n=1)
        hint = f"did you mean {close[0]}?" if close else f"known are {', '.join(known)}"
        return key, f"no such key; {hint}", _shown(fault["input"])
    message = fault["msg"].removeprefix("Value error, ")
    return key, message[0].lower() + message[1:], _shown(fault["input"])


def _known_keys(parts: list[str], content: Any) -> list[str]:
    """The keys of the section at `parts`; of sections with variants, those of the one that `content` names."""
    kind: Any = Candidate
    for part in parts:
        if get_origin(kind) is list:
            kind, content = get_args(kind)[0], content[int(part)]
        else:
            kind, content = kind.model_fields[part].annotation, content[part]
        if get_origin(kind) in (Union, UnionType):
            kind = next(v for v in get_args(kind) if content["name"] in get_args(v.model_fields["name"].annotation))
    return _keys(kind)


def _keys(section: type[BaseModel]) -> list[str]:
    return [key for key in section.model_fields if not (section is Candidate and key == "name")]


def _shown(value: Any) -> str:
    try:
        text = json.dumps(value, default=str)
    except (ValueError, TypeError):
        return f"a {type(value).__name__}"
    return text if len(text) <= 80 else text[:77] + "..."
