"""Checkpoints: a trained separator in one file, with everything needed to use it and to trace it.

Only plain values and tensors are stored, so that loading never executes code. Checkpoints come from strangers too:
everything in one is checked, and its network's sizes are compared with its weights, before a network is built. How the
file itself is read stands in `models.torch_files`.
"""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from data.audio import SAMPLE_RATE
from data.errors import InputError, os_error
from data.files import obstacle, publish
from models.candidate import NAME, Candidate, parse_candidate
from models.device import choose_device
from models.former_names import as_today
from models.networks import NETWORKS
from models.separate import CONTEXT_SECONDS, Separator
from models.torch_files import Unreadable, read_torch_file, require_plain

FORMAT = "deep-audio-isolation checkpoint 1"
LONGEST_CONTEXT = 60.0  # seconds; none that was measured is longer than 10 (models.context)

# Training settings that came later, with what held before: a separator outlives the version that trained it.
_LATER_SETTINGS = {
    "minutes": None,
    "max_skipped_steps": 0,
    "keep_best": "loss",
    "early_stopping_epochs": None,
    "precision": "float32",
    "compile": False,
}


@dataclass(frozen=True)
class Checkpoint:
    """A trained separator: settings, weights, and where both came from.

    `metrics` are those of the validation set at the epoch that was kept; `fingerprints` name the data it was trained
    on; `licences` are those of that data and bind the weights too. `normalises` tells whether the weights were trained
    on music without its level, `context_seconds` how much music they need around a chunk.
    """

    candidate: Candidate
    weights: Mapping[str, Tensor]
    metrics: Mapping[str, float] = field(default_factory=dict)
    fingerprints: Mapping[str, str] = field(default_factory=dict)
    licences: tuple[str, ...] = ()
    git_commit: str | None = None
    sample_rate: int = SAMPLE_RATE
    normalises: bool = True
    context_seconds: float = CONTEXT_SECONDS


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint, whole or not at all; equal checkpoints give equal bytes.

    Raises InputError for weights that are not finite: nothing could be separated with them.
    """
    infinite = first_not_finite(checkpoint.weights)
    if infinite is not None:
        raise InputError(
            f"training of {checkpoint.candidate.name}",
            file=path,
            expected="finite weights",
            found=f"numbers in {infinite} that are not finite",
            remedy="lower training.learning_rate or training.clip_norm, or set training.precision to float32",
        )
    content = {
        "format": FORMAT,
        "name": checkpoint.candidate.name,
        "config": checkpoint.candidate.model_dump(mode="json", exclude={"name"}),
        "sample_rate": checkpoint.sample_rate,
        "normalises": checkpoint.normalises,
        "context_seconds": checkpoint.context_seconds,
        "metrics": _interned(checkpoint.metrics),
        "fingerprints": _interned(checkpoint.fingerprints),
        "licences": list(checkpoint.licences),
        "git_commit": checkpoint.git_commit,
        "weights": _interned({n: tensor.detach().cpu().contiguous() for n, tensor in checkpoint.weights.items()}),
    }
    # torch.save writes the name of its target into the file, and a temporary name is different every time.
    buffer = io.BytesIO()
    torch.save(content, buffer)
    with publish(path) as partial:
        partial.write_bytes(buffer.getbuffer())


def load_checkpoint(path: Path | str) -> Checkpoint:
    """Read a checkpoint. Raises InputError for a missing file, one that cannot be read, another kind of file, a value
    of another kind than `save_checkpoint` writes, weights that are not finite, and an unknown network.

    Memory is bounded by the size of the file, whatever is in it.
    """
    path = Path(path)
    content = _read(path)
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        found = _shown(content.get("format", "no format")) if isinstance(content, dict) else type(content).__name__
        raise _unusable(path, f"another kind of file ({found})", "train the separator again with this version")
    try:
        stored = _Stored.model_validate({name: value for name, value in content.items() if name != "format"})
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, f['loc']))}: {f['msg']}" for f in error.errors(include_url=False)[:5])
        raise _unusable(path, f"a file with other content ({faults[:300]})", _ANOTHER) from error
    if stored.sample_rate != SAMPLE_RATE:
        found = f"{stored.sample_rate} Hz"
        raise _unusable(path, found, "train a separator on audio of this rate", f"a separator for {SAMPLE_RATE} Hz")
    config = as_today(_up_to_date(content["config"]))
    network = config["network"].get("name")
    if not isinstance(network, str) or network not in NETWORKS:
        raise InputError(
            f"checkpoint {path.name}",
            file=path,
            expected=f"one of the networks {', '.join(sorted(NETWORKS))}",
            found=f"network {_shown(network)}",
            remedy="use the version of the project that trained it",
        )
    infinite = first_not_finite(stored.weights)
    if infinite is not None:
        raise _unusable(
            path,
            f"numbers in {infinite} that are not finite: nothing can be separated with them",
            "train the separator again, with a lower training.learning_rate or training.precision: float32",
            "finite weights",
        )
    return Checkpoint(
        candidate=parse_candidate(stored.name, config, file=path),
        weights=stored.weights,
        metrics=stored.metrics,
        fingerprints=stored.fingerprints,
        licences=tuple(stored.licences),
        git_commit=stored.git_commit,
        sample_rate=stored.sample_rate,
        normalises=stored.normalises,
        context_seconds=stored.context_seconds,
    )


def load_separator(path: Path | str, device: str = "cpu") -> Separator:
    """The separator in a checkpoint, ready on `device`. Raises InputError as `load_checkpoint` does, and for weights
    that are not those of its network, before that is built."""
    path = Path(path)
    checkpoint = load_checkpoint(path)
    _require_weights_of_network(path, checkpoint)
    network = checkpoint.candidate.network.build(checkpoint.candidate.stft)
    network.normalises = checkpoint.normalises
    network.load_state_dict(dict(checkpoint.weights))
    return Separator(
        network,
        checkpoint.candidate,
        choose_device(device),
        checkpoint.sample_rate,
        checkpoint.context_seconds,
    )


def first_not_finite(weights: Mapping[str, Tensor]) -> str | None:
    """The name of the first tensor with a number that is not finite; None where all are."""
    return next((name for name, tensor in weights.items() if not bool(tensor.isfinite().all())), None)


def fits(network: nn.Module, weights: Mapping[str, Tensor]) -> bool:
    """Whether these are weights of that network, by names, shapes and types."""
    wanted = network.state_dict()
    return weights.keys() == wanted.keys() and all(
        (tensor.shape, tensor.dtype) == (wanted[name].shape, wanted[name].dtype) for name, tensor in weights.items()
    )


def current_commit() -> str | None:
    """The git commit of this code, or None where it is not a checkout."""
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (FileNotFoundError, subprocess.CalledProcessError):
        return None


class _Config(BaseModel):
    """Settings as far as they are looked at before `parse_candidate` sees them."""

    model_config = ConfigDict(strict=True, extra="allow")

    network: dict[str, Any]
    training: dict[str, Any]


Text = Annotated[str, Field(max_length=1000)]


class _Stored(BaseModel):
    """What a checkpoint's file holds beside its format."""

    model_config = ConfigDict(strict=True, arbitrary_types_allowed=True)

    name: Annotated[str, Field(pattern=NAME, max_length=100)]
    config: _Config
    sample_rate: int
    # Both came later; weights from before have heard every level, and their context was never measured.
    normalises: bool = False
    context_seconds: Annotated[float, Field(ge=0, le=LONGEST_CONTEXT)] = CONTEXT_SECONDS
    metrics: dict[Text, Annotated[int, Field(ge=-(2**63), lt=2**63)] | float]
    fingerprints: dict[Text, Text]
    licences: list[Text]
    git_commit: Text | None
    weights: Annotated[dict[Text, Tensor], Field(min_length=1)]


