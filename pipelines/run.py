"""`python -m pipelines.run`: the whole chain, headless, with whatever sources are configured.

Each stage is a run of the same jobs that the UI shows, recorded in the same history. A stage in which tracks failed
does not stop the tracks that are well; the failures are listed again at the end.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import dagster as dg

from assets.evaluation import LEADERBOARD, LEADERBOARD_FILE
from assets.lanes import LANES
from assets.partitions import TRACKS
from assets.recording import folder_of, markdown_table
from assets.reporting import REPORT, REPORT_FILE
from data.audio import require_program
from data.errors import InputError
from data.settings import load_settings
from data.tables import read_table
from models.candidate import load_candidate
from pipelines.definitions import build_definitions
from pipelines.instance import PROCESS_TAG, end_killed_runs, prepare_home

DEFAULT_CANDIDATES = "toy"
BAD_INPUT = 2
FAILED = 1

_RANGE_START, _RANGE_END = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"


@dataclass
class Tally:
    """What the stages did: outputs made, outputs found unchanged, and what failed."""

    made: int = 0
    unchanged: int = 0
    failures: list[str] = field(default_factory=list)


class Chain:
    """Runs jobs of the code location one after the other in this process."""

    def __init__(self, definitions: dg.Definitions, instance: dg.DagsterInstance) -> None:
        self._repository = definitions.get_repository_def()
        self._instance = instance
        self.tally = Tally()

    def run(self, job: str, *, partition: str | None = None, partitions: Sequence[str] = ()) -> bool:
        """Run a job, over one partition or a list of them, and count what it did; returns whether all went well."""
        tags = {PROCESS_TAG: str(os.getpid())}
        if partitions:
            tags |= {_RANGE_START: partitions[0], _RANGE_END: partitions[-1]}
        result = self._repository.get_job(job).execute_in_process(
            instance=self._instance, partition_key=partition, tags=tags, raise_on_error=False
        )
        for event in result.all_events:
            if event.is_step_materialization:
                cached = event.step_materialization_data.materialization.metadata.get("cached")
                self.tally.unchanged += bool(cached and cached.value)
                self.tally.made += not (cached and cached.value)
            elif event.is_step_failure:
                self.tally.failures.append(_reason(event))
            elif event.event_type_value == "ASSET_CHECK_EVALUATION" and not event.asset_check_evaluation_data.passed:
                check = event.asset_check_evaluation_data
                problems = check.metadata.get("problems")
                self.tally.failures.append(
                    f"check {check.check_name} of {check.asset_key.to_user_string()} failed:\n"
                    f"{problems.value if problems else ''}"
                )
        return result.success


def run_chain(chain: Chain, instance: dg.DagsterInstance, candidates: Sequence[str]) -> None:
    """The chain from raw datasets to the report. Stops where nothing is left to go on with."""
    if not chain.run("ingest"):
        return
    for lane in LANES:
        name = lane.dataset.name
        tracks = instance.get_dynamic_partitions(TRACKS[name].name or "")
        if tracks:
            chain.run(f"prepare_{name}", partitions=tracks)
    if not chain.run("assemble"):
        return
    trained = [name for name in candidates if chain.run("train", partition=name)]
    for name in trained:
        chain.run("evaluate", partition=name)


def main(arguments: Iterable[str] | None = None) -> int:
    """Run the chain as the command line says; returns 0, 1 where something failed, 2 for bad input."""
    parser = argparse.ArgumentParser(prog="python -m pipelines.run", description="Run the whole chain.")
    parser.add_argument(
        "--candidates",
        default=DEFAULT_CANDIDATES,
        metavar="A,B",
        help="candidates to train and evaluate, separated by commas (default: %(default)s)",
    )
    options = parser.parse_args(None if arguments is None else list(arguments))
    try:
        settings = load_settings()
        candidates = [load_candidate(name.strip()).name for name in options.candidates.split(",") if name.strip()]
        for program in ("ffmpeg", "ffprobe"):
            require_program(program)
        prepare_home(settings.root)
        with dg.DagsterInstance.get() as instance:
            end_killed_runs(instance)
            chain = Chain(build_definitions(settings), instance)
            run_chain(chain, instance, candidates)
    except InputError as error:
        sys.stderr.write(f"{error}\n")
        return BAD_INPUT
    return _conclude(chain.tally, settings.root)


def _conclude(tally: Tally, root: Path) -> int:
    board, report = folder_of(root, LEADERBOARD) / LEADERBOARD_FILE, folder_of(root, REPORT) / REPORT_FILE
    if tally.failures:
        sys.stderr.write("\n" + "\n\n".join(tally.failures) + "\n")
    if board.is_file():
        print("\n" + score_table(board))
    if not tally.made and not tally.failures:
        print(f"\nNothing to do: all {tally.unchanged} outputs are up to date.")
    else:
        print(f"\n{tally.made} outputs made, {tally.unchanged} unchanged, {len(tally.failures)} failures.")
    if report.is_file():
        print(f"Report: {report}")
    return FAILED if tally.failures else 0


def score_table(board: Path) -> str:
    """This project's own rows of the leaderboard as text."""
    return markdown_table(read_table(board))


def _reason(event: dg.DagsterEvent) -> str:
    """Why a step failed: the message of the error that caused it, without the frames around it."""
    error = event.step_failure_data.error
    while error is not None and error.cause is not None:
        error = error.cause
    failure = event.step_failure_data.user_failure_data
    message = (failure.description if failure else None) or (error.message if error else "unknown")
    return f"{event.step_key}: {message.strip()}".replace("data.errors.InputError: ", "")


if __name__ == "__main__":
    sys.exit(main())
