"""A training that is stopped and goes on gives what it would have given."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
import yaml
from listener import Listener
from tiny import network_of, tiny_candidate, tiny_pairs, tiny_settings

from data.errors import InputError
from data.layout import EARLIER_STATE_FILE, STATE_FILE
from data.loopback import PAIRS
from data.tables import read_table, write_table
from models.candidate import Candidate
from models.training import TrainingResult, train
from models.training.results import Provenance, Results
from models.training.state import Progressed, identity, load_state

ROOT = Path(__file__).parents[3]
OPENUNMIX = {
    "name": "openunmix",
    "bandwidth_hz": 16000.0,
    "hidden": 8,
    "lstm_layers": 2,
    "bidirectional": True,
    "dropout": 0.4,
}


class Stop(BaseException):
    """The training is stopped at some step."""


@pytest.fixture(autouse=True)
def _look_at_every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("models.training.watch.SECONDS_BETWEEN_LOOKS", 0.0)


@contextmanager
def _stopped(step: int) -> Iterator[None]:
    """The training inside is stopped when it has saved the state of `step`."""
    real = Results.save

    def save(results: Results, progressed: Progressed, engine: Any) -> None:
        real(results, progressed, engine)
        if progressed.step == step:
            raise Stop

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Results, "save", save)
        with pytest.raises(Stop):
            yield


def _train(candidate: Candidate, root: Path, output: str, listener: Listener, **options: Any) -> TrainingResult:
    pairs = tiny_pairs(root / "audio")
    return train(candidate, pairs, root / "audio", root / output, listener, save_every_s=0.0, **options)


def _same(one: Path, other: Path) -> None:
    assert (one / "checkpoint.pt").read_bytes() == (other / "checkpoint.pt").read_bytes()
    curves, validation = (
        [read_table(folder / name) for folder in (one, other)] for name in ("curves.parquet", "validation.parquet")
    )
    pd.testing.assert_frame_equal(*(frame.drop(columns="seconds") for frame in curves))
    pd.testing.assert_frame_equal(*validation)


@pytest.mark.parametrize("stop", [1, 4, 6, 12])  # 4 and 12: trained to the end of an epoch, not validated yet
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"network": OPENUNMIX},  # dropout and batch statistics
        {"noise": {"profiles": 1, "snrs_db": [20.0]}},
        {"training": {"schedule": {"name": "plateau", "epochs": 1, "factor": 0.5}, "learning_rate": 1.0}},
        {"training": {"precision": "bfloat16"}},
    ],
    ids=["plain", "openunmix", "noise", "plateau", "bfloat16"],
)
def test_a_stopped_training_goes_on_to_the_very_weights_of_an_uninterrupted_one(
    tmp_path: Path, changes: dict[str, Any], stop: int
) -> None:
    changes = {**changes, "training": {"epochs": 3, "steps_per_epoch": 4, **changes.get("training", {})}}
    candidate = tiny_candidate(**changes)
    _train(candidate, tmp_path, "whole", Listener())
    with _stopped(stop):
        _train(candidate, tmp_path, "stopped", Listener())
    listener = Listener()
    _train(candidate, tmp_path, "stopped", listener)
    assert listener.runs[0].first_step == stop
    assert [progress.step for progress in listener.progresses] == list(range(stop + 1, 13))
    _same(tmp_path / "whole", tmp_path / "stopped")


def test_a_training_keeps_its_name_and_the_time_it_has_spent(tmp_path: Path) -> None:
    candidate = tiny_candidate(training={"epochs": 3, "steps_per_epoch": 4})
    first, listener = Listener(), Listener()
    with _stopped(9):
        _train(candidate, tmp_path, "out", first)
    _train(candidate, tmp_path, "out", listener)
    assert listener.runs[0].name == first.runs[0].name
    assert listener.progresses[0].seconds > first.progresses[-1].seconds


def test_a_finished_training_is_not_done_again(tmp_path: Path) -> None:
    first = _train(tiny_candidate(), tmp_path, "out", Listener())
    before = first.checkpoint.stat().st_mtime_ns
    listener = Listener()
    again = _train(tiny_candidate(), tmp_path, "out", listener)
    assert listener.progresses == []
    assert first.checkpoint.stat().st_mtime_ns == before
    pd.testing.assert_frame_equal(again.curves, first.curves)
    assert again.best_epoch == first.best_epoch
    first.checkpoint.unlink()
    _train(tiny_candidate(), tmp_path, "out", listener)
    assert listener.progresses != []
    assert first.checkpoint.is_file()


@pytest.mark.parametrize("change", ["settings", "audio"])
def test_a_state_of_another_training_is_not_gone_on_with(tmp_path: Path, change: str) -> None:
    with _stopped(4):
        _train(tiny_candidate(), tmp_path, "out", Listener())
    candidate, pairs = tiny_candidate(), tiny_pairs(tmp_path / "audio")
    if change == "settings":
        candidate = tiny_candidate(training={"learning_rate": 0.02})
    else:
        pairs["vocals_sha256"] = "other audio"
    listener = Listener()
    train(candidate, pairs, tmp_path / "audio", tmp_path / "out", listener)
    assert listener.runs[0].first_step == 0
    assert any("begins anew" in line for line in listener.lines)


def _damages(state: Path) -> dict[str, bytes]:
    """Contents for a state's file that no training can go on with."""
    whole = state.read_bytes()
    middle = len(whole) // 2
    damages = {
        "cut": whole[:1000],
        "empty": b"",
        "a turned bit": whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :],
        "blanked": whole[:middle] + bytes(4096) + whole[middle + 4096 :],
        "text": b"hello",
    }

    def put(name: str, *keys: str, to: Any) -> None:
        content = inner = torch.load(state, weights_only=True)
        for key in keys[:-1]:
            inner = inner[key]
        inner[keys[-1]] = to
        file = io.BytesIO()
        torch.save(content, file)
        damages[name] = file.getvalue()

    deep: list[Any] = []
    for _ in range(100):
        deep = [deep]
    bias = ("engine", "network", "pre_fc.0.bias")
    put("stride 0", *bias, to=torch.zeros(1).expand(10**11))
    put("not finite", *bias, to=torch.full((8,), torch.nan))
    put("another shape", *bias, to=torch.zeros(9))
    put("another type", *bias, to="zero")
    put("no average", "engine", "averaged", to={})
    put("no optimiser", "engine", "optimiser", to={})
    put("moments of another shape", "engine", "optimiser", "state", to={0: {"exp_avg": torch.zeros(1)}})
    put("text for a number", "progressed", "step", to="four")
    put("deep", "progressed", "curves", to=deep)
    put("a list for all", "progressed", to=[])
    return damages


