"""A reporter that remembers what it was told."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from data.audio import Audio
from models.progress import Progress, RunStart


class Listener:
    """Everything a training reports, in order."""

    def __init__(self) -> None:
        self.runs: list[RunStart] = []
        self.lines: list[str] = []
        self.progresses: list[Progress] = []
        self.epochs: list[tuple[Mapping[str, Any], bytes]] = []
        self.sounds: list[tuple[int, Mapping[str, Audio]]] = []

    def start(self, run: RunStart) -> None:
        self.runs.append(run)

    def log(self, line: str) -> None:
        self.lines.append(line)

    def progress(self, progress: Progress) -> None:
        self.progresses.append(progress)

    def epoch(self, row: Mapping[str, Any], curves_png: bytes) -> None:
        self.epochs.append((row, curves_png))

    def audio(self, step: int, sounds: Mapping[str, Audio]) -> None:
        self.sounds.append((step, sounds))

    def close(self) -> None:
        pass
