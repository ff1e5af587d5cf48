"""Two that want to write to one storage root: the chain, a run of Dagster's own, and the scripts."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
import pytest
from pipelines_site import PROJECT, Site
from small_datasets import write_hq_dataset

from data.layout import Layout
from data.settings import Settings
from pipelines import run, splits
from pipelines.chain import Chain
from pipelines.definitions import build_definitions
from pipelines.instance import PROCESS_TAG

OWNER = """
import sys
from pathlib import Path
from data.ownership import own
with own(Path(sys.argv[1]), sys.argv[2], together=sys.argv[3] == "together"):
    print("in", flush=True)
    sys.stdin.read()
"""


@contextmanager
def owner(root: Path, what: str, how: str) -> Iterator[int]:
    """Another process that owns the storage root; yields its number."""
    command = [sys.executable, "-c", OWNER, str(root), what, how]
    process = subprocess.Popen(command, cwd=PROJECT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "in\n"
        yield process.pid
    finally:
        process.kill()
        process.communicate()


class SmallSite(Site):
    """Three short tracks of MUSDB18-HQ, and nothing else."""

    @property
    def environment(self) -> dict[str, str]:
        return super().environment | {"ISOLATION_MEDLEYDB": "off"}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    folder = tmp_path_factory.mktemp("site")
    write_hq_dataset(folder / "musdb18", train=2, test=1, seconds=0.5)
    return SmallSite(folder)


def settings(site: Site) -> Settings:
    return Settings(storage=site.storage, musdb18=str(site.folder / "musdb18"), medleydb="off", own="off")


def test_of_two_chains_at_once_one_works_and_the_other_is_told(site: Site) -> None:
    command = [sys.executable, "-m", "pipelines.run", "--candidates", ""]
    both = [
        subprocess.Popen(
            command, cwd=PROJECT, env=site.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    ends = sorted((process.communicate(timeout=300), process.returncode) for process in both)
    codes = sorted(code for _, code in ends)
    if codes == [0, 0]:
        pytest.skip("the first was over before the second began")
    assert codes == [0, 2], ends
    ((_, told),) = [output for output, code in ends if code == 2]
    assert "another run, process " in told
    assert "Traceback" not in told
    assert len(list((site.storage / "musdb18" / "normalised").iterdir())) == 3
    assert not list(site.storage.rglob(".partial-*"))


def test_beside_runs_of_dagster_the_chain_and_the_scripts_are_refused_and_reading_is_not(
    site: Site, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in site.environment.items():
        monkeypatch.setenv(name, value)
    with owner(site.storage, "run 1234 of train", "together") as process:
        for refused in (lambda: run.main(["--candidates", ""]), lambda: splits.main(["redraw", "--yes"])):
            assert refused() == 2
            assert f"another run, process {process} on host " in (told := capsys.readouterr().err)
            assert "(run 1234 of train)" in told
        assert splits.main(["redraw"]) == 1  # only shown
        assert splits.main(["show"]) == 0
    # Killed by now, and taken over.
    assert splits.main(["redraw", "--yes"]) == 0


def test_beside_the_chain_a_run_of_dagster_fails_at_its_start_with_one_message(site: Site) -> None:
    with dg.instance_for_test() as instance, owner(site.storage, "make run", "alone") as process:
        definitions = build_definitions(settings(site))
        job = definitions.get_repository_def().get_job("ingest")
        result = job.execute_in_process(instance=instance, raise_on_error=False)
        assert not result.success
        events = [entry.dagster_event for entry in instance.all_logs(result.run_id) if entry.dagster_event]
        (failure,) = [event for event in events if event.is_run_failure]
        error = failure.job_failure_data.error
        assert error is not None
        assert f"another run, process {process}" in error.message
        assert (error.stack, error.cause) == ([], None)
        assert not any(event.is_step_event for event in events)


def test_runs_of_dagster_go_side_by_side_and_leave_their_process_behind(site: Site) -> None:
    with dg.instance_for_test() as instance, owner(site.storage, "another run", "together"):
        chain = Chain(build_definitions(settings(site)), instance)
        assert chain.run("ingest"), chain.tally.failures
        job = build_definitions(settings(site)).get_repository_def().get_job("ingest")
        result = job.execute_in_process(instance=instance)
        for each in instance.get_runs():
            assert f'"pid": {os.getpid()}' in each.tags[PROCESS_TAG]
            assert each.run_id in each.tags[PROCESS_TAG]
        assert result.success
        assert len(list(Layout(site.storage).owners.glob("*.json"))) == 1


def test_a_schedule_looks_while_the_chain_works(site: Site) -> None:
    definitions = build_definitions(settings(site))
    repository = definitions.get_repository_def()
    with dg.instance_for_test() as instance, owner(site.storage, "make run", "alone"):
        with dg.build_schedule_context(
            instance=instance, repository_def=repository, resources=definitions.resources
        ) as context:
            data = repository.get_schedule_def("retrain").evaluate_tick(context)
        assert "no candidate has been trained" in (data.skip_message or "")