def test_a_damaged_state_falls_back_to_the_one_before_it_and_says_so(tmp_path: Path) -> None:
    candidate = tiny_candidate()
    with _stopped(4):
        _train(candidate, tmp_path, "out", Listener())
    state, network = tmp_path / "out" / STATE_FILE, network_of(candidate)
    results = Results(tmp_path / "out", candidate, identity(candidate, tiny_pairs(tmp_path / "audio")), Provenance())
    damages = _damages(state)
    for name, content in damages.items():
        state.write_bytes(content)
        lines: list[str] = []
        found = results.resume(network, lines.append)
        assert found is not None, name
        assert found.progressed.step == 3, name
        assert lines == ["state.pt is damaged: training goes on from the state before it, step 3"], name
    state.with_name(EARLIER_STATE_FILE).write_bytes(damages["cut"])
    assert results.resume(network, lines.append) is None
    assert lines[-1] == "state.pt is damaged: training begins anew"


def test_a_training_whose_state_was_damaged_still_comes_to_the_same_bytes(tmp_path: Path) -> None:
    candidate = tiny_candidate()
    _train(candidate, tmp_path, "whole", Listener())
    assert sorted(path.name for path in (tmp_path / "whole").glob("state*")) == [STATE_FILE]
    with _stopped(5):
        _train(candidate, tmp_path, "out", Listener())
    state = tmp_path / "out" / STATE_FILE
    state.write_bytes(state.read_bytes()[:-10])
    with _stopped(5):  # what is saved next does not push the damaged one into the place of the good one
        _train(candidate, tmp_path, "out", Listener())
    state.unlink()  # as if killed between two renames
    listener = Listener()
    _train(candidate, tmp_path, "out", listener)
    assert listener.runs[0].first_step == 4
    _same(tmp_path / "whole", tmp_path / "out")


def test_a_state_that_may_not_be_read_is_not_written_over(
    tmp_path: Path, without_privileges: Callable[[], Any]
) -> None:
    path = tmp_path / STATE_FILE
    path.write_bytes(b"hours of training")
    path.chmod(0)
    with without_privileges(), pytest.raises(InputError, match="the right to use it"):
        load_state(path, "")


def test_prose_and_folders_do_not_matter_to_a_state(tmp_path: Path) -> None:
    with _stopped(4):
        _train(tiny_candidate(), tmp_path, "out", Listener())
    (tmp_path / "out").rename(tmp_path / "elsewhere")
    listener = Listener()
    _train(tiny_candidate().model_copy(update={"description": "other words"}), tmp_path, "elsewhere", listener)
    assert listener.runs[0].first_step > 0


def test_a_process_killed_at_any_moment_goes_on_to_the_same_bytes(tmp_path: Path) -> None:
    settings = tiny_settings()
    settings["training"] |= {"epochs": 3, "steps_per_epoch": 60}
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(settings))
    write_table(tmp_path / "pairs.parquet", tiny_pairs(tmp_path / "audio"), PAIRS)

    def command(output: str) -> list[str]:
        arguments = ["--pairs", "pairs.parquet", "--audio-root", "audio", "--device", "cpu", "--save-every", "0"]
        return [sys.executable, "-m", "models.train", "tiny.yaml", *arguments, "--output", output]

    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run(command("whole"), cwd=tmp_path, env=environment, check=True, capture_output=True)
    for wanted in (25, 80, 121):  # within the first epoch, within the second, at the very beginning of the third
        process = subprocess.Popen(command("killed"), cwd=tmp_path, env=environment, stdout=subprocess.DEVNULL)
        try:
            _wait_for_step(tmp_path / "killed" / STATE_FILE, wanted, process)
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()
        assert process.returncode == -signal.SIGKILL
    subprocess.run(command("killed"), cwd=tmp_path, env=environment, check=True, capture_output=True)
    _same(tmp_path / "whole", tmp_path / "killed")


def _wait_for_step(path: Path, step: int, process: subprocess.Popen[bytes]) -> None:
    """Wait until a training process has saved a state of `step` or later."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        assert process.poll() is None, "the training ended before it was killed"
        if path.is_file():
            of = torch.load(path, weights_only=True)["of"]
            saved = load_state(path, of)
            assert not isinstance(saved, str)
            assert saved is not None
            if saved.progressed.step >= step:
                return
        time.sleep(0.005)  # until the file says so: the process is to know nothing of being watched
    raise AssertionError(f"no state of step {step} within a minute")
