from __future__ import annotations

import os
import pickle
import signal
import threading
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest
from small_datasets import write_hq_dataset

from data.datasets.musdb18 import Musdb18
from data.engine import ExecutorEngine, WorkersLost
from data.layout import Layout
from data.preparation import is_prepared, prepare_track, track_jobs
from data.settings import Settings
from data.sources import INDEX, build_index


def test_every_job_is_done_once() -> None:
    assert sorted(ExecutorEngine(3).as_completed(lambda job: job * job, range(20))) == [n * n for n in range(20)]


def test_no_more_jobs_are_taken_than_there_are_workers() -> None:
    taken = 0

    def jobs() -> object:
        nonlocal taken
        for number in range(10):
            taken += 1
            yield number

    gate = threading.Semaphore(0)
    results = ExecutorEngine(2).as_completed(lambda job: (gate.acquire(), job)[1], jobs())
    gate.release()
    next(results)
    assert taken <= 3  # two under way, and the one that took the place of the first
    gate.release(20)
    assert len(list(results)) == 9
    assert taken == 10


def test_an_error_ends_the_rest() -> None:
    done: list[int] = []

    def work(job: int) -> None:
        if job == 3:
            raise ValueError("three")
        done.append(job)

    with pytest.raises(ValueError, match="three"):
        list(ExecutorEngine(1).as_completed(work, range(100)))
    assert done == [0, 1, 2]


def _halve_or_die(job: int) -> float:
    if job == 5:
        os.kill(os.getpid(), signal.SIGKILL)  # as the system does where memory runs out
    return job / 2


def test_a_job_whose_process_is_killed_is_named_after_all_others_are_done() -> None:
    engine = ExecutorEngine(2, lambda workers: ProcessPoolExecutor(workers, mp_context=get_context("spawn")))
    done: list[float] = []
    with pytest.raises(WorkersLost) as lost:
        done.extend(engine.as_completed(_halve_or_die, range(9)))
    assert lost.value.jobs == [5]
    assert sorted(done) == [number / 2 for number in range(9) if number != 5]


def test_another_engine_can_prepare_tracks(tmp_path: Path) -> None:
    """Processes instead of threads: jobs and results are pickled, as a cluster would."""
    write_hq_dataset(tmp_path / "musdb18", train=3, test=1, seconds=0.5)
    bad = tmp_path / "musdb18" / "train" / "Artist 1 - Song 1" / "vocals.wav"
    bad.write_text("no audio")
    settings = Settings(storage=tmp_path / "storage", musdb18=str(tmp_path / "musdb18"))
    frame = build_index(Musdb18(), settings, lambda _: None, ExecutorEngine())
    INDEX.write(Layout(settings.root).index("musdb18"), frame)
    jobs = track_jobs(settings, Musdb18())
    engine = ExecutorEngine(2, lambda workers: ProcessPoolExecutor(workers, mp_context=get_context("spawn")))
    results = {result.slug: result for result in engine.as_completed(prepare_track, jobs.values())}
    problem = results.pop("artist-1-song-1").problem
    assert problem is not None
    assert problem.file == str(bad)
    assert all(set(result.steps) == {"stems", "normalised"} for result in results.values())
    assert {slug for slug, job in jobs.items() if is_prepared(job)} == set(results)
    assert pickle.loads(pickle.dumps(problem)).found == problem.found
