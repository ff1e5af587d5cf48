"""Processes that a benchmark starts: who descends from whom, and how much memory each of them ever took."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def descendants(process: int) -> list[int]:
    """The process and all that descend from it."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            parents.setdefault(int(fields[1]), []).append(int(entry.name))
    found = [process]
    for parent in found:
        found += parents.get(parent, [])
    return found


def peak_megabytes(process: int) -> float:
    """The most memory a running process ever held since its program started; 0 for one that has ended.

    Not `ru_maxrss`, in which a child's memory is at least that of the parent it was forked from.
    """
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM")), 0.0)


@contextmanager
def children_watched(process: int) -> Iterator[list[float]]:
    """Look at the children of a process a hundred times a second; the list's last value is their largest peak, MB."""
    peaks, done = [0.0], threading.Event()

    def watch() -> None:
        while not done.wait(0.01):
            peaks.append(max([peaks[-1], *(peak_megabytes(child) for child in descendants(process)[1:])]))

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield peaks
    finally:
        done.set()
        thread.join()
