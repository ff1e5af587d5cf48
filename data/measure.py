"""Levels of audio: peak, RMS, loudness, and where the voice is active. Quality of a separation does not belong here."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyloudnorm

from data.audio import SAMPLE_RATE, Audio

FLOOR_DB = -120.0  # what silence is called
ACTIVE_DB = -50.0  # dBFS RMS from which on a second of vocals counts as sung
_SHORTEST_FOR_LOUDNESS = 0.4  # seconds: one gating block of BS.1770


def peak(audio: Audio) -> float:
    """Largest absolute sample of `audio (channels, frames)`; 1.0 is full scale."""
    return float(np.max(np.abs(audio), initial=0.0))


def rms_db(audio: Audio) -> float:
    """Root mean square over all channels in dBFS, not below -120."""
    power = float(np.mean(np.square(audio, dtype=np.float64))) if audio.size else 0.0
    return max(FLOOR_DB, 10.0 * float(np.log10(power))) if power > 0 else FLOOR_DB


def loudness_lufs(audio: Audio, sample_rate: int = SAMPLE_RATE) -> float | None:
    """Integrated loudness (ITU-R BS.1770-4) of `audio (channels, frames)` in LUFS.

    None where it has no meaning: silence, or less than one gating block of 0.4 s.
    """
    if audio.shape[1] < _SHORTEST_FOR_LOUDNESS * sample_rate or not np.any(audio):
        return None
    loudness = float(pyloudnorm.Meter(sample_rate).integrated_loudness(audio.T.astype(np.float64)))
    return loudness if np.isfinite(loudness) else None


def level_per_second(audio: Audio, sample_rate: int = SAMPLE_RATE) -> npt.NDArray[np.float32]:
    """RMS in dBFS of each second of `audio (channels, frames)`, the last one possibly shorter: (seconds,)."""
    starts = range(0, audio.shape[1], sample_rate)
    return np.array([rms_db(audio[:, start : start + sample_rate]) for start in starts], dtype=np.float32)
