"""A training as Weights & Biases shows it, where the setting `ISOLATION_WANDB` asks for it.

`offline` needs neither account nor network: the files can be sent later with `wandb sync`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from data.audio import SAMPLE_RATE, Audio
from data.errors import InputError
from models.progress import Progress, RunStart
from models.reporters.thinning import AudioThinning, point_pace
from models.reporters.values import epoch_values, progress_values

if TYPE_CHECKING:
    import wandb

Mode = Literal["offline", "online"]
SECONDS_TO_CONNECT = 30


class WandbReporter:
    """A Weights & Biases run in `<folder of the run>/wandb/`, its id the name of the run: a resumed run goes on in it.

    Raises InputError where the package is missing, or the mode is `online` and there is no API key. A service that
    cannot be reached is told to `tell`, and the run written offline.
    """

    def __init__(self, mode: Mode, project: str, tell: Callable[[str], None]) -> None:
        # A run that is kept on this machine tells nobody of its errors either; read when the package is imported.
        if mode == "offline":
            os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        self._wandb = _package()
        if mode == "online":
            self._log_in()
        self._mode: Mode = mode
        self._project = project
        self._tell = tell
        self._run: wandb.Run | None = None
        self._points = point_pace()
        self._sounds = AudioThinning()

    def start(self, run: RunStart) -> None:
        run.folder.mkdir(parents=True, exist_ok=True)  # into a folder that is not there, wandb does not write
        try:
            self._run = self._begun(run, self._mode)
        except self._wandb.errors.CommError as error:
            self._tell(
                f"Weights & Biases cannot be reached ({error}): written offline; later: wandb sync {_runs(run.folder)}"
            )
            self._run = self._begun(run, "offline")
        # Steps of ours, not W&B's counter of calls, which begins anew where a run goes on.
        self._run.define_metric("step", hidden=True)
        self._run.define_metric("*", step_metric="step")

    def log(self, line: str) -> None:
        pass

    def progress(self, progress: Progress) -> None:
        if self._points.due(progress.seconds):
            self._write(progress.step, progress_values(progress))

    def epoch(self, row: Mapping[str, Any], curves_png: bytes) -> None:
        self._write(row["step"], epoch_values(row))

    def audio(self, step: int, sounds: Mapping[str, Audio]) -> None:
        due = self._sounds.due(step, sounds)
        if due:
            audio = {f"audio/{n}": self._wandb.Audio(s.T, sample_rate=SAMPLE_RATE) for n, s in due.items()}
            self._write(step, audio)

    def close(self) -> None:
        if self._run is not None:
            run, self._run = self._run, None
            run.finish(exit_code=0 if sys.exception() is None else 1)

    def _write(self, step: int, values: Mapping[str, Any]) -> None:
        assert self._run is not None, "start comes first"
        self._run.log({"step": step, **values})

    def _begun(self, run: RunStart, mode: Mode) -> wandb.Run:
        return self._wandb.init(
            project=self._project,
            id=run.name,
            name=run.name,
            dir=str(run.folder),
            mode=mode,
            resume="allow" if mode == "online" else None,
            config={
                **run.candidate.model_dump(mode="json"),
                "parameters": run.parameters,
                "training_rows": run.training_rows,
                "validation_tracks": run.validation_tracks,
                "processes": run.processes,
                "device": run.device,
            },
            # The terminal is ours, and code is not for others to keep.
            settings=self._wandb.Settings(
                console="off", silent=True, save_code=False, disable_git=True, init_timeout=SECONDS_TO_CONNECT
            ),
        )

    def _log_in(self) -> None:
        try:
            known = self._wandb.login()
        except self._wandb.errors.Error as error:
            raise _no_key(str(error)) from error
        if not known:
            raise _no_key("none")


def _runs(folder: Path) -> Path:
    return folder / "wandb" / "offline-run-*"


def _package() -> Any:
    try:
        import wandb
    except ModuleNotFoundError as error:
        raise InputError(
            "setting ISOLATION_WANDB",
            expected="the package wandb",
            found=str(error),
            remedy="pip install -e '.[wandb]' in the virtual environment, or set ISOLATION_WANDB=off",
        ) from error
    return wandb


def _no_key(found: str) -> InputError:
    return InputError(
        "setting ISOLATION_WANDB=online",
        expected="an API key of Weights & Biases",
        found=found,
        remedy="run `wandb login`, set WANDB_API_KEY, or set ISOLATION_WANDB=offline",
    )
