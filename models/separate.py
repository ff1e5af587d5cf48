"""Separation: a trained network over music of any length, in overlapping chunks with bounded memory.

Reading and writing files belongs to the caller: `separate_stream` asks for what it needs and gives back vocals piece
by piece, so that a song never has to be in memory as a whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch

from data.audio import CHANNELS, SAMPLE_RATE, Audio
from data.errors import InputError
from models.candidate import Candidate
from models.networks.base import Network

CHUNK_SECONDS = 20.0
OVERLAP_SECONDS = 2.0  # long enough for the memory of a recurrent network to settle before its output counts

Read = Callable[[int, int], Audio]  # (start, frames) -> mixture (2, frames)
Progress = Callable[[float], None]  # share that is done, 0..1


class Separator:
    """A network with its weights on a device, and the settings it was made from."""

    def __init__(
        self, network: Network, candidate: Candidate, device: torch.device, sample_rate: int = SAMPLE_RATE
    ) -> None:
        self.network = network.to(device).eval()
        self.candidate = candidate
        self.device = device
        self.sample_rate = sample_rate

    @torch.inference_mode()
    def __call__(self, mixture: Audio) -> Audio:
        """Vocals `(2, frames)` of a mixture `(2, frames)` that fits into memory as one chunk."""
        batch = torch.from_numpy(np.ascontiguousarray(mixture, np.float32)).to(self.device)
        return self.network(batch[None])[0].cpu().numpy()


def separate(
    separator: Callable[[Audio], Audio],
    mixture: Audio,
    chunk_seconds: float = CHUNK_SECONDS,
    overlap_seconds: float = OVERLAP_SECONDS,
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
    pieces = separate_stream(separator, read, mixture.shape[1], chunk_seconds, overlap_seconds, progress)
    return np.concatenate(list(pieces), axis=1)


def separate_stream(
    separator: Callable[[Audio], Audio],
    read: Read,
    frames: int,
    chunk_seconds: float = CHUNK_SECONDS,
    overlap_seconds: float = OVERLAP_SECONDS,
    progress: Progress | None = None,
) -> Iterator[Audio]:
    """Yield the vocals of `frames` frames of music as consecutive pieces `(2, some frames)`.

    `read(start, frames)` gives the mixture. Neighbouring chunks overlap and are cross-faded with weights that sum to
    one. Every chunk but the first starts with `overlap_seconds` that its predecessor knows too. Raises InputError for
    music without a frame, ValueError for an overlap of more than half a chunk.
    """
    chunk, overlap = round(chunk_seconds * SAMPLE_RATE), round(overlap_seconds * SAMPLE_RATE)
    if not 0 <= 2 * overlap <= chunk or chunk < 1:
        raise ValueError(f"an overlap of {overlap_seconds} s is more than half a chunk of {chunk_seconds} s")
    if frames < 1:
        raise InputError(
            "mixture", expected="at least one frame of audio", found="none", remedy="give a file that is not empty"
        )
    fade_in = (np.arange(overlap, dtype=np.float32) + 1) / np.float32(overlap + 1)
    tail = np.zeros((CHANNELS, 0), np.float32)
    for start in range(0, max(frames - overlap, 1), chunk - overlap):
        end = min(start + chunk, frames)
        vocals = separator(read(start, end - start))
        shared = tail.shape[1]
        # Written as a step from the old towards the new: where both agree, the result is exactly that.
        head = tail + fade_in[:shared] * (vocals[:, :shared] - tail)
        kept = vocals.shape[1] if end == frames else vocals.shape[1] - overlap
        yield np.concatenate([head, vocals[:, shared:kept]], axis=1)
        tail = vocals[:, kept:]
        if progress is not None:
            progress(end / frames)
