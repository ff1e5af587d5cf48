"""What the daemon does by itself, with the real daemon, queue and code server: backfills and the weekly schedule."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
import pytest
import yaml
from dagster._core.execution.stats import StepEventStatus
from dagster._core.scheduler.instigation import InstigatorTick, ScheduleInstigatorData, TickStatus
from pipelines_site import CANDIDATES, PROJECT, Site

from data import cache

PROGRAMS = Path(sys.executable).parent
PATIENCE_S = 240


class Workplace:
    """A finished site of its own with three candidates, of which only `tiny` has been trained, and its daemon."""

    def __init__(self, folder: Path, finished: Site) -> None:
        self.storage, self.candidates, self._finished = folder / "storage", folder / "candidates", finished
        shutil.copytree(finished.storage, self.storage)
        shutil.copytree(CANDIDATES, self.candidates)
        for seed, name in enumerate(("first", "second"), start=1):
            self.change(name, seed=seed)

    @property
    def environment(self) -> dict[str, str]:
        changes = {"STORAGE": self.storage, "CANDIDATES": self.candidates}
        return self._finished.environment | {
            "DAGSTER_HOME": str(self.storage / "dagster"),
            **{f"ISOLATION_{name}": str(value) for name, value in changes.items()},
        }

    def change(self, name: str, **training: object) -> None:
        """Write a candidate: tiny with other training settings."""
        settings = yaml.safe_load((CANDIDATES / "tiny.yaml").read_text())
        settings["training"] |= training
        (self.candidates / f"{name}.yaml").write_text(yaml.safe_dump(settings))

    def trained(self, name: str) -> str:
        """The fingerprint of a candidate's training."""
        record = cache.recall(self.storage / "separators" / "checkpoint" / name)
        assert record is not None
        return record.fingerprint

    def instance(self) -> dg.DagsterInstance:
        return dg.DagsterInstance.from_config(str(self.storage / "dagster"))

    def run(self, program: str, *arguments: str) -> None:
        """Run a program of the virtual environment as a user would."""
        command = [str(PROGRAMS / program), *arguments]
        done = subprocess.run(command, cwd=PROJECT, env=self.environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr

    @contextmanager
    def daemon(self) -> Iterator[Callable[[Callable[[], bool]], None]]:
        """The daemon, running until the block ends; yields a function that waits for something to become true."""
        command = [str(PROGRAMS / "dagster-daemon"), "run", "-w", "workspace.yaml"]
        log = self.storage.parent / "daemon.log"
        with log.open("ab") as output:
            process = subprocess.Popen(
                command, cwd=PROJECT, env=self.environment, stdout=output, stderr=subprocess.STDOUT
            )

        def wait_until(happened: Callable[[], bool]) -> None:
            ends = time.monotonic() + PATIENCE_S
            while not happened():
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < ends, log.read_text()
                time.sleep(0.2)  # until it is so: the daemon's history is asked, it does not call

        try:
            yield wait_until
        finally:
            process.terminate()
            process.wait(timeout=60)


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory, finished: Site) -> Workplace:
    return Workplace(tmp_path_factory.mktemp("daemon"), finished)


def test_a_backfill_trains_its_candidates_one_at_a_time(workplace: Workplace) -> None:
    documented = "dagster job backfill -w workspace.yaml -j train --partitions"
    assert documented in (PROJECT / "README.md").read_text()
    command = [*documented.split(), "first,second", "--noprompt"]
    workplace.run(*command)
    with workplace.instance() as instance:
        wanted = dg.RunsFilter(job_name="train", tags={"dagster/partition": ["first", "second"]})
        with workplace.daemon() as wait_until:
            wait_until(lambda: [run.is_finished for run in instance.get_runs(wanted)] == [True, True])
        spans = []
        for run in instance.get_runs(wanted):
            assert run.status is dg.DagsterRunStatus.SUCCESS
            (step,) = instance.get_run_step_stats(run.run_id)
            spans.append((step.start_time, step.end_time))
        (_, end), (start, _) = sorted(spans)
        assert end <= start
    assert workplace.trained("first") != workplace.trained("second")


def test_the_weekly_schedule_skips_with_a_reason_and_retrains_what_changed(workplace: Workplace) -> None:
    before, champion = workplace.trained("tiny"), workplace.storage / "evaluation" / "champion" / "checkpoint.pt"
    promoted = champion.read_bytes()
    workplace.run("dagster", "schedule", "start", "-w", "workspace.yaml", "retrain")
    with workplace.instance() as instance:
        tick = tick_of_this_week(workplace, instance)
        assert tick.status is TickStatus.SKIPPED
        assert "nothing has changed since the last training" in (tick.skip_reason or "")
        assert "tiny" in (tick.skip_reason or "")

        workplace.change("tiny", seed=7)
        tick = tick_of_this_week(workplace, instance)
        assert tick.status is TickStatus.SUCCESS
        (run,) = instance.get_runs(dg.RunsFilter(run_ids=list(tick.run_ids)))
        assert (run.job_name, run.tags["dagster/partition"]) == ("retrain", "tiny")
        assert run.tags["isolation/why"] == "training.seed 0 -> 7"
        assert workplace.trained("tiny") != before
        # Two validation tracks prove nothing: the champion stays, and that is all that did not succeed.
        steps = {step.step_key: step.status for step in instance.get_run_step_stats(run.run_id)}
        failed = [key for key, status in steps.items() if status is not StepEventStatus.SUCCESS]
        assert failed == ["evaluation__challenger_better_than_the_champion"]
        assert "evaluation__report" in steps
        assert champion.read_bytes() == promoted


def tick_of_this_week(workplace: Workplace, instance: dg.DagsterInstance) -> InstigatorTick:
    """The latest Monday's tick, evaluated by the daemon as if it had not been yet, when its runs have ended."""
    (state,) = [state for state in instance.all_instigator_state() if state.name == "retrain"]
    about = state.instigator_origin_id, state.selector_id
    assert isinstance(state.instigator_data, ScheduleInstigatorData)
    week_ago = ScheduleInstigatorData(state.instigator_data.cron_schedule, time.time() - 7 * 24 * 3600)
    instance.purge_ticks(*about, before=time.time())
    instance.update_instigator_state(state.with_data(week_ago))

    def finished() -> bool:
        ticks = instance.get_ticks(*about, limit=1)
        if not ticks or ticks[0].status is TickStatus.STARTED:
            return False
        runs = [instance.get_run_by_id(run) for run in ticks[0].run_ids]
        return all(run is not None and run.is_finished for run in runs)

    with workplace.daemon() as wait_until:
        wait_until(finished)
    return instance.get_ticks(*about, limit=1)[0]
