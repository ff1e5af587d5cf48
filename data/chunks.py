"""Chunks of training pairs: drawn at random by seeking for training, in order for validation.

Only what is heard in a chunk is read from disk. A chunk is made of its two sources, vocals and accompaniment (mixture
minus vocals), so that loopback and augmentation are the same for all kinds of rows. Every draw depends on
(seed, epoch, step) alone. Tensors, devices and noise do not belong here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from data.audio import CHANNELS, SAMPLE_RATE, Audio, read
from data.errors import InputError


@dataclass(frozen=True)
class Augmentation:
    """What may change from draw to draw.

    `remix`: probability that the accompaniment comes from another track, which multiplies a small corpus.
    `gain_db`: lowest and highest gain of each source, uniform in dB, drawn for each source on its own.
    `swap_channels`, `flip_sign`: probability for each source that its channels change places, or that it is negated.
    """

    remix: float = 0.0
    gain_db: tuple[float, float] = (0.0, 0.0)
    swap_channels: float = 0.0
    flip_sign: float = 0.0


class Batch(NamedTuple):
    """Inputs and targets, both `(examples, channels=2, frames)` float32 at 44100 Hz."""

    mixture: Audio
    vocals: Audio


class Row(NamedTuple):
    """One training pair, with absolute paths; `input` is what is heard: mixture, vocals or accompaniment."""

    track_id: str
    input: str
    mixture: Path
    vocals: Path
    frames: int


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


class ChunkDrawer:
    """Draws batches of random chunks of `frames` frames from training rows, each row as likely as any other."""

    def __init__(self, rows: list[Row], frames: int, seed: int, augmentation: Augmentation) -> None:
        self._rows = rows
        self._accompaniments = [row for row in rows if row.input == "mixture"]
        self._frames = frames
        self._seed = seed
        self._augmentation = augmentation

    def batch(self, epoch: int, step: int, size: int) -> Batch:
        """The batch of `size` examples that belongs to (seed, epoch, step), whatever was drawn before."""
        random = np.random.default_rng([self._seed, epoch, step])
        mixture = np.empty((size, CHANNELS, self._frames), np.float32)
        vocals = np.empty_like(mixture)
        for example in range(size):
            voice, accompaniment = self._example(random)
            vocals[example] = voice
            mixture[example] = voice + accompaniment
        return Batch(mixture, vocals)

    def _example(self, random: np.random.Generator) -> tuple[Audio, Audio]:
        row = self._rows[random.integers(len(self._rows))]
        start = self._start(row, random)
        remixed = random.random() < self._augmentation.remix
        if row.input == "mixture" and remixed:
            other = self._accompaniments[random.integers(len(self._accompaniments))]
            voice = _piece(row.vocals, row, start, self._frames)
            accompaniment = _sources(other, self._start(other, random), self._frames)[1]
        else:
            voice, accompaniment = _sources(row, start, self._frames)
        return self._augmented(voice, random), self._augmented(accompaniment, random)

    def _start(self, row: Row, random: np.random.Generator) -> int:
        return int(random.integers(max(row.frames - self._frames, 0) + 1))

    def _augmented(self, source: Audio, random: np.random.Generator) -> Audio:
        change = self._augmentation
        gain = 10 ** (random.uniform(*change.gain_db) / 20)
        if random.random() < change.swap_channels:
            source = source[::-1]
        if random.random() < change.flip_sign:
            gain = -gain
        return source if gain == 1 else source * np.float32(gain)


def chunks_in_order(row: Row, frames: int) -> Iterator[tuple[Batch, int]]:
    """A row's chunks from beginning to end, one example each, and how many frames of each are the track's.

    The last chunk is padded with zeros.
    """
    for start in range(0, row.frames, frames):
        voice, accompaniment = _sources(row, start, frames)
        yield Batch((voice + accompaniment)[None], voice[None]), min(frames, row.frames - start)


def _sources(row: Row, start: int, frames: int) -> tuple[Audio, Audio]:
    """Vocals and accompaniment that are heard in a row's input; each is silent where the input is the other alone."""
    voice = _piece(row.vocals, row, start, frames)
    if row.input == "vocals":
        return voice, np.zeros_like(voice)
    accompaniment = _piece(row.mixture, row, start, frames) - voice
    return (np.zeros_like(voice) if row.input == "accompaniment" else voice), accompaniment


def _piece(path: Path, row: Row, start: int, frames: int) -> Audio:
    """`frames` frames of a file from `start` on, padded with zeros past the track's end."""
    audio, rate = read(path, start, min(frames, row.frames - start))
    if rate != SAMPLE_RATE or len(audio) != CHANNELS:
        raise InputError(
            row.track_id,
            file=path,
            expected=f"{CHANNELS} channels at {SAMPLE_RATE} Hz",
            found=f"{len(audio)} channels at {rate} Hz",
            remedy="train on normalised audio: materialise the track's normalised asset",
        )
    return np.pad(audio, ((0, 0), (0, frames - audio.shape[1])))
