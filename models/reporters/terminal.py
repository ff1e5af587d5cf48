"""A training as a person at a terminal sees it: a bar with lines above it; lines only, where nobody watches."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any, NoReturn, TextIO

from tqdm import tqdm

from data.audio import Audio
from models.progress import Progress, RunStart, duration, epoch_line, measured, progress_line, start_line
from models.reporters.thinning import line_pace

BAR = "{desc} |{bar}| {n_fmt}/{total_fmt}{postfix}"


class TerminalReporter:
    """Lines on standard output; the bar on standard error, or on standard output where only that is a terminal.

    What the bar shows stands in lines too where standard output goes to a file or a pipe, thinned out.
    """

    def __init__(self) -> None:
        self._pace = line_pace()
        self._bar: tqdm[NoReturn] | None = None
        self._usdr_db: float | None = None

    def start(self, run: RunStart) -> None:
        self.log(start_line(run))
        stream = self._stream()
        if stream is not None:
            self._bar = tqdm(
                total=run.steps,
                initial=run.first_step,
                desc="starting",
                file=stream,
                bar_format=BAR,
                dynamic_ncols=True,
            )

    def log(self, line: str) -> None:
        if self._bar is None:
            print(line, flush=True)
        else:
            # Takes the bar away for a moment: the line stands above it.
            tqdm.write(line, file=sys.stdout)
            sys.stdout.flush()

    def progress(self, progress: Progress) -> None:
        if self._bar is not None:
            self._show(self._bar, progress)
        if not sys.stdout.isatty() and self._pace.due(progress.seconds):
            self.log(progress_line(progress))

    def epoch(self, row: Mapping[str, Any], curves_png: bytes) -> None:
        self._usdr_db = row["validation_usdr_db"]
        self.log(epoch_line(row))

    def audio(self, step: int, sounds: Mapping[str, Audio]) -> None:
        pass

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def _show(self, bar: tqdm[NoReturn], progress: Progress) -> None:
        bar.n, bar.total = progress.step, progress.steps
        bar.set_description_str(f"epoch {progress.epoch}/{progress.epochs}", refresh=False)
        words = [f"{duration(progress.seconds_left)} left", measured(progress)]
        if self._usdr_db is not None:
            words.insert(1, f"uSDR {self._usdr_db:.2f} dB")
        bar.set_postfix_str(", ".join(words))

    @staticmethod
    def _stream() -> TextIO | None:
        return next((stream for stream in (sys.stderr, sys.stdout) if stream.isatty()), None)
