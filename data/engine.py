"""Work on many tracks at once: what an engine must be able to do, and the one for the cores of this machine.

Another engine (processes, a cluster) takes its place by having the same method; functions and jobs can be pickled.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, ThreadPoolExecutor, wait
from itertools import islice
from typing import Any, Protocol, TypeVar

J = TypeVar("J")
R = TypeVar("R")


class Engine(Protocol):
    """Spreads one function over many jobs."""

    def as_completed(self, function: Callable[[J], R], jobs: Iterable[J]) -> Iterator[R]:
        """Yield `function(job)` of every job, in the order in which they end. What it raises ends the rest.

        Raises `WorkersLost`, after all others are done, where jobs ended the processes that did them.
        """
        ...


class WorkersLost(Exception):
    """Jobs whose process was killed, most often because memory did not suffice; each was tried alone as well."""

    def __init__(self, jobs: Sequence[Any]) -> None:
        super().__init__(f"the process of {len(jobs)} jobs was killed: {', '.join(map(str, jobs))}")
        self.jobs = list(jobs)


class ExecutorEngine:
    """An engine on any `concurrent.futures` executor; no more jobs are under way than it has workers.

    Threads suffice by default: decoding, resampling, hashing and reading release Python's lock, and ffmpeg is a process
    of its own.
    """

    def __init__(self, workers: int | None = None, executor: Callable[[int], Executor] = ThreadPoolExecutor) -> None:
        self.workers = workers or cores()
        self._executor = executor

    def as_completed(self, function: Callable[[J], R], jobs: Iterable[J]) -> Iterator[R]:
        waiting, lost = iter(jobs), list[J]()
        while suspects := (yield from self._until_a_worker_is_lost(function, waiting, self.workers)):
            for job in suspects:
                # Which of them it was does not show: each alone, in a process of its own.
                lost += yield from self._until_a_worker_is_lost(function, iter([job]), 1)
        if lost:
            raise WorkersLost(lost)

    def _until_a_worker_is_lost(
        self, function: Callable[[J], R], waiting: Iterator[J], workers: int
    ) -> Generator[R, None, list[J]]:
        """Yield results as `as_completed` does; returns the jobs that were under way when the executor broke, if so."""
        with self._executor(workers) as pool:
            # Handing over all jobs at once would hold all their results until they are asked for.
            running: dict[Future[R], J] = {}
            refused: list[J] = []

            def start(count: int) -> None:
                for job in islice(waiting, count):
                    refused.append(job)
                    running[pool.submit(function, job)] = refused.pop()

            try:
                start(workers)
                while running:
                    for future in wait(running, return_when=FIRST_COMPLETED).done:
                        result = future.result()
                        del running[future]
                        yield result
                        start(1)
                return []
            except BrokenExecutor:
                return [*running.values(), *refused]
            finally:
                for future in running:
                    future.cancel()


def cores() -> int:
    """Processors that this process may use, which in a container can be fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
