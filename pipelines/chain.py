"""The whole chain as a sequence of jobs in one process, and the tally of what they did."""

from __future__ import annotations

import logging
import shutil
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import dagster as dg
from dagster._core.instance.ref import InstanceRef
from dagster._core.storage.noop_compute_log_manager import NoOpComputeLogManager
from dagster._core.utils import make_new_run_id
from sqlalchemy.exc import DatabaseError

from assets.lanes import LANES, Lane
from assets.promotion import PROMOTION_CHECK
from data.command import raise_if_stopped
from data.errors import InputError
from data.layout import Layout
from data.ownership import own
from data.preparation import NORMALISED, STEMS, is_prepared, track_jobs
from data.settings import Settings
from pipelines.definitions import build_definitions
from pipelines.instance import end_killed_runs, prepare_home, process_tag
from pipelines.ranges import partition_ranges, range_tags

_HISTORY_REMEDIES = {
    "is locked": "wait until the other run is over, or close the program that holds it; then try again",
    "readonly": "correct its permissions, or choose a storage root that can be written to (ISOLATION_STORAGE)",
    "unable to open": "correct its permissions, or move this folder away (outputs are kept and found again), or choose "
    "a storage root that can be written to (ISOLATION_STORAGE)",
    "is full": "free space, then try again",
}
_LITTLE = 1 << 20  # bytes that a history may need for a step
_HISTORY_REMEDY = (
    "move this folder away and try again: outputs are kept and found again, only the list of earlier runs is new"
)


@dataclass
class Tally:
    """What the jobs did: outputs made, outputs found unchanged, what failed, and checks that warn.

    `champion_stays` says why the best candidate did not become the champion: that is an answer and not a failure.
    """

    made: int = 0
    unchanged: int = 0
    failures: list[str] = field(default_factory=list)
    warnings: int = 0
    champion_stays: str | None = None

    def add(self, event: dg.DagsterEvent) -> None:
        """Count one event of a run."""
        if event.is_step_materialization:
            cached = event.step_materialization_data.materialization.metadata.get("cached")
            if cached is not None and cached.value:
                self.unchanged += 1
            else:
                self.made += 1
        elif event.is_step_failure:
            # A blocking check that failed ends its step too: it is counted where it was evaluated.
            error = event.step_failure_data.error
            if error is None or error.cls_name != "DagsterAssetCheckFailedError":
                self.failures.append(failure_reason(event))
        elif event.event_type_value == "ASSET_CHECK_EVALUATION":
            self._add_check(event.asset_check_evaluation_data)

    def _add_check(self, check: dg.AssetCheckEvaluation) -> None:
        key = check.asset_check_key
        if key == PROMOTION_CHECK:
            # The last one counts: every candidate's evaluation asks again.
            self.champion_stays = None if check.passed else check.description
        elif not check.passed and check.severity == dg.AssetCheckSeverity.WARN:
            self.warnings += 1
        elif not check.passed:
            problems = check.metadata.get("problems")
            about = f"check {key.name} of {key.asset_key.to_user_string()} failed"
            self.failures.append(f"{about}:\n{problems.value}" if problems else about)


class Chain:
    """Runs jobs of the code location one after the other in this process."""

    def __init__(self, definitions: dg.Definitions, instance: dg.DagsterInstance) -> None:
        self._repository = definitions.get_repository_def()
        self.instance = instance
        self.tally = Tally()

    def run(self, job: str, *, partition: str | None = None, partitions: Sequence[str] = ()) -> bool:
        """Run a job, over one partition or a list of them, and count what it did; returns whether all went well.

        Raises `Stopped` where a signal ended the run: Dagster notes that, and returns as if the job had merely failed.
        """
        run_id = make_new_run_id()
        tags = process_tag(run_id) | (range_tags(partitions) if partitions else {})
        try:
            result = self._repository.get_job(job).execute_in_process(
                instance=self.instance,
                partition_key=partition,
                tags=tags,
                run_id=run_id,
                run_config={"loggers": {"console": {}}},  # ours instead of Dagster's own
                raise_on_error=False,
            )
        except KeyboardInterrupt:
            self._end(run_id)  # before or after its steps, where Dagster does not listen
            raise
        for event in result.all_events:
            self.tally.add(event)
        raise_if_stopped()
        return result.success

    def _end(self, run_id: str) -> None:
        run = self.instance.get_run_by_id(run_id)
        if run is not None and not run.is_finished:
            self.instance.report_run_canceled(run, "the command that this run belongs to was stopped")
            self.instance.event_log_storage.free_concurrency_slots_for_run(run_id)

    def prepare(self, lane: Lane, settings: Settings) -> None:
        """Prepare the tracks of a lane that are not prepared yet; all others are only counted.

        A track that is prepared and not in the history is done once more, which is no work: an interrupted run leaves
        such tracks.
        """
        jobs = track_jobs(settings, lane.dataset)
        told = set.intersection(
            *(set(self.instance.get_materialized_partitions(lane.key(step))) for step in (STEMS, NORMALISED))
        )
        wanted = {slug for slug, job in jobs.items() if slug not in told or not is_prepared(job)}
        ranges = partition_ranges(self.instance.get_dynamic_partitions(lane.tracks), wanted)
        self.tally.unchanged += 2 * (len(jobs) - sum(len(partitions) for partitions in ranges))
        for partitions in ranges:
            self.run(f"prepare_{lane.dataset.name}", partitions=partitions)


