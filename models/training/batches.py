"""Where training chunks come from: read from disk by threads ahead of their use, or held on the device.

Both give the same batches for the same seed: `sources (b, s, c, n)` float32 on the device, as `models.augment` lays
them out, already augmented. What a step hears depends on (seed, step) alone, never on what was drawn before, so that a
training can go on from any step. With several processes, each takes its share of every batch.
"""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor

from data.audio import CHANNELS, blocks, info
from data.chunks import SOURCES, VOCALS, Example, Excerpt, Planner, Row, check_form, heard_sources
from data.chunks import read_examples as read_from_disk
from data.errors import InputError
from models.augment import Choices, apply_all, augmentations, draw_all
from models.candidate import TrainingSettings

STATISTICS, TRAINING, DROPOUT, NOISE = range(4)  # streams of randomness that must not meet
RESIDENT_SHARE = 0.5  # of the device's free memory that the training set may take: the step needs the rest
FULL_SCALE = 32768  # of 16 bits

T = TypeVar("T")


def generator(stream: int, seed: int, step: int, process: int = 0) -> np.random.Generator:
    """The generator that belongs to one stream of randomness at one step."""
    return np.random.default_rng([stream, seed, step, process])


class Draw(NamedTuple):
    """What a step hears: where the examples come from, and each augmentation's choices for them."""

    examples: list[Example]
    choices: list[Choices]


class Batches(ABC):
    """Batches of training chunks. `share` is the part of each batch that this process takes."""

    def __init__(
        self, rows: Sequence[Row], frames: int, settings: TrainingSettings, device: torch.device, share: slice
    ) -> None:
        self.rows = rows
        self.frames = frames
        self.device = device
        self.changes = augmentations(settings.augmentation)
        self._settings = settings
        self._share = share
        self._planner = Planner(rows, frames, settings.augmentation.remix)

    def draw(self, step: int, stream: int = TRAINING) -> Draw:
        """What step `step` hears, this process's share of it."""
        random, size = generator(stream, self._settings.seed, step), self._settings.batch_size
        examples = self._planner.draw(random, size)
        choices = draw_all(self.changes, random, size)
        return Draw(examples[self._share], [chosen[self._share] for chosen in choices])

    @abstractmethod
    def read(self, draw: Draw) -> Tensor:
        """The sources of a draw, `(b, s, c, n)` on the device, augmented."""

    @abstractmethod
    def from_step(self, step: int) -> Iterator[Tensor]:
        """The batches of `step`, `step + 1` and so on, without end."""


class Streamed(Batches):
    """Chunks read from disk by threads, ahead of their use; memory does not grow with the number of tracks.

    For a CUDA device they are read into pinned memory, from which the copy runs beside the step before.
    """

    def read(self, draw: Draw) -> Tensor:
        return self._moved(self._read(draw))

    def from_step(self, step: int) -> Iterator[Tensor]:
        def batch(number: int) -> Tensor:
            return self._read(self.draw(number))

        return map(self._moved, ahead(batch, itertools.count(step), self._settings.loader_threads))

    def _read(self, draw: Draw) -> Tensor:
        pinned = self.device.type == "cuda"
        sources = torch.empty((len(draw.examples), SOURCES, CHANNELS, self.frames), pin_memory=pinned)
        read_from_disk(self.rows, draw.examples, self.frames, sources.numpy())
        return apply_all(self.changes, sources, draw.choices)

    def _moved(self, sources: Tensor) -> Tensor:
        return sources.to(self.device, non_blocking=True)


