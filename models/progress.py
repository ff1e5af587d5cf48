"""Progress protocol (temporary)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from models.candidate import Candidate


def run_name(candidate: str, now: datetime) -> str:
    return f"{candidate}-{now:%Y-%m-%d-%H%M}"


@dataclass(frozen=True)
class RunStart:
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
    def start(self, run: RunStart) -> None: ...
    def log(self, line: str) -> None: ...
    def progress(self, progress: Progress) -> None: ...
    def epoch(self, row: Mapping[str, Any], curves_png: bytes) -> None: ...
    def audio(self, step: int, sounds: Mapping[str, np.ndarray]) -> None: ...
    def close(self) -> None: ...