def run_chain(settings: Settings, candidates: Sequence[str], tally: Tally | None = None) -> Tally:
    """The chain from raw datasets to the report, recorded in the history under the storage root.

    A stage in which tracks failed does not stop the tracks that are well; where nothing is left to go on with, the
    chain ends. Failures stand in the tally. A signal ends the chain too: `Stopped` is raised, and `tally`, where one is
    given, says what was done until then.
    """
    home = prepare_home(settings.root)
    # Dagster warns of its own internals; a person at a terminal can do nothing about it.
    warnings.filterwarnings("ignore", category=dg.PreviewWarning)
    # A signal that comes while a connection to the history is closed would be told with its traceback, and told again.
    logging.getLogger("sqlalchemy.pool").setLevel(logging.CRITICAL)
    with own(settings.root, "make run"), history_refusals(settings.root), _headless_instance(home) as instance:
        end_killed_runs(instance)
        chain = Chain(build_definitions(settings), instance)
        chain.tally = tally or chain.tally
        if not chain.run("ingest"):
            return chain.tally
        for lane in LANES:
            chain.prepare(lane, settings)
        if not chain.run("assemble"):
            return chain.tally
        for name in [name for name in candidates if chain.run("train", partition=name)]:
            chain.run("evaluate", partition=name)
        return chain.tally


def _headless_instance(home: Path) -> dg.DagsterInstance:
    """The instance at `home`, whose runs write to the terminal themselves.

    By default Dagster has four processes for each step copy what it prints to files and back to the terminal; Ctrl-C
    reaches them too, and they answer with tracebacks. What steps say stands in the history all the same.
    """
    manager = {"module": NoOpComputeLogManager.__module__, "class": NoOpComputeLogManager.__name__}
    return dg.DagsterInstance.from_ref(InstanceRef.from_dir(str(home), overrides={"compute_logs": manager}))


@contextmanager
def history_refusals(root: Path) -> Iterator[None]:
    """What SQLite says of the history under a storage root, as bad input: damaged, locked, read-only, a full disk."""
    others = threading.excepthook

    def end_of_thread(ended: threading.ExceptHookArgs) -> None:
        # Dagster's own, which hands on what a training says: the step fails of the same, and is told once.
        if not isinstance(ended.exc_value, DatabaseError):
            others(ended)

    threading.excepthook = end_of_thread
    try:
        yield
    except DatabaseError as error:
        said = str(error.orig or error)
        if "I/O error" in said and _is_full(Layout(root).dagster):
            said = f"{said}; the disk is full"  # what SQLite calls it where its journal has no room
        remedy = next((todo for words, todo in _HISTORY_REMEDIES.items() if words in said), _HISTORY_REMEDY)
        raise InputError(
            "history of runs",
            file=Layout(root).dagster,
            expected="a history that can be read and written",
            found=said,
            remedy=remedy,
        ) from error
    finally:
        threading.excepthook = others


def _is_full(folder: Path) -> bool:
    with suppress(OSError):
        return shutil.disk_usage(folder).free < _LITTLE
    return False


def failure_reason(event: dg.DagsterEvent) -> str:
    """Why a step failed: what was told of it as bad input, or the message of the error that caused it."""
    data = event.step_failure_data
    error = data.error
    while error is not None and error.cls_name != InputError.__name__ and error.cause is not None:
        error = error.cause
    described = data.user_failure_data.description if data.user_failure_data else None
    message = described or (error.message if error else "unknown")
    return f"{event.step_key}: {message.strip()}".replace("data.errors.InputError: ", "")
