"""What each reporter makes of a training, read back by whoever reads it for people."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
import termios
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from listener import Listener
from tiny import tiny_candidate

from data.audio import SAMPLE_RATE, Audio
from data.errors import InputError
from data.settings import Settings
from models.progress import Expendable, Pace, Progress, Reporter, Reporters, RunStart, duration, run_name
from models.reporters import open_reporters
from models.reporters.pipes import PipesReporter
from models.reporters.tensorboard import TensorBoardReporter
from models.reporters.terminal import TerminalReporter
from models.reporters.wandb import WandbReporter

ROOT = Path(__file__).parents[2]
STEPS, STEPS_AN_EPOCH = 40, 10


def _start(folder: Path, first_step: int = 0) -> RunStart:
    return RunStart(
        name="tiny-2026-11-22-2305",
        candidate=tiny_candidate(),
        parameters=9818,
        training_rows=3,
        validation_tracks=1,
        steps=STEPS,
        minutes=None,
        first_step=first_step,
        device="cpu",
        processes=1,
        folder=folder,
    )


def _progress(step: int, waiting_share: float = 0.01, skipped: int = 0) -> Progress:
    return Progress(
        epoch=(step - 1) // STEPS_AN_EPOCH + 1,
        epochs=STEPS // STEPS_AN_EPOCH,
        step=step,
        steps=STEPS,
        loss=1 / step,
        learning_rate=1e-3,
        gradient_norm=0.5,
        examples_per_second=12.5,
        waiting_share=waiting_share,
        skipped=skipped,
        seconds=float(step),
        seconds_left=float(STEPS - step),
    )


def _row(step: int) -> dict[str, Any]:
    epoch = step // STEPS_AN_EPOCH
    return {
        "epoch": epoch,
        "step": step,
        "train_loss": 2 / epoch,
        "validation_loss": 3 / epoch,
        "validation_usdr_db": float(epoch) if epoch > 1 else float("nan"),
        "learning_rate": 1e-3,
        "skipped": 0,
        "seconds": float(step),
    }


def _sounds(level: float) -> Mapping[str, Audio]:
    time = np.arange(4410, dtype=np.float32) / SAMPLE_RATE
    tone = np.stack([np.sin(2 * np.pi * 440 * time), np.zeros_like(time)]).astype(np.float32)
    return {"mixture": 0.5 * tone, "estimate": level * tone}


def _drive(reporter: Reporter, folder: Path, first_step: int = 0, last_step: int = STEPS) -> None:
    """Tell a reporter of a training as the loop does."""
    reporter.start(_start(folder, first_step))
    for step in range(first_step + 1, last_step + 1):
        reporter.progress(_progress(step))
        if step % STEPS_AN_EPOCH == 0:
            reporter.epoch(_row(step), b"\x89PNG")
            reporter.audio(step, _sounds(step / 100))
    reporter.close()


def test_a_run_has_a_readable_name() -> None:
    assert run_name("toy", datetime(2026, 11, 22, 23, 5)) == "toy-2026-11-22-2305"


@pytest.mark.parametrize(
    ("seconds", "words"), [(42, "42 s"), (720, "12 min"), (12_000, "3 h 20 min"), (187_200, "2 d 4 h")]
)
def test_durations_read_as_people_say_them(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_lines_come_soon_at_first_and_then_ever_less_often() -> None:
    pace = Pace(share=1 / 8, shortest=3.0, longest=60.0)
    told = [second for second in range(8 * 3600) if pace.due(second)]
    gaps = np.diff(told)
    assert told[0] == 0
    assert told[1] == 3
    assert gaps[-1] == 60
    assert (np.diff(gaps) >= 0).all()
    assert len(told) < 600


def test_without_a_terminal_there_are_lines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _drive(TerminalReporter(), tmp_path)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("tiny-2026-11-22-2305: 0.01 million parameters")
    assert any(
        line.startswith("epoch 1/4, step 1/40, loss 1.0000, learning rate 0.001, 12.5 examples") for line in lines
    )
    assert sum("done: training loss" in line for line in lines) == 4
    assert len(lines) < 25
    assert "\r" not in "".join(lines)


def test_what_hurts_is_told_where_it_does(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    for waiting, skipped, told in ((0.01, 0, False), (0.4, 2, True)):
        reporter = TerminalReporter()
        reporter.start(_start(tmp_path))
        reporter.progress(_progress(1, waiting, skipped))
        out = capsys.readouterr().out
        assert ("40% waiting for data" in out) is told
        assert ("2 steps skipped" in out) is told


def test_on_a_terminal_there_is_a_bar_with_lines_above_it(tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (40, 160))
    script = (
        "from pathlib import Path; from models.reporters.terminal import TerminalReporter\n"
        f"from test_reporters import _drive; _drive(TerminalReporter(), Path({str(tmp_path)!r}), first_step=20)"
    )
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}:{Path(__file__).parent}"}
    process = subprocess.Popen([sys.executable, "-c", script], env=environment, stdout=theirs, stderr=theirs)
    os.close(theirs)
    shown = b""
    while True:
        try:
            piece = os.read(ours, 4096)
        except OSError:  # the other end is closed
            break
        if not piece:
            break
        shown += piece
    os.close(ours)
    assert process.wait() == 0, shown.decode()
    text = shown.decode()
    assert "going on after step 20" in text
    assert "epoch 4/4" in text
    assert "40/40" in text
    assert "uSDR 3.00 dB" in text
    assert text.index("20/40") < text.index("40/40")
    assert "epoch 3 done" in text


def test_dagster_is_told_lines_and_every_epoch(tmp_path: Path) -> None:
    class Pipes:
        def __init__(self) -> None:
            self.lines: list[str] = []
            self.messages: list[Any] = []
            self.log = self

        def info(self, line: str) -> None:
            self.lines.append(line)

        def report_custom_message(self, payload: Any) -> None:
            self.messages.append(payload)

    pipes = Pipes()
    _drive(PipesReporter(pipes), tmp_path)  # type: ignore[arg-type]
    assert [message["epoch"]["step"] for message in pipes.messages] == [10, 20, 30, 40]
    assert pipes.messages[0]["epoch"]["validation_usdr_db"] is None  # JSON has no NaN
    assert any("learning rate" in line and "left" in line for line in pipes.lines)


def _events(folder: Path) -> Any:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    accumulator = EventAccumulator(str(folder / "tensorboard" / "tiny-2026-11-22-2305"))
    accumulator.Reload()
    return accumulator


def test_tensorboard_finds_curves_sounds_and_settings(tmp_path: Path) -> None:
    _drive(TensorBoardReporter(), tmp_path)
    events = _events(tmp_path)
    assert {"train/loss", "train/learning_rate", "validation/loss", "validation/usdr_db"} <= set(
        events.Tags()["scalars"]
    )
    assert [event.step for event in events.Scalars("train/loss")] == list(range(1, STEPS + 1))
    assert [event.step for event in events.Scalars("validation/loss")] == [10, 20, 30, 40]
    assert events.Scalars("validation/loss")[1].value == pytest.approx(1.5)
    assert [event.step for event in events.Scalars("validation/usdr_db")] == [20, 30, 40]
    estimates = events.Audio("audio/estimate")
    assert len(estimates) > 1
    assert estimates[0].sample_rate == SAMPLE_RATE
    assert len(events.Audio("audio/mixture")) == 1  # it stays the same
    assert "lstm_hidden" in events.Tensors("settings")[0].tensor_proto.string_val[0].decode()


def test_a_candidates_settings_are_no_markdown(tmp_path: Path) -> None:
    # TensorBoard shows the text as Markdown, in which a picture is a request.
    description = "```\n\n![x](http://127.0.0.1:9/p)\n<img src=http://127.0.0.1:9/p>"
    start = _start(tmp_path)
    reporter = TensorBoardReporter()
    reporter.start(replace(start, candidate=start.candidate.model_copy(update={"description": description})))
    reporter.close()
    text = _events(tmp_path).Tensors("settings")[0].tensor_proto.string_val[0].decode()
    assert "<img src=" in text
    assert all(line.startswith("    ") or not line for line in text.splitlines())


def test_tensorboard_forgets_the_steps_that_a_killed_run_took_in_vain(tmp_path: Path) -> None:
    killed = TensorBoardReporter()
    killed.start(_start(tmp_path))
    for step in range(1, 18):
        killed.progress(_progress(step))
    killed.close()
    _drive(TensorBoardReporter(), tmp_path, first_step=12)
    assert [event.step for event in _events(tmp_path).Scalars("train/loss")] == list(range(1, STEPS + 1))


def test_weights_and_biases_is_written_offline_below_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wandb = pytest.importorskip("wandb")
    from wandb.proto import wandb_internal_pb2
    from wandb.sdk.internal.datastore import DataStore

    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    told: list[str] = []
    _drive(WandbReporter("offline", "a-project", told.append), tmp_path / "run")
    wandb.teardown()  # as at the end of a training's process: wandb's own has written everything by then
    assert told == []
    assert {path.name for path in tmp_path.iterdir()} == {"run"}
    (file,) = (tmp_path / "run" / "wandb").glob("offline-run-*/*.wandb")
    store, names, losses = DataStore(), set(), []
    store.open_for_scan(str(file))
    while (data := store.scan_data()) is not None:
        record = wandb_internal_pb2.Record()
        record.ParseFromString(data)
        if record.WhichOneof("record_type") == "run":
            names.add((record.run.display_name, record.run.run_id, record.run.project))
        for item in record.history.item:
            key = item.key or "/".join(item.nested_key)
            if key == "validation/loss":
                losses.append(float(item.value_json))
    assert names == {("tiny-2026-11-22-2305", "tiny-2026-11-22-2305", "a-project")}
    assert losses == pytest.approx([3.0, 1.5, 1.0, 0.75])


def test_a_missing_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    settings = Settings(wandb="offline")
    with pytest.raises(InputError, match="ISOLATION_WANDB") as caught, open_reporters(settings):
        pass
    assert "pip install" in caught.value.remedy


def test_a_reporter_that_only_watches_may_fail_without_ending_the_training(tmp_path: Path) -> None:
    class Broken(Listener):
        def epoch(self, row: Mapping[str, Any], curves_png: bytes) -> None:
            raise OSError("disk full")

    told: list[str] = []
    broken, other = Broken(), Listener()
    _drive(Reporters(Expendable(broken, "TensorBoard", told.append), other), tmp_path)
    assert told == ["TensorBoard hears no more of this run, which goes on: OSError: disk full"]
    assert len(broken.progresses) == STEPS_AN_EPOCH
    assert len(other.progresses) == STEPS


def test_of_several_processes_the_first_alone_reports(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RANK", "1")
    with open_reporters(Settings()) as (reporters, _):
        _drive(reporters, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_reporters_cost_no_import_of_torch_or_tensorboard() -> None:
    script = (
        "import sys, models.reporters\n"
        "heavy = {'torch', 'tensorboard', 'wandb', 'dagster_pipes'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True)
