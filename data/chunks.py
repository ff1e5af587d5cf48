"""Chunks of training pairs: drawn at random by seeking for training, in order for validation.

A chunk is made of its two sources, vocals and accompaniment (mixture minus vocals), so that loopback and augmentation
are the same for all kinds of rows. What is drawn is decided first, as a plan that depends on (seed, step) alone; what
is heard is read second, here from disk and only as much as is heard. Tensors, devices and noise do not belong here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from data.audio import CHANNELS, SAMPLE_RATE, Audio, read
from data.errors import InputError

VOCALS, ACCOMPANIMENT = 0, 1  # places on the axis of sources
SOURCES = 2


class Row(NamedTuple):
    """One training pair, with absolute paths; `input` is what is heard: mixture, vocals or accompaniment."""

    track_id: str
    input: str
    mixture: Path
    vocals: Path
    frames: int


class Excerpt(NamedTuple):
    """A stretch of a row: the row's number, and the frame where the stretch begins."""

    row: int
    start: int


class Example(NamedTuple):
    """What one example is made of: where its vocals and where its accompaniment come from."""

    vocals: Excerpt
    accompaniment: Excerpt


def rows_of(pairs: pd.DataFrame, split: str, audio_root: Path) -> list[Row]:
    """The rows of one split ("train", "validation"). Raises InputError where there is none with audio."""
    rows = [
        Row(pair.track_id, pair.input, audio_root / pair.mixture_path, audio_root / pair.vocals_path, int(pair.frames))
        for pair in pairs[pairs["split"] == split].itertuples()
        if pair.frames > 0
    ]
    if not rows:
        counts = pairs["split"].value_counts().to_dict()
        raise InputError(
            f"{split} set",
            expected="at least one track",
            found=f"no rows with split '{split}' (the table has {counts or 'no rows'})",
            remedy="add tracks to the datasets, or change the shares of the split, and make the training pairs again",
        )
    return rows


class Planner:
    """Decides which chunks of `frames` frames the steps hear, each row as likely as any other.

    `remix` is the probability that a mixture's accompaniment comes from another track, which multiplies a small corpus.
    """

    def __init__(self, rows: Sequence[Row], frames: int, remix: float) -> None:
        self._rows = rows
        self._mixtures = [number for number, row in enumerate(rows) if row.input == "mixture"]
        self._frames = frames
        self._remix = remix

    def draw(self, random: np.random.Generator, examples: int) -> list[Example]:
        """What `examples` examples are made of."""
        return [self._example(random) for _ in range(examples)]

    def _example(self, random: np.random.Generator) -> Example:
        here = self._excerpt(int(random.integers(len(self._rows))), random)
        remixed = random.random() < self._remix
        if not remixed or self._rows[here.row].input != "mixture":
            return Example(here, here)
        return Example(here, self._excerpt(self._mixtures[random.integers(len(self._mixtures))], random))

    def _excerpt(self, row: int, random: np.random.Generator) -> Excerpt:
        return Excerpt(row, int(random.integers(max(self._rows[row].frames - self._frames, 0) + 1)))


def read_examples(rows: Sequence[Row], plan: Sequence[Example], frames: int, out: Audio) -> None:
    """Read what a plan says from disk into `out (examples, sources=2, channels=2, frames)`, vocals first."""
    for sources, (vocals, accompaniment) in zip(out, plan, strict=True):
        voice, backing = _sources(rows[accompaniment.row], accompaniment.start, frames)
        if vocals != accompaniment:  # remixed, hence of a mixture, in which vocals are heard
            voice = _piece(rows[vocals.row].vocals, rows[vocals.row], vocals.start, frames)
        sources[VOCALS], sources[ACCOMPANIMENT] = voice, backing


class Chunk(NamedTuple):
    """Input and target, both `(channels=2, frames)`, and how many of the frames are the track's own."""

    mixture: Audio
    vocals: Audio
    length: int


def chunks_in_order(row: Row, frames: int) -> Iterator[Chunk]:
    """A row's chunks from beginning to end; the last one is padded with zeros."""
    for start in range(0, row.frames, frames):
        yield stretch(row, start, frames)


def stretch(row: Row, start: int, frames: int) -> Chunk:
    """What is heard in a row from frame `start` on, and its vocals; padded with zeros past the row's end."""
    voice, accompaniment = _sources(row, start, frames)
    return Chunk(voice + accompaniment, voice, min(frames, row.frames - start))


def heard_sources(row: Row) -> tuple[bool, bool]:
    """Whether a row's vocals, and whether its accompaniment, are heard in its input."""
    return row.input != "accompaniment", row.input != "vocals"


def check_form(row: Row, path: Path, channels: int, sample_rate: int) -> None:
    """Raise InputError where audio that is to be trained on is not in the canonical form."""
    if sample_rate != SAMPLE_RATE or channels != CHANNELS:
        raise InputError(
            row.track_id,
            file=path,
            expected=f"{CHANNELS} channels at {SAMPLE_RATE} Hz",
            found=f"{channels} channels at {sample_rate} Hz",
            remedy="train on normalised audio: materialise the track's normalised asset",
        )


def _sources(row: Row, start: int, frames: int) -> tuple[Audio, Audio]:
    """Vocals and accompaniment that are heard in a row's input; each is silent where the input is the other alone."""
    sung, played = heard_sources(row)
    voice = _piece(row.vocals, row, start, frames)
    accompaniment = _piece(row.mixture, row, start, frames) - voice if played else np.zeros_like(voice)
    return voice if sung else np.zeros_like(voice), accompaniment


def _piece(path: Path, row: Row, start: int, frames: int) -> Audio:
    """`frames` frames of a file from `start` on, padded with zeros past the track's end."""
    audio, rate = read(path, start, min(frames, row.frames - start))
    check_form(row, path, len(audio), rate)
    missing = frames - audio.shape[1]
    return np.pad(audio, ((0, 0), (0, missing))) if missing else audio