_ANOTHER = "train the separator again, or get the file again from where it came"


def _read(path: Path) -> Any:
    try:
        found = obstacle(path)
        if found is not None:
            raise _unusable(path, found, "check the path, or train a separator")
        content = read_torch_file(path)
        require_plain(content)
    except OSError as error:
        raise os_error(error, f"checkpoint {path.name}", file=path) from error
    except Unreadable as error:
        raise _unusable(path, f"{path.stat().st_size} bytes: {error}", _ANOTHER) from error
    return content


def _require_weights_of_network(path: Path, checkpoint: Checkpoint) -> None:
    """Compare the weights with the sizes of the network that they are for, which costs neither memory nor time.

    The network is laid out without storage, and no further than the file has weights for.
    """
    weights = checkpoint.weights
    try:
        with torch.device("meta"), _no_larger_than(weights):
            network = checkpoint.candidate.network.build(checkpoint.candidate.stft)
            same = fits(network, weights)
    except (_TooLarge, RuntimeError, ValueError, OverflowError):
        same = False
    # Many names for one storage would let a small file ask for much; layers that share some weights have two or three.
    storages = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in weights.values()}
    if not same or sum(tensor.nbytes for tensor in weights.values()) > 4 * sum(storages.values()):
        raise _unusable(
            path, "weights of other shapes than its settings give", "use the version of the project that trained it"
        )


class _TooLarge(Exception):
    """A network has more weights than there are."""


@contextmanager
def _no_larger_than(weights: Mapping[str, Tensor]) -> Iterator[None]:
    """Inside, a network that grows beyond so many weights ends with _TooLarge."""
    tensors, elements = len(weights), sum(tensor.numel() for tensor in weights.values())

    def count(_module: nn.Module, _name: str, parameter: nn.Parameter | None) -> None:
        nonlocal tensors, elements
        tensors, elements = tensors - 1, elements - (0 if parameter is None else parameter.numel())
        if tensors < 0 or elements < 0:
            raise _TooLarge

    hook = register_module_parameter_registration_hook(count)
    try:
        yield
    finally:
        hook.remove()


def _up_to_date(config: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a checkpoint as this version writes them."""
    training = {**_LATER_SETTINGS, **config["training"]}
    if isinstance(training.get("schedule"), str):
        training["schedule"] = {"name": training["schedule"]}
    return {**config, "training": training}


def _interned(content: Mapping[str, Any]) -> dict[str, Any]:
    """The same content with one object for each name: a pickle tells whether equal names are one object or two."""
    return {sys.intern(name): value for name, value in content.items()}


def _shown(value: Any) -> str:
    """A value that stands where another one belongs; its first characters only."""
    return value[:80] if isinstance(value, str) else f"a {type(value).__name__}"


def _unusable(path: Path, found: str, remedy: str, expected: str = "a checkpoint of this project") -> InputError:
    return InputError(f"checkpoint {path.name}", file=path, expected=expected, found=found, remedy=remedy)
