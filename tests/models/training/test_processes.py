from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest
import torch
import yaml
from tiny import tiny_pairs, tiny_settings

from benchmarks.processes import descendants
from data.errors import InputError
from data.loopback import PAIRS
from data.tables import read_table, write_table
from models.checkpoint import load_checkpoint
from models.job import TrainJob
from models.launch import launch_command
from models.training.processes import Processes

ROOT = Path(__file__).parents[3]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Training pairs with two validation tracks, and the tiny candidate with batches of four."""
    settings = tiny_settings()
    settings["training"] |= {"epochs": 2, "steps_per_epoch": 5, "batch_size": 4}
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(settings))
    write_table(tmp_path / "pairs.parquet", tiny_pairs(tmp_path / "audio", validation=3), PAIRS)
    return tmp_path


def test_where_a_process_is_killed_that_is_told_and_not_a_table_of_all(folder: Path) -> None:
    settings = tiny_settings()
    settings["training"] |= {"epochs": 100_000, "steps_per_epoch": 5, "batch_size": 4}
    (folder / "tiny.yaml").write_text(yaml.safe_dump(settings))
    command, environment = _command(folder, 2)
    process = subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    while "epoch 1 done" not in process.stdout.readline():
        assert process.poll() is None
    os.kill(_of_rank(process.pid, "1"), signal.SIGKILL)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 2
    assert "killed by signal 9 (SIGKILL)" in errors
    assert "training.batch_size" in errors
    for noise in ("Traceback", "=====", "error_file"):
        assert noise not in errors


def _of_rank(launcher: int, rank: str) -> int:
    variable = f"RANK={rank}".encode()
    (found,) = [each for each in descendants(launcher) if variable in _environment(each)]
    return found


def _environment(process: int) -> list[bytes]:
    return Path(f"/proc/{process}/environ").read_bytes().split(b"\0")


def _command(folder: Path, processes: int) -> tuple[list[str], dict[str, str]]:
    job = TrainJob("tiny.yaml", Path("pairs.parquet"), Path("audio"), Path(str(processes)), device="cpu")
    command = [*launch_command(processes), *job.command]
    return command, {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def _train(folder: Path, processes: int) -> subprocess.CompletedProcess[str]:
    command, environment = _command(folder, processes)
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_two_processes_reach_the_loss_and_weights_of_one_with_the_same_batch(folder: Path) -> None:
    for processes in (1, 2):
        done = _train(folder, processes)
        assert done.returncode == 0, done.stderr
    one, two = (read_table(folder / name / "curves.parquet") for name in ("1", "2"))
    for column in ("train_loss", "validation_loss", "validation_usdr_db"):
        assert two[column].to_numpy() == pytest.approx(one[column].to_numpy(), rel=1e-4)
    assert len(one) == 2
    first, second = (load_checkpoint(folder / name / "checkpoint.pt").weights for name in ("1", "2"))
    for name in first:
        torch.testing.assert_close(first[name], second[name], rtol=1e-4, atol=1e-5)
    tracks = [read_table(folder / name / "validation.parquet")["track_id"].tolist() for name in ("1", "2")]
    assert tracks[0] == tracks[1] == ["demo/song-3", "demo/song-4", "demo/song-5"]


def test_two_processes_agree_on_when_a_budget_in_time_is_spent(folder: Path) -> None:
    settings = yaml.safe_load((folder / "tiny.yaml").read_text())
    settings["training"] |= {"epochs": 100_000, "minutes": 0.04}
    (folder / "tiny.yaml").write_text(yaml.safe_dump(settings))
    done = _train(folder, 2)
    assert done.returncode == 0, done.stderr
    curves = read_table(folder / "2" / "curves.parquet")
    assert 0 < curves["step"].iloc[-1] < 500_000


def test_a_batch_that_cannot_be_shared_evenly_is_refused_by_name(folder: Path) -> None:
    done = _train(folder, 3)
    assert done.returncode != 0
    assert "training.batch_size" in done.stderr
    assert "a multiple of the number of processes (3)" in done.stderr
    assert not (folder / "3").exists()


def test_processes_need_not_find_the_machine_by_its_name() -> None:
    # In one write: two processes share the pipe.
    said = r"import os, sys; sys.stdout.write(os.environ['RANK'] + ' ' + os.environ['MASTER_ADDR'] + '\n')"
    tell = ["timeit", "-n1", "-r1", said]
    done = subprocess.run([*launch_command(2), *tell], capture_output=True, text=True, check=True)
    told = [line for line in done.stdout.splitlines() if "loop" not in line]
    assert sorted(told) == ["0 127.0.0.1", "1 127.0.0.1"]


def test_each_process_takes_its_share_of_a_batch() -> None:
    shares = [Processes(3, rank).share_of(6) for rank in range(3)]
    assert [list(range(6))[share] for share in shares] == [[0, 1], [2, 3], [4, 5]]
    with pytest.raises(InputError):
        Processes(4, 0).share_of(6)
