"""The canonical form of a track: 44.1 kHz, stereo, equal lengths, additive; and what is measured of it.

Levels are left alone: a gain per file would break `accompaniment = mixture - vocals`, and samples beyond full scale
are kept in a floating-point wav instead of clipped.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import soxr

from data import audio, measure
from data.errors import InputError
from data.tracks import MIXTURE, VOCALS

CODE_VERSION = "1"


def normalise_track(stems: Path, folder: Path) -> dict[str, Any]:
    """Bring `mixture.wav` and `vocals.wav` of folder `stems` into the canonical form, written into `folder`.

    Returns the measurements (JSON values) that the manifest holds. The sample format is the smallest that is lossless.
    Raises InputError for a file that cannot be read, is empty, or has more than two channels.
    """
    mixture, source_rate = canonical(stems / MIXTURE)
    vocals, _ = canonical(stems / VOCALS)
    frames = min(mixture.shape[1], vocals.shape[1])
    trimmed = max(mixture.shape[1], vocals.shape[1]) - frames
    mixture, vocals = mixture[:, :frames], vocals[:, :frames]
    audio.write(folder / MIXTURE, mixture)
    audio.write(folder / VOCALS, vocals)
    levels = measure.level_per_second(vocals)
    return {
        "frames": frames,
        "duration_s": frames / audio.SAMPLE_RATE,
        "source_rate": source_rate,
        "trimmed_frames": trimmed,
        "mixture_peak": measure.peak(mixture),
        "mixture_rms_db": measure.rms_db(mixture),
        "mixture_lufs": measure.loudness_lufs(mixture),
        "vocals_peak": measure.peak(vocals),
        "vocals_rms_db": measure.rms_db(vocals),
        "vocals_lufs": measure.loudness_lufs(vocals),
        "vocal_level_db": [round(float(level), 2) for level in levels],
        "vocal_activity": float(np.mean(levels > measure.ACTIVE_DB)),
    }


def canonical(path: Path) -> tuple[audio.Audio, int]:
    """The audio of `path` as (2, frames) float32 at 44.1 kHz, and the rate it had.

    Mono becomes dual mono; another rate is resampled by soxr at HQ. Raises InputError as `normalise_track`.
    """
    samples, rate = audio.read(path)
    channels, frames = samples.shape
    if frames == 0 or channels > audio.CHANNELS:
        raise InputError(
            "audio file",
            file=path,
            expected="one or two channels and at least one frame",
            found=f"{channels} channels and {frames} frames",
            remedy="mix it down to stereo, or remove the track",
        )
    if rate != audio.SAMPLE_RATE:
        samples = np.ascontiguousarray(soxr.resample(samples.T, rate, audio.SAMPLE_RATE, quality="HQ").T)
    return np.repeat(samples, audio.CHANNELS // channels, axis=0), rate
