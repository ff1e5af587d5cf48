"""A training as Weights & Biases shows it, where the setting `ISOLATION_WANDB` asks for it.

`offline` needs neither account nor network: the files can be sent later with `wandb sync`.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal

import requests

from data.audio import SAMPLE_RATE, Audio
from data.errors import InputError
from models.progress import Progress, RunStart
from models.reporters.thinning import AudioThinning, point_pace
from models.reporters.values import epoch_values, progress_values

if TYPE_CHECKING:
    import wandb

Mode = Literal["offline", "online"]
SECONDS_TO_CONNECT = 10
SECONDS_TO_FINISH = 120
SECONDS_TO_STOP = 10


class WandbReporter:
    """A Weights & Biases run in `<folder of the run>/wandb/`, its id the name of the run: a resumed run goes on in it.

    Raises InputError where the package is missing, or the mode is `online` and there is no API key. Where the service
    cannot be reached, `tell` hears so, and the run is written offline.
    """

    def __init__(self, mode: Mode, project: str, tell: Callable[[str], None]) -> None:
        # A run that is kept on this machine tells nobody of its errors either; read when the package is imported.
        if mode == "offline":
            os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        self._wandb = _package()
        self._mode: Mode = mode
        self._project = project
        self._tell = tell
        self._run: wandb.Run | None = None
        self._gave_up = False
        self._points = point_pace()
        self._sounds = AudioThinning()
        # Asked before the package is: it would try again for hours, deaf to signals.
        if mode == "online" and self._reachable():
            self._log_in()

    def start(self, run: RunStart) -> None:
        run.folder.mkdir(parents=True, exist_ok=True)  # into a folder that is not there, wandb does not write
        try:
            self._run = self._begun(run, self._mode)
        except self._wandb.errors.CommError as error:
            self._wandb.teardown()  # it would take the name for one in use
            self._offline(f"refuses the run ({' '.join(str(error).split())[:200]})")
            self._run = self._begun(run, self._mode)
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
            stopped = sys.exception() is not None
            # Without a network, wandb would go on trying for hours, and who stops a training wants it gone.
            watch = threading.Timer(SECONDS_TO_STOP if stopped else SECONDS_TO_FINISH, self._give_up)
            watch.start()
            try:
                run.finish(exit_code=int(stopped))
            except Exception:
                # What finish raises when its process is ended under it has been told already.
                if not self._gave_up:
                    raise
            finally:
                watch.cancel()

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
            settings=self._wandb.Settings(console="off", silent=True, save_code=False, disable_git=True),
        )

    def _reachable(self) -> bool:
        """Whether the service answers; if it does not, the run will be written offline."""
        address = self._wandb.setup().settings.base_url
        try:
            requests.head(address, timeout=SECONDS_TO_CONNECT)
        except requests.RequestException as error:
            self._offline(f"does not answer at {address} ({type(error).__name__})")
            return False
        return True

    def _offline(self, why: str) -> None:
        self._mode = "offline"
        self._tell(f"Weights & Biases {why}: written offline, into the run's folder wandb; `wandb sync` sends it later")

    def _give_up(self) -> None:
        """End wandb's own process, which sends; all of the run that it has not sent stands in its folder."""
        self._gave_up = True
        self._tell("Weights & Biases does not answer: `wandb sync` sends what it lacks, from the run's folder wandb")
        service = self._wandb.setup()._connection
        service._cleanup()  # at the end of ours there is nothing left to end
        service._proc._process.kill()

    def _log_in(self) -> None:
        try:
            known = self._wandb.login()
        except self._wandb.errors.Error as error:
            raise _no_key(str(error)) from error
        if not known:
            raise _no_key("none")


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
