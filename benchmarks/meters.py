"""What a benchmark measures from inside a training: speed, waiting, and what a profiler sees of the steps.

A `Meter` is a training's reporter; starting the training belongs to `benchmarks.training_run`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from time import perf_counter
from typing import Any, NamedTuple

import torch
from torch.autograd import DeviceType
from torch.autograd.profiler_util import FunctionEvent
from torch.profiler import ProfilerActivity, profile

_RECURRENT = re.compile(r"lstm|rnn", re.IGNORECASE)


class Reading(NamedTuple):
    """A training as one report told it: steps done, seconds trained, and the share spent waiting since the last."""

    step: int
    seconds: float
    waiting_share: float


class Meter:
    """A training's reporter that keeps what it is told, from step `warm` on, and profiles some of the steps.

    `profiled` is how many reports of progress (about a second each) every profile covers; 0 profiles nothing.
    """

    def __init__(self, warm: int, profiled: int = 0, cuda: bool = False) -> None:
        self._warm = warm
        self._readings: list[Reading] = []
        self._epochs: list[Reading] = []
        both = [ProfilerActivity.CPU, ProfilerActivity.CUDA] if cuda else [ProfilerActivity.CPU]
        # Looking at the CPU too slows it down, so that how busy the GPU is, is looked at first and alone.
        self._planned = ([[ProfilerActivity.CUDA]] if cuda else []) + [both] if profiled else []
        self._profiled = profiled
        self._profile: Profile | None = None
        self.busy_share: float | None = None
        self.lstm_share: float | None = None

    def start(self, run: Any) -> None: ...

    def log(self, line: str) -> None: ...

    def audio(self, step: int, sounds: Mapping[str, Any]) -> None: ...

    def progress(self, progress: Any) -> None:
        if progress.step < self._warm:
            return
        self._readings.append(Reading(progress.step, progress.seconds, progress.waiting_share))
        if self._profile and self._profile.reports == self._profiled:
            self._read_profile()
        if self._profile:
            self._profile.reports += 1
        elif self._planned:
            self._profile = Profile(self._planned.pop(0))

    def epoch(self, row: Mapping[str, Any], curves_png: bytes | None) -> None:
        self._epochs.append(Reading(row["step"], row["seconds"], 0.0))

    def close(self) -> None:
        if self._profile:
            self._read_profile()

    def seconds_a_step(self) -> float:
        """Seconds of a step, all in all; of a training too short for reports, from epoch to epoch."""
        readings = self._readings if len(self._readings) > 1 else self._epochs
        return (readings[-1].seconds - readings[0].seconds) / (readings[-1].step - readings[0].step)

    def waiting_share(self) -> float | None:
        """Share of the time that steps waited for data; None for a training too short for reports."""
        waited = trained = 0.0
        for before, after in zip(self._readings, self._readings[1:], strict=False):
            trained += after.seconds - before.seconds
            waited += after.waiting_share * (after.seconds - before.seconds)
        return waited / trained if trained else None

    def _read_profile(self) -> None:
        assert self._profile
        found, self._profile = self._profile, None
        found.stop()
        if found.with_cpu:
            self.lstm_share = found.lstm_share()
        else:
            self.busy_share = found.busy_share()


class Profile:
    """A profiler over the time from its making to `stop`."""

    def __init__(self, activities: list[ProfilerActivity]) -> None:
        self.with_cpu = ProfilerActivity.CPU in activities
        self.reports = 1
        self._on_device = ProfilerActivity.CUDA in activities
        self._profiler = profile(activities=activities)
        self._profiler.start()
        self._wait_for_device()
        self._began = perf_counter()

    def stop(self) -> None:
        self._wait_for_device()
        self._seconds = perf_counter() - self._began
        self._profiler.stop()

    def busy_share(self) -> float:
        """Share of the time in which the GPU ran at least one kernel or copy."""
        spans = (
            (event.time_range.start, event.time_range.end)
            for event in self._profiler.events()
            if event.device_type == DeviceType.CUDA
        )
        return covered(spans) / 1e6 / self._seconds

    def lstm_share(self) -> float:
        """Share of the time spent in LSTMs, forwards and backwards: of the GPU's kernels, or without one of the CPU."""
        total = 0.0
        for event in self._profiler.events():
            if event.device_type == DeviceType.CPU and _outermost_recurrent(event):
                total += event.device_time_total if self._on_device else event.cpu_time_total
        return total / 1e6 / self._seconds

    def _wait_for_device(self) -> None:
        if self._on_device:
            torch.cuda.synchronize()


def covered(spans: Iterable[tuple[float, float]]) -> float:
    """Length of what is covered by spans `(start, end)`, in their unit; what overlaps counts once."""
    total, reached = 0.0, float("-inf")
    for start, end in sorted(spans):
        total += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return total


def _outermost_recurrent(event: FunctionEvent) -> bool:
    if not _RECURRENT.search(event.name):
        return False
    above = event.cpu_parent
    while above is not None:
        if _RECURRENT.search(above.name):
            return False
        above = above.cpu_parent
    return True