class Resident(Batches):
    """The whole training set in the device's memory as 16-bit integers; chunks are cut, mixed and augmented there.

    Audio of more than 16 bits is rounded. Rows that share files (loopback) share memory.
    """

    def __init__(
        self, rows: Sequence[Row], frames: int, settings: TrainingSettings, device: torch.device, share: slice
    ) -> None:
        super().__init__(rows, frames, settings, device, share)
        tracks = _tracks(rows)
        self._audio = torch.empty((SOURCES, CHANNELS, _frames(rows)), dtype=torch.int16, device=device)
        starts, first = {}, 0
        for files, row in tracks.items():
            starts[files], last = first, first + row.frames
            for place, path in enumerate(files):
                _load(row, path, self._audio[place, :, first:last])
            first = last
        self._starts = torch.tensor([starts[row.vocals, row.mixture] for row in rows])

    def read(self, draw: Draw) -> Tensor:
        vocals, accompaniment = zip(*draw.examples, strict=True)
        sung, mixed = self._cut(accompaniment)
        sources = torch.stack([sung if vocals == accompaniment else self._cut(vocals)[VOCALS], mixed - sung], dim=1)
        # Remixed examples are made of mixtures, of which both sources are heard.
        heard = torch.tensor([heard_sources(self.rows[excerpt.row]) for excerpt in accompaniment])
        sources *= heard.to(self.device, sources.dtype)[..., None, None]
        return apply_all(self.changes, sources, draw.choices)

    def from_step(self, step: int) -> Iterator[Tensor]:
        return (self.read(self.draw(number)) for number in itertools.count(step))

    def _cut(self, excerpts: Sequence[Excerpt]) -> Tensor:
        """Vocals and mixture of the excerpts `(2, b, c, n)`, zeros past a track's end."""
        begins = torch.tensor([excerpt.start for excerpt in excerpts])
        left = torch.tensor([self.rows[excerpt.row].frames for excerpt in excerpts]) - begins
        begins += self._starts[[excerpt.row for excerpt in excerpts]]
        begins, left = begins.to(self.device), left.to(self.device)
        frames = torch.arange(self.frames, device=self.device)
        places = begins[:, None] + torch.minimum(frames, left[:, None] - 1)
        pieces = self._audio[:, :, places].transpose(1, 2).float() / FULL_SCALE
        return pieces * (frames < left[:, None])[:, None]


def make_batches(
    rows: Sequence[Row], frames: int, settings: TrainingSettings, device: torch.device, share: slice, place: str
) -> Batches:
    """Batches held on the device (`place` is "resident"), read from disk ("stream"), or what fits ("auto").

    On a CPU, auto reads from disk: the operating system keeps in memory what there is room for.
    """
    if place == "auto":
        place = "resident" if device.type == "cuda" and _fits(rows, device) else "stream"
    kind = Resident if place == "resident" else Streamed
    return kind(rows, frames, settings, device, share)


def ahead(draw: Callable[[int], T], numbers: Iterator[int], threads: int) -> Iterator[T]:
    """`draw` of each number, in order, drawn by `threads` threads ahead of their use."""
    with ThreadPoolExecutor(threads, thread_name_prefix="chunks") as pool:
        waiting = deque(pool.submit(draw, number) for number in itertools.islice(numbers, 2 * threads))
        try:
            while waiting:
                ready = waiting.popleft().result()
                waiting.extend(pool.submit(draw, number) for number in itertools.islice(numbers, 1))
                yield ready
        finally:
            for future in waiting:
                future.cancel()


def _tracks(rows: Sequence[Row]) -> dict[tuple[Path, Path], Row]:
    """One row for each pair of files, vocals and mixture."""
    return {(row.vocals, row.mixture): row for row in rows}


def _frames(rows: Sequence[Row]) -> int:
    return sum(row.frames for row in _tracks(rows).values())


def _fits(rows: Sequence[Row], device: torch.device) -> bool:
    free, _ = torch.cuda.mem_get_info(device)
    return SOURCES * CHANNELS * 2 * _frames(rows) <= RESIDENT_SHARE * free


def _load(row: Row, path: Path, place: Tensor) -> None:
    """Read a file into `place (c, n)`, 16-bit integers."""
    about = info(path)
    check_form(row, path, about.channels, about.sample_rate)
    if about.frames < row.frames:
        raise InputError(
            row.track_id,
            file=path,
            expected=f"{row.frames} frames, as the training pairs say",
            found=f"{about.frames} frames",
            remedy="make the training pairs again",
        )
    first = 0
    for block in blocks(path):
        part = torch.from_numpy(np.rint(np.clip(block * FULL_SCALE, -FULL_SCALE, FULL_SCALE - 1)))
        part = part[:, : place.shape[1] - first]
        place[:, first : first + part.shape[1]] = part
        first += part.shape[1]
