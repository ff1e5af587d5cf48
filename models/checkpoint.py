"""Checkpoints: a trained separator in one file, with everything needed to use it and to trace it.

Only plain values and tensors are stored, so that loading never executes code (`weights_only=True`).
"""

from __future__ import annotations

import io
import pickle
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from data.audio import SAMPLE_RATE
from data.errors import InputError
from data.files import publish
from models.candidate import Candidate, parse_candidate
from models.device import choose_device
from models.networks import NETWORKS, build_network
from models.separate import CONTEXT_SECONDS, Separator

FORMAT = "deep-audio-isolation checkpoint 1"

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
    """Write a checkpoint, whole or not at all; equal checkpoints give equal bytes."""
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
    """Read a checkpoint. Raises InputError for a missing file, another kind of file, or an unknown network."""
    path = Path(path)
    if not path.is_file():
        raise _unusable(
            path, "no such file" if not path.exists() else "a folder", "check the path, or train a separator"
        )
    try:
        content: Any = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, pickle.UnpicklingError, EOFError, ValueError, KeyError, OSError) as error:
        raise _unusable(
            path, f"{path.stat().st_size} bytes that torch cannot load", "train the separator again"
        ) from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        found = content.get("format", "no format") if isinstance(content, dict) else type(content).__name__
        raise _unusable(path, f"another kind of file ({found})", "train the separator again with this version")
    network = content["config"].get("network", {}).get("name")
    if network not in NETWORKS:
        raise InputError(
            f"checkpoint {path.name}",
            file=path,
            expected=f"one of the networks {', '.join(sorted(NETWORKS))}",
            found=f"network {network}",
            remedy="use the version of the project that trained it",
        )
    return Checkpoint(
        candidate=parse_candidate(content["name"], _up_to_date(content["config"]), file=path),
        weights=content["weights"],
        metrics=content["metrics"],
        fingerprints=content["fingerprints"],
        licences=tuple(content["licences"]),
        git_commit=content["git_commit"],
        sample_rate=content["sample_rate"],
        # Both came later; weights from before have heard every level, and their context was never measured.
        normalises=content.get("normalises", False),
        context_seconds=content.get("context_seconds", CONTEXT_SECONDS),
    )


def load_separator(path: Path | str, device: str = "cpu") -> Separator:
    """The separator in a checkpoint, ready on `device`. Raises InputError as `load_checkpoint` does."""
    checkpoint = load_checkpoint(path)
    network = build_network(checkpoint.candidate, normalises=checkpoint.normalises)
    try:
        network.load_state_dict(dict(checkpoint.weights))
    except RuntimeError as error:
        raise _unusable(
            Path(path),
            "weights of other shapes than its settings give",
            "use the version of the project that trained it",
        ) from error
    return Separator(
        network,
        checkpoint.candidate,
        choose_device(device),
        checkpoint.sample_rate,
        checkpoint.context_seconds,
    )


def current_commit() -> str | None:
    """The git commit of this code, or None where it is not a checkout."""
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (FileNotFoundError, subprocess.CalledProcessError):
        return None


def _up_to_date(config: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a checkpoint as this version writes them."""
    training = {**_LATER_SETTINGS, **config["training"]}
    if isinstance(training["schedule"], str):
        training["schedule"] = {"name": training["schedule"]}
    return {**config, "training": training}


def _interned(content: Mapping[str, Any]) -> dict[str, Any]:
    """The same content with one object for each name: a pickle tells whether equal names are one object or two."""
    return {sys.intern(name): value for name, value in content.items()}


def _unusable(path: Path, found: str, remedy: str) -> InputError:
    return InputError(
        f"checkpoint {path.name}", file=path, expected="a checkpoint of this project", found=found, remedy=remedy
    )
