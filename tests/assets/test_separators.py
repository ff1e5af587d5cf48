"""The checkpoint asset: a killed training goes on, and earlier checkpoints are kept."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import dagster as dg
import pytest
import torch
from training_root import write_candidate, write_training_root

from assets.launcher import LocalLauncher
from assets.partitions import CANDIDATES
from assets.separators import checkpoint
from benchmarks.processes import descendants
from data import cache
from data.heard import HEARD
from data.layout import Layout
from data.loopback import PAIRS
from data.settings import Settings
from models.checkpoint import load_checkpoint
from pipelines.chain import failure_reason

NAME = "toy"  # the partition of a candidate that ships; its file is the test's own


class Root:
    """A storage root with a training set, and the candidate's file beside it."""

    def __init__(self, folder: Path) -> None:
        self.storage = write_training_root(folder / "storage")
        self.candidates = folder / "candidates"
        self.configure()

    def configure(self, **training: object) -> None:
        write_candidate(self.candidates, NAME, **training)

    def materialise(self, raise_on_error: bool = True, **settings: object) -> dg.ExecuteInProcessResult:
        chosen = {"storage": self.storage, "candidates": self.candidates, "device": "cpu", **settings}
        return dg.materialize(
            [checkpoint],
            partition_key=NAME,
            resources={"settings": Settings(**chosen), "launcher": LocalLauncher()},
            instance=self.instance,
            raise_on_error=raise_on_error,
        )

    @property
    def folder(self) -> Path:
        return self.storage / "separators" / "checkpoint" / NAME

    @property
    def earlier(self) -> set[str]:
        return {path.name for path in (self.storage / "separators" / "earlier" / NAME).glob("*")}

    instance: dg.DagsterInstance


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Root]:
    assert NAME in CANDIDATES.get_partition_keys()
    with dg.DagsterInstance.ephemeral() as instance:
        made = Root(tmp_path)
        made.instance = instance
        yield made


def _metadata(result: dg.ExecuteInProcessResult) -> dict[str, object]:
    (event,) = result.get_asset_materialization_events()
    return {name: value.value for name, value in event.materialization.metadata.items()}


def _told(result: dg.ExecuteInProcessResult) -> str:
    (event,) = [event for event in result.all_events if event.is_step_failure]
    return failure_reason(event)


def test_a_training_that_fails_ends_the_run_with_its_own_words(root: Root, capfd: pytest.CaptureFixture[str]) -> None:
    vocals = root.storage / "demo/normalised/song-0/vocals.wav"
    vocals.write_text("no audio")
    told = _told(root.materialise(raise_on_error=False))
    assert str(vocals) in told
    assert "expected:" in told
    assert "to do:" in told
    assert "code 2" not in told
    assert str(vocals) not in capfd.readouterr().out  # told once, by whoever started the training


def test_a_checkpoint_knows_its_data_and_its_run_has_a_name(root: Root) -> None:
    metadata = _metadata(root.materialise())
    assert str(metadata["run"]).startswith(f"{NAME}-20")
    kept = load_checkpoint(root.folder / "checkpoint.pt")
    assert kept.licences == ("CC BY 4.0",)
    pairs = PAIRS.read(Layout(root.storage).loopback)
    assert kept.fingerprints == {"loopback": PAIRS.version(pairs)}
    assert list(HEARD.read(root.folder)["track_id"]) == sorted(pairs["track_id"])
    assert not (root.storage / "separators" / "unfinished" / NAME).exists()
    assert not (root.folder / "state.pt").exists()


def test_a_training_killed_by_the_system_goes_on_when_it_is_materialised_again(root: Root, tmp_path: Path) -> None:
    root.configure(epochs=6, steps_per_epoch=10)
    whole = Root(tmp_path / "whole")
    whole.instance = root.instance
    whole.configure(epochs=6, steps_per_epoch=10)
    whole.materialise()

    killer = threading.Thread(target=_kill_training, args=(root.storage,))
    killer.start()
    result = root.materialise(raise_on_error=False)
    killer.join()
    assert not result.success
    assert "killed by signal 9 (SIGKILL)" in _told(result)
    assert "training.batch_size" in _told(result)
    assert not root.folder.exists()
    (unfinished,) = (root.storage / "separators" / "unfinished" / NAME).iterdir()
    assert torch.load(unfinished / "state.pt", weights_only=True)["progressed"]["step"] >= 20

    metadata = _metadata(root.materialise())
    assert metadata["epochs"] == 6
    assert (root.folder / "checkpoint.pt").read_bytes() == (whole.folder / "checkpoint.pt").read_bytes()
    assert not unfinished.exists()


def test_earlier_checkpoints_are_kept_under_their_fingerprints_up_to_a_number(root: Root) -> None:
    fingerprints = []
    for rate in (0.01, 0.02, 0.03, 0.04):
        root.configure(learning_rate=rate)
        root.materialise(earlier_checkpoints=2)
        record = cache.recall(root.folder)
        assert record is not None
        fingerprints.append(record.fingerprint[:16])
    assert root.earlier == set(fingerprints[1:3])
    for name in root.earlier:
        folder = root.storage / "separators" / "earlier" / NAME / name
        assert cache.recall(folder) is not None
        load_checkpoint(folder / "checkpoint.pt")


def test_going_back_to_earlier_settings_trains_nothing(root: Root) -> None:
    root.materialise()
    first = (root.folder / "checkpoint.pt").read_bytes()
    root.configure(learning_rate=0.02)
    root.materialise()
    assert (root.folder / "checkpoint.pt").read_bytes() != first
    root.configure()
    before = time.time_ns()
    metadata = _metadata(root.materialise())
    assert metadata["cached"] is False
    assert (root.folder / "checkpoint.pt").read_bytes() == first
    assert (root.folder / "checkpoint.pt").stat().st_mtime_ns < before
    assert cache.recall(root.folder) is not None


def test_no_earlier_checkpoint_is_kept_where_none_is_wanted(root: Root) -> None:
    root.materialise()
    root.configure(learning_rate=0.02)
    root.materialise(earlier_checkpoints=0)
    assert root.earlier == set()


def test_several_processes_train_a_checkpoint_together(root: Root) -> None:
    metadata = _metadata(root.materialise(training_processes=2))
    assert metadata["epochs"] == 2
    load_checkpoint(root.folder / "checkpoint.pt")


def _kill_training(storage: Path) -> None:
    """Kill the training processes below this one, once two epochs are done."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        for state in storage.glob(f"separators/unfinished/{NAME}/*/state.pt"):
            if torch.load(state, weights_only=True)["progressed"]["step"] >= 20:
                for process in descendants(os.getpid())[1:]:
                    with suppress(ProcessLookupError, FileNotFoundError):  # ended with its parent
                        # Not all that descend from here: other tests of this process left helpers that they share.
                        if b"models.train" in Path(f"/proc/{process}/cmdline").read_bytes():
                            os.kill(process, signal.SIGKILL)
                return
        time.sleep(0.005)  # until the file says so: the training tells nobody else of its steps
