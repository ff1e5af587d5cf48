"""Work on many tracks at once: what an engine must be able to do, and the one for the cores of this machine.

Another engine (processes, a cluster) takes its place by having the same method; functions and jobs can be pickled.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Executor, ThreadPoolExecutor, wait
from itertools import islice
from typing import Protocol, TypeVar

J = TypeVar("J")
R = TypeVar("R")


class Engine(Protocol):
    """Spreads one function over many jobs."""

    def as_completed(self, function: Callable[[J], R], jobs: Iterable[J]) -> Iterator[R]:
        """Yield `function(job)` of every job, in the order in which they end. What it raises ends the rest."""
        ...


class ExecutorEngine:
    """An engine on any `concurrent.futures` executor; no more jobs are under way than it has workers.

    Threads suffice by default: decoding, resampling, hashing and reading release Python's lock, and ffmpeg is a process
    of its own.
    """

    def __init__(self, workers: int | None = None, executor: Callable[[int], Executor] = ThreadPoolExecutor) -> None:
        self.workers = workers or cores()
        self._executor = executor

    def as_completed(self, function: Callable[[J], R], jobs: Iterable[J]) -> Iterator[R]:
        waiting = iter(jobs)
        with self._executor(self.workers) as pool:
            # Handing over all jobs at once would hold all their results until they are asked for.
            running = {pool.submit(function, job) for job in islice(waiting, self.workers)}
            try:
                while running:
                    done, running = wait(running, return_when=FIRST_COMPLETED)
                    for future in done:
                        yield future.result()
                        running |= {pool.submit(function, job) for job in islice(waiting, 1)}
            finally:
                for future in running:
                    future.cancel()


def cores() -> int:
    """Processors that this process may use, which in a container can be fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
