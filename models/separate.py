"""Separation: a trained network over music of any length, in chunks that hear their surroundings, in bounded memory.

There is one way from a song to its vocals, and it stands here: validation, scoring and `isolate` all go it, so that a
separator is chosen by what people will hear.

A network that remembers needs a while until it knows where it is. So each chunk is given with real music on either
side, its context, for which the network's answer is thrown away; how much a network needs is measured with its own
weights (`models.context`). Windows begin where the whole song has a frame of the STFT: a network that meets the same
music between two of its frames answers differently, which was most of the difference between split and whole
(benchmarks/README.md). The level is taken from the whole song first (`models.networks.base` says why).

    song       |-----------------------------------------------------------|
    windows    [   chunk    | context ]
                  [ context |   chunk   | context ]
                               [ context |   chunk   | context ]

Reading and writing files belongs to the caller: `separate_stream` asks for what it needs and gives back vocals piece
by piece, so that a song never has to be in memory as a whole.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from itertools import islice
from typing import NamedTuple, Protocol

import numpy as np
import torch

from data.audio import CHANNELS, SAMPLE_RATE, Audio
from data.errors import InputError
from models.candidate import Candidate
from models.level import level_of_song
from models.networks.base import Network

CHUNK_SECONDS = 20.0
FADE_SECONDS = 0.05  # over which one chunk goes into the next: what is left of a difference makes no click
# For checkpoints from before it was measured, and where there is no music to measure it on.
CONTEXT_SECONDS = 2.0

Read = Callable[[int, int], Audio]  # (start, frames) -> mixture (2, frames)
Progress = Callable[[float], None]  # share that is done, 0..1


class Separates(Protocol):
    """Something that separates windows of a song: a `Separator`, or what stands in for one."""

    @property
    def context_seconds(self) -> float:
        """How much music it needs to hear before and after what it separates."""

    @property
    def hop(self) -> int:
        """Windows begin at multiples of it, where the whole song has a frame of the STFT too."""

    def __call__(self, mixtures: Audio, level: float) -> Audio:
        """Vocals of stretches `(b, 2, n)` of a song whose level is `level`, of the same shape."""


class Separator:
    """A network with its weights on a device, the settings it was made from, and the context that it needs."""

    def __init__(
        self,
        network: Network,
        candidate: Candidate,
        device: torch.device,
        sample_rate: int = SAMPLE_RATE,
        context_seconds: float = CONTEXT_SECONDS,
    ) -> None:
        self.network = network.to(device).eval()
        self.candidate = candidate
        self.device = device
        self.sample_rate = sample_rate
        self.context_seconds = context_seconds
        self.hop = network.stft.hop

    @torch.inference_mode()
    def __call__(self, mixtures: Audio, level: float | None = None) -> Audio:
        """Vocals of one mixture `(2, n)` or several `(b, 2, n)`, each short enough to be heard at once.

        They are stretches of a song of the level `level` (`models.level`), or songs with a level each.
        """
        batch = torch.from_numpy(np.ascontiguousarray(mixtures, np.float32)).to(self.device)
        levels = None if level is None else torch.full((1, 1, 1), level, device=self.device)
        vocals: Audio = self.network(batch.reshape(-1, *batch.shape[-2:]), levels).reshape(batch.shape).cpu().numpy()
        return vocals


def separate(
    separator: Separates,
    mixture: Audio,
    *,
    chunk_seconds: float = CHUNK_SECONDS,
    fade_seconds: float = FADE_SECONDS,
    progress: Progress | None = None,
) -> Audio:
    """Vocals `(2, frames)` of a mixture `(2, frames)` at 44100 Hz, of any length from one frame on."""

    def read(start: int, frames: int) -> Audio:
        return mixture[:, start : start + frames]

    if mixture.ndim != 2 or len(mixture) != CHANNELS:
        raise InputError(
            "mixture",
            expected=f"an array of shape ({CHANNELS}, frames)",
            found=f"shape {mixture.shape}",
            remedy="give stereo audio, channels first; repeat the channel of a mono file",
        )
    pieces = separate_stream(
        separator, read, mixture.shape[1], chunk_seconds=chunk_seconds, fade_seconds=fade_seconds, progress=progress
    )
    return np.concatenate(list(pieces), axis=1)


def separate_stream(
    separator: Separates,
    read: Read,
    frames: int,
    *,
    chunk_seconds: float = CHUNK_SECONDS,
    fade_seconds: float = FADE_SECONDS,
    batch: int = 1,
    progress: Progress | None = None,
) -> Iterator[Audio]:
    """Yield the vocals of `frames` frames of music as consecutive pieces `(2, some frames)`.

    `read(start, frames)` gives the mixture, which is read through once for its level and then window by window. The
    separator hears `batch` windows at a time, all of one length: that of `layout_of`, or the whole song where that is
    shorter. At either end of the song, where there is no music for a context, its window holds more of the other side.
    Raises InputError for music without a frame, for samples that are not finite, in the music or in what the separator
    makes of it, and ValueError for a fade longer than a chunk.
    """
    if frames < 1:
        raise InputError(
            "mixture", expected="at least one frame of audio", found="none", remedy="give a file that is not empty"
        )
    hop = separator.hop
    layout = layout_of(hop, separator.context_seconds, chunk_seconds, fade_seconds)
    fade, length = layout.fade, min(layout.window, _whole(frames, hop))
    level = level_of_song(read(start, min(layout.chunk, frames - start)) for start in range(0, frames, layout.chunk))
    if not math.isfinite(level):
        raise InputError(
            "mixture",
            expected="finite samples",
            found="samples that are infinite or no numbers",
            remedy="look at where the audio came from: no sound has such samples",
        )

    def heard_from(start: int) -> Audio:
        mixture = read(start, min(length, frames - start))
        return np.pad(mixture, ((0, 0), (0, length - mixture.shape[1])))

    fade_in = (np.arange(fade, dtype=np.float32) + 1) / np.float32(fade + 1)
    tail = np.zeros((CHANNELS, 0), np.float32)
    windows = _windows(frames, layout, hop)
    while together := list(islice(windows, max(batch, 1))):
        heard = separator(np.stack([heard_from(window.start) for window in together]), level)
        if not np.isfinite(heard).all():
            raise _not_finite(separator, together[0].start)
        for window, vocals in zip(together, heard, strict=True):
            own = vocals[:, window.first - window.start : window.end - window.start]
            shared = tail.shape[1]
            # Written as a step from the old towards the new: where both agree, the result is exactly that.
            head = tail + fade_in[:shared] * (own[:, :shared] - tail)
            kept = own.shape[1] if window.end == frames else own.shape[1] - fade
            yield np.concatenate([head, own[:, shared:kept]], axis=1)
            tail = own[:, kept:].copy()  # a view would keep the whole batch
            if progress is not None:
                progress(window.end / frames)


def _not_finite(separator: Separates, start: int) -> InputError:
    candidate = getattr(separator, "candidate", None)
    return InputError(
        f"separator {candidate.name}" if isinstance(candidate, Candidate) else "separator",
        expected="vocals of finite samples",
        found=f"samples that are infinite or no numbers, from the window at {start / SAMPLE_RATE:.1f} s on",
        remedy="use another separator, or train this one again with a lower training.learning_rate or "
        "training.precision: float32",
    )


class Layout(NamedTuple):
    """Lengths in frames: of a chunk, of the fade into the next, of the context on either side, of all as one window."""

    chunk: int
    fade: int
    context: int
    window: int


def layout_of(
    hop: int, context_seconds: float, chunk_seconds: float = CHUNK_SECONDS, fade_seconds: float = FADE_SECONDS
) -> Layout:
    """How songs are cut for a separator with this hop and context; chunk and context are whole hops.

    Raises ValueError for a fade that is longer than a chunk, and for lengths below nothing.
    """
    if not 0 <= fade_seconds <= chunk_seconds or context_seconds < 0:
        raise ValueError(
            f"chunks of {chunk_seconds} s with a fade of {fade_seconds} s and a context of {context_seconds} s: a fade "
            "is at most as long as a chunk, and nothing is shorter than nothing"
        )
    fade = round(fade_seconds * SAMPLE_RATE)
    chunk, context = (_whole(round(each * SAMPLE_RATE), hop) for each in (chunk_seconds, context_seconds))
    return Layout(max(chunk, hop), fade, context, _whole(max(chunk, hop) + fade, hop) + 2 * context)


class _Window(NamedTuple):
    """The vocals of the frames from `first` to `end` come from the window that begins at `start`."""

    first: int
    end: int
    start: int


def _windows(frames: int, layout: Layout, hop: int) -> Iterator[_Window]:
    # The last window may end up to a hop after the song, as the song's own STFT does.
    latest = max(_whole(frames, hop) - layout.window, 0)
    for first in range(0, frames, layout.chunk):
        start = min(max(first - layout.context, 0), latest)
        if start == latest:
            yield _Window(first, frames, start)
            return
        yield _Window(first, first + layout.chunk + layout.fade, start)


def _whole(frames: int, hop: int) -> int:
    """So many frames, rounded up to whole hops."""
    return -(-frames // hop) * hop
