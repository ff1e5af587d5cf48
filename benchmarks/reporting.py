"""How a benchmark tells its result: the machine, a table, the ratio last, and the same as JSON."""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

from data.engine import cores


def arguments(description: str) -> argparse.ArgumentParser:
    """A command line with what every benchmark takes."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--work", type=Path, required=True, help="folder for generated audio; kept for the next time")
    parser.add_argument("--json", type=Path, help="file for the result")
    return parser


def machine() -> str:
    """The machine in words; absolute times mean nothing on another one."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        names = [line.split(":", 1)[1].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line]
        model = names[0] if names else model
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    return f"{cores()} cores ({model}), {memory:.0f} GB, {platform.system()}, Python {platform.python_version()}"


def seconds(work: Callable[[], object]) -> float:
    """How long `work` takes, in seconds."""
    started = perf_counter()
    work()
    return perf_counter() - started


def rounds(sides: dict[str, Callable[[], object]], count: int) -> dict[str, list[float]]:
    """Seconds of each side, all sides once a round, so that a busy moment of the machine falls on all alike."""
    times: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(count):
        order = list(sides) if number % 2 == 0 else list(reversed(sides))
        for name in order:
            times[name].append(seconds(sides[name]))
    return times


def ratio(times: dict[str, list[float]], slow: str, fast: str) -> float:
    """Median over the rounds of how many times longer `slow` took than `fast` in the same round."""
    return statistics.median(s / f for s, f in zip(times[slow], times[fast], strict=True))


def tell(
    title: str, header: Sequence[str], rows: Sequence[Sequence[Any]], last: str, result: dict[str, Any], to: Path | None
) -> None:
    """Print the table and the verdict; write `result` with the machine to the file `to` if one is named."""
    show(title, header, rows, last)
    if to:
        save(title, result, to)


def show(title: str, header: Sequence[str], rows: Sequence[Sequence[Any]], last: str) -> None:
    """Print the machine, the table and the verdict."""
    cells = [[str(cell) for cell in row] for row in [header, *rows]]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    print(f"\n{title}\n{machine()}\n")
    for number, row in enumerate(cells):
        print("| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |")
        if number == 0:
            print("|" + "|".join("-" * (width + 2) for width in widths) + "|")
    print(f"\n{last}", flush=True)


def save(title: str, result: dict[str, Any], to: Path) -> None:
    """Write `result` with the machine as JSON."""
    to.parent.mkdir(parents=True, exist_ok=True)
    to.write_text(json.dumps({"benchmark": title, "machine": machine(), **result}, indent=1) + "\n")
