"""Ctrl-C, SIGTERM, SIGKILL and a closed terminal end the chain, and the next run goes on from there."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import dagster as dg
import pytest
from interface import lives, wait_until
from pipelines_site import CANDIDATES, PROJECT, Site, build_site
from small_datasets import write_hq_track
from training_root import write_candidate

from benchmarks.processes import descendants
from data.layout import Layout
from data.tables import read_table
from pipelines.instance import prepare_home

TRACKS = 8


@dataclass(frozen=True)
class OwnSite(Site):
    """A user's own stems alone, and candidates of the test's own."""

    more: dict[str, str] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        settings = {
            "STORAGE": self.storage,
            "OWN": self.folder / "own",
            "MUSDB18": "off",
            "MEDLEYDB": "off",
            "CANDIDATES": self.folder / "candidates",
            "DEVICE": "cpu",
            "WORKERS": 1,
        }
        inherited = {
            name: value for name, value in os.environ.items() if not name.startswith(("ISOLATION_", "DAGSTER_"))
        }
        return inherited | {f"ISOLATION_{name}": str(value) for name, value in settings.items()} | self.more

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start the chain as a terminal would, as a group of processes of its own."""
        return subprocess.Popen(
            [sys.executable, "-u", "-m", "pipelines.run", *arguments],
            cwd=PROJECT,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            # Where the tests themselves run in the background, Ctrl-C is ignored.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )


@pytest.fixture
def site(tmp_path: Path) -> OwnSite:
    for number in range(TRACKS):
        write_hq_track(tmp_path / "own" / f"Artist {number} - Song {number}", seed=number)
    (tmp_path / "candidates").mkdir()
    shutil.copyfile(CANDIDATES / "tiny.yaml", tmp_path / "candidates" / "tiny.yaml")
    return OwnSite(tmp_path)


def _read_until(process: subprocess.Popen[str], words: str) -> None:
    assert process.stdout is not None
    seen = []
    for line in process.stdout:
        seen.append(line)
        if words in line:
            return
    process.wait(timeout=60)
    assert process.stderr is not None
    raise AssertionError(f"{words} was never said: {''.join(seen)}\n{process.stderr.read()}")


def _ended(process: subprocess.Popen[str]) -> tuple[str, str]:
    try:
        return process.communicate(timeout=60)
    finally:
        process.kill()


def _statuses(site: Site) -> dict[str, set[str]]:
    """The statuses of all runs in the history, by job."""
    prepare_home(site.storage)
    found: dict[str, set[str]] = {}
    with dg.DagsterInstance.get() as instance:
        for run in instance.get_runs():
            found.setdefault(run.job_name, set()).add(run.status.value)
    return found


def _outputs(storage: Path) -> set[str]:
    hidden = (".dagster", "dagster", "history")
    files = (path.relative_to(storage) for path in storage.rglob("*") if path.is_file())
    return {str(path) for path in files if path.parts[0] not in hidden}


@pytest.mark.parametrize(
    ("signum", "whole_group"),
    [(signal.SIGINT, True), (signal.SIGTERM, False), (signal.SIGHUP, False)],
)
def test_a_chain_that_is_stopped_while_it_prepares_trains_nothing_and_the_next_one_goes_on(
    site: OwnSite, signum: signal.Signals, whole_group: bool
) -> None:
    process = site.start("--candidates", "tiny")
    _read_until(process, f"1 of {TRACKS} tracks")
    if whole_group:
        os.killpg(process.pid, signum)
    else:
        os.kill(process.pid, signum)
    printed, errors = _ended(process)
    assert process.returncode == 128 + signum
    assert "Traceback" not in printed + errors
    assert f"stopped by {signum.name}; " in errors
    assert "outputs made" in errors
    assert "goes on from there" in errors
    layout = Layout(site.storage)
    assert not layout.loopback.exists()
    assert not layout.checkpoint("tiny").exists()
    assert not any(path.name.startswith(".partial") for path in site.storage.rglob("*"))
    assert _statuses(site) == {"ingest": {"SUCCESS"}, "prepare_own": {"FAILURE"}}

    if signum == signal.SIGINT:
        done = site.run("--candidates", "tiny")
        assert done.returncode == 0, done.stderr
        prepare_home(site.storage)
        with dg.DagsterInstance.get() as instance:
            for step in ("stems", "normalised"):
                assert len(instance.get_materialized_partitions(dg.AssetKey(["own", step]))) == TRACKS
        again = site.run("--candidates", "tiny")
        assert "Nothing to do" in again.stdout


def test_a_chain_that_is_stopped_in_its_first_training_ends_it_and_starts_no_second_one(site: OwnSite) -> None:
    candidates = site.folder / "candidates"
    write_candidate(candidates, "long", epochs=100_000, steps_per_epoch=4)
    process = site.start("--candidates", "long,tiny")
    _read_until(process, "epoch 2 done")
    training = descendants(process.pid)[1:]
    assert training
    # As a terminal does, and by somebody who is impatient.
    os.killpg(process.pid, signal.SIGINT)
    os.killpg(process.pid, signal.SIGINT)
    printed, errors = _ended(process)
    assert process.returncode == 128 + signal.SIGINT
    assert "Traceback" not in printed + errors
    assert errors.count("stopped by SIGINT") == 1
    layout = Layout(site.storage)
    assert not layout.checkpoint("tiny").exists()
    assert not layout.champion.exists()
    assert (next(layout.unfinished("long").iterdir()) / "checkpoint.pt").is_file()
    wait_until(lambda: not any(lives(each) for each in training))  # the last to end are helpers of Python's own
    assert _statuses(site)["train"] == {"FAILURE"}


def test_a_killed_run_leaves_nothing_that_the_next_one_trusts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SIGKILL in the middle of preparing tracks; the next run finishes with whole files only."""
    site = build_site(tmp_path)
    command = [sys.executable, "-u", "-m", "pipelines.run", "--candidates", "tiny"]
    process = subprocess.Popen(command, cwd=PROJECT, env=site.environment, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for line in process.stdout:
        if "tracks, 0 unchanged" in line:
            os.kill(process.pid, signal.SIGKILL)
            break
    process.wait(timeout=30)
    process.stdout.close()
    assert process.returncode == -signal.SIGKILL
    # Either dataset may be off.
    environment = site.environment | {"ISOLATION_MEDLEYDB": "off"}
    monkeypatch.setattr(Site, "environment", property(lambda _: environment))
    done = site.run("--candidates", "tiny")
    assert done.returncode == 0, done.stderr
    assert not any(path.name.startswith(".partial") for path in site.storage.rglob("*"))
    assert set(read_table(site.storage / "training_set/manifest/manifest.parquet")["dataset"]) == {"musdb18"}
