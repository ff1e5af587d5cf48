"""The training program as a process, as a person or the orchestrator launches it."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from tiny import tiny_pairs, tiny_settings

from data.files import PARTIAL
from data.loopback import PAIRS
from data.tables import write_table
from models.checkpoint import load_checkpoint

ROOT = Path(__file__).parents[2]
OWNER = """
import sys
from pathlib import Path
from data.ownership import own
with own(Path(sys.argv[1]), "make run"):
    print("in", flush=True)
    sys.stdin.read()
"""
LAUNCHER = """
import json
from dataclasses import asdict
from data.ownership import this_process
print(json.dumps(asdict(this_process())), flush=True)
input()
"""
FILES = {"checkpoint.pt", "curves.parquet", "curves.png", "validation.parquet", "state.pt"}


@pytest.fixture
def storage(tmp_path: Path) -> Path:
    """A storage root with training pairs, and the tiny candidate beside it."""
    pairs = tiny_pairs(tmp_path / "storage")
    write_table(tmp_path / "storage/training_set/loopback/pairs.parquet", pairs, PAIRS)
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(tiny_settings()))
    return tmp_path / "storage"


def _command(storage: Path, *arguments: str) -> tuple[list[str], dict[str, str]]:
    environment = {**os.environ, "ISOLATION_STORAGE": str(storage), "PYTHONPATH": str(ROOT)}
    return [sys.executable, "-m", "models.train", *arguments], environment


def _run(storage: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command, environment = _command(storage, *arguments)
    return subprocess.run(command, env=environment, cwd=storage.parent, capture_output=True, text=True, check=False)


def test_a_candidate_trains_into_the_storage_root(storage: Path) -> None:
    done = _run(storage, "tiny.yaml", "--device", "cpu")
    assert done.returncode == 0, done.stderr
    assert "epoch 2 done: training loss" in done.stdout
    folder = storage / "separators/checkpoint/tiny"
    assert {path.name for path in folder.iterdir()} >= FILES
    assert load_checkpoint(folder / "checkpoint.pt").candidate.name == "tiny"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["unheard-of"], "expected: one of"),
        (["tiny.yaml", "--pairs", "nowhere.parquet"], "found:    no such file"),
        (["tiny.yaml", "--device", "gramophone"], "device gramophone"),
        (["tiny.yaml", "--device", "cpu", "--output", "tiny.yaml"], "file:     tiny.yaml\n"),
        (["tiny.yaml", "--device", "cpu", "--output", "/proc/checkpoint"], "file:     /proc/checkpoint\n"),
    ],
)
def test_bad_input_is_one_message_and_exit_code_2(storage: Path, arguments: list[str], message: str) -> None:
    done = _run(storage, *arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert "epoch" not in done.stdout  # told before the work, not after it


def test_a_candidate_is_found_by_its_name_in_the_folder_of_the_settings(
    storage: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (storage.parent / "candidates").mkdir()
    (storage.parent / "tiny.yaml").rename(storage.parent / "candidates" / "mine.yaml")
    monkeypatch.setenv("ISOLATION_CANDIDATES", str(storage.parent / "candidates"))
    done = _run(storage, "mine", "--device", "gramophone")
    assert "device gramophone" in done.stderr  # which is asked for after the candidate was read
    (storage.parent / "candidates" / "mine.yaml").rename(storage.parent / "other.YAML")
    done = _run(storage, "other.YAML", "--device", "gramophone")
    assert "device gramophone" in done.stderr
    (storage.parent / "other.YAML").rename(storage.parent / "candidates" / "mine.yaml")
    assert "the name of a candidate: mine\n" in _run(storage, "other.YAML").stderr


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the limit of memory is that of Linux")
def test_a_training_without_enough_memory_says_what_to_lower(storage: Path) -> None:
    settings = tiny_settings()
    settings["training"] |= {"batch_size": 60_000, "chunk_seconds": 0.5}
    (storage.parent / "tiny.yaml").write_text(yaml.safe_dump(settings))
    command, environment = _command(storage, "tiny.yaml", "--device", "cpu")
    limit = 8 * 2**30  # a batch takes 21 GB
    done = subprocess.run(
        command,
        env=environment,
        cwd=storage.parent,
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)),
    )
    assert done.returncode == 2, done.stderr
    assert "enough memory" in done.stderr
    assert "training.batch_size" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_stopped_training_leaves_whole_files_only(storage: Path, signum: signal.Signals) -> None:
    settings = tiny_settings()
    settings["training"]["epochs"] = 100_000
    (storage.parent / "tiny.yaml").write_text(yaml.safe_dump(settings))
    command, environment = _command(storage, "tiny.yaml", "--device", "cpu")
    process = subprocess.Popen(
        command, env=environment, cwd=storage.parent, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    while "epoch 2 done" not in process.stdout.readline():
        assert process.poll() is None
    process.send_signal(signum)
    _, errors = process.communicate(timeout=120)  # of 100 000 epochs: it ends because it was told to
    assert process.returncode == 128 + signum
    assert "Traceback" not in errors
    assert signum.name in errors
    folder = storage / "separators/checkpoint/tiny"
    names = {path.name for path in folder.iterdir()}
    assert names >= FILES
    assert not any(name.startswith(PARTIAL) for name in names)
    load_checkpoint(folder / "checkpoint.pt")


def _under_pipes(storage: Path, extras: dict[str, object]) -> tuple[dict[str, str], Path]:
    """What a launcher through Dagster Pipes adds to the environment, and the file that messages arrive in."""
    from dagster_pipes import encode_param

    context = {
        "asset_keys": ["separators/checkpoint"],
        "code_version_by_asset_key": None,
        "provenance_by_asset_key": None,
        "partition_key": None,
        "partition_key_range": None,
        "partition_time_window": None,
        "run_id": "run",
        "job_name": None,
        "retry_number": 0,
        "extras": extras,
    }
    path, messages = storage / "context.json", storage / "messages.jsonl"
    path.write_text(json.dumps(context))
    variables = {"DAGSTER_PIPES_CONTEXT": {"path": str(path)}, "DAGSTER_PIPES_MESSAGES": {"path": str(messages)}}
    return {name: encode_param(value) for name, value in variables.items()}, messages


def test_under_pipes_progress_epochs_and_provenance_go_through(storage: Path) -> None:
    extras = {"fingerprints": {"training_set/loopback": "abc"}, "licences": ["CC BY-NC-SA 4.0"]}
    variables, messages = _under_pipes(storage, dict(extras))
    command, environment = _command(storage, "tiny.yaml", "--device", "cpu")
    subprocess.run(command, env=environment | variables, cwd=storage.parent, check=True)
    lines = [json.loads(line) for line in messages.read_text().splitlines()]
    logs = [line["params"]["message"] for line in lines if line["method"] == "log"]
    assert any("epoch 2 done: training loss" in line for line in logs)
    epochs = [line["params"]["payload"] for line in lines if line["method"] == "report_custom_message"]
    assert [message["epoch"]["epoch"] for message in epochs] == [1, 2]
    assert all(message["curves_png"] for message in epochs)
    checkpoint = load_checkpoint(storage / "separators/checkpoint/tiny/checkpoint.pt")
    assert checkpoint.fingerprints == extras["fingerprints"]
    assert list(checkpoint.licences) == extras["licences"]


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="this system does not tell when another process ends")
def test_a_training_ends_with_the_process_that_launched_it(storage: Path) -> None:
    settings = tiny_settings()
    settings["training"]["epochs"] = 100_000
    (storage.parent / "tiny.yaml").write_text(yaml.safe_dump(settings))
    launcher = subprocess.Popen(
        [sys.executable, "-c", LAUNCHER], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert launcher.stdout is not None
    variables, messages = _under_pipes(storage, {"launcher": json.loads(launcher.stdout.readline())})
    command, environment = _command(storage, "tiny.yaml", "--device", "cpu")
    training = subprocess.Popen(command, env=environment | variables, cwd=storage.parent, stderr=subprocess.PIPE)
    try:
        deadline = time.monotonic() + 60
        while not (messages.is_file() and "epoch 2 done" in messages.read_text()):
            assert training.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)  # until the file says so: messages of Pipes are a file
        launcher.kill()  # and not waited for: a process that nobody has taken leave of is gone all the same
        _, errors = training.communicate(timeout=60)
        assert training.returncode == 128 + signal.SIGTERM
        assert b"stopped by SIGTERM" in errors
    finally:
        training.kill()
        launcher.kill()
        launcher.wait()


def test_a_training_into_a_storage_root_that_somebody_else_writes_to_is_refused(storage: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", OWNER, str(storage)], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "in\n"
        done = _run(storage, "tiny.yaml", "--device", "cpu")
        process.communicate("")
    assert done.returncode == 2
    assert f"another run, process {process.pid}" in done.stderr
    assert not (storage / "separators").exists()
