"""Levels of audio: peak, RMS, loudness, clipping, and where the voice is active, of whole arrays and of streams.

Quality of a separation does not belong here, nor does what makes a value good or bad: that is `data.quality`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyloudnorm
from scipy.signal import sosfilt, tf2sos

from data.audio import CHANNELS, SAMPLE_RATE, Audio

FLOOR_DB = -120.0  # what silence is called
ACTIVE_DB = -50.0  # dBFS RMS from which on a second of vocals counts as sung
FULL_SCALE = 0.9999  # from here on a sample counts as clipped, if its neighbours do too
_CLIPPED_RUN = 3  # neighbours at full scale that are not a coincidence
_SLICE = SAMPLE_RATE // 10  # frames: four of these are a gating block of BS.1770, which advances by one


def peak(audio: Audio) -> float:
    """Largest absolute sample of `audio (channels, frames)`; 1.0 is full scale."""
    return float(np.max(np.abs(audio), initial=0.0))


def decibels(power: float) -> float:
    """A power (mean square, 1.0 = full scale) in dBFS, not below -120."""
    return max(FLOOR_DB, 10.0 * float(np.log10(power))) if power > 0 else FLOOR_DB


def rms_db(audio: Audio) -> float:
    """Root mean square over all channels in dBFS, not below -120."""
    return decibels(float(np.mean(np.square(audio, dtype=np.float64))) if audio.size else 0.0)


def clipped_samples(audio: Audio) -> int:
    """Samples of `audio (channels, frames)` that stand in a run of three or more at full scale."""
    at_limit = np.abs(audio) >= FULL_SCALE
    if not at_limit.any():
        return 0
    count = 0
    for channel in at_limit:
        edges = np.flatnonzero(np.diff(channel, prepend=False, append=False))
        lengths = edges[1::2] - edges[::2]
        count += int(lengths[lengths >= _CLIPPED_RUN].sum())
    return count


class LoudnessMeter:
    """Integrated loudness (ITU-R BS.1770-4) of a stereo stream at 44100 Hz; memory is four floats a second."""

    def __init__(self) -> None:
        filters = pyloudnorm.Meter(SAMPLE_RATE)._filters.values()
        self._weighting = np.vstack([tf2sos(stage.b, stage.a) for stage in filters])
        self._state = np.zeros((len(self._weighting), CHANNELS, 2))
        self._powers: list[npt.NDArray[np.float64]] = []

    def feed(self, block: Audio) -> None:
        """Take the next `block (2, frames)`: whole tenths of a second, except for the last one."""
        weighted, self._state = sosfilt(self._weighting, block, zi=self._state)
        whole = weighted[:, : weighted.shape[1] // _SLICE * _SLICE].reshape(CHANNELS, -1, _SLICE)
        self._powers.append(np.einsum("csf,csf->s", whole, whole) / _SLICE)

    def finish(self) -> float | None:
        """Loudness in LUFS; None where it has no meaning: silence, or less than one gating block of 0.4 s."""
        powers = np.concatenate([*self._powers, np.empty(0)])
        if len(powers) < 4:
            return None
        gating = np.convolve(powers, np.full(4, 0.25), mode="valid")
        loud = gating[_lufs(gating) > -70.0]
        if len(loud):
            loud = loud[_lufs(loud) > _lufs(loud.mean()) - 10.0]
        return float(_lufs(loud.mean())) if len(loud) else None


def loudness_lufs(audio: Audio) -> float | None:
    """Integrated loudness of `audio (2, frames)` at 44100 Hz, as `LoudnessMeter` measures it."""
    meter = LoudnessMeter()
    meter.feed(audio)
    return meter.finish()


def _lufs(power: Any) -> Any:
    with np.errstate(divide="ignore"):
        return -0.691 + 10.0 * np.log10(power)


class _Levels:
    """Sums over one stereo stream."""

    def __init__(self) -> None:
        self.peak = 0.0
        self.clipped = 0
        self.frames = 0
        self.sums = np.zeros(CHANNELS)
        self.energies = np.zeros(CHANNELS)
        self.loudness = LoudnessMeter()

    def feed(self, block: Audio) -> None:
        self.peak = max(self.peak, peak(block))
        self.clipped += clipped_samples(block) if self.peak >= FULL_SCALE else 0
        self.frames += block.shape[1]
        self.sums += block.sum(axis=1, dtype=np.float64)
        self.energies += np.einsum("cf,cf->c", block, block, dtype=np.float64)
        self.loudness.feed(block)

    def finish(self, name: str) -> dict[str, Any]:
        samples = max(self.frames, 1)
        return {
            f"{name}_peak": self.peak,
            f"{name}_rms_db": decibels(float(self.energies.sum()) / (CHANNELS * samples)),
            f"{name}_lufs": self.loudness.finish(),
            f"{name}_clipped": self.clipped,
            f"{name}_dc_offset": float(np.abs(self.sums).max()) / samples,
        }


class TrackMeter:
    """Everything that is measured of a track's levels, fed second by second; memory grows by a few floats a second."""

    def __init__(self) -> None:
        self._mixture, self._vocals = _Levels(), _Levels()
        self._side = 0.0
        self._common = np.zeros(CHANNELS)
        self._vocal_levels: list[float] = []
        self._end: Audio = np.zeros((CHANNELS, 0), np.float32)

    def feed(self, mixture: Audio, vocals: Audio) -> None:
        """Take the next second of both, `(2, 44100)` each; only the last one may be shorter."""
        self._mixture.feed(mixture)
        before = self._vocals.energies.sum()
        self._vocals.feed(vocals)
        energy = float(self._vocals.energies.sum() - before)
        self._vocal_levels.append(decibels(energy / vocals.size) if vocals.size else FLOOR_DB)
        difference = mixture[0] - mixture[1]
        self._side += float(np.einsum("f,f->", difference, difference, dtype=np.float64)) / 4
        self._common += np.einsum("cf,cf->c", mixture, vocals, dtype=np.float64)
        self._end = np.concatenate([self._end, mixture], axis=1)[:, -_SLICE:]

    def finish(self) -> dict[str, Any]:
        """The measurements (JSON values), by the names of the manifest's columns."""
        mixture, vocals = self._mixture, self._vocals
        left, right = (decibels(float(energy) / max(mixture.frames, 1)) for energy in mixture.energies)
        gains = [
            float(common / energy) if energy > 0 else None
            for common, energy in zip(self._common, vocals.energies, strict=True)
        ]
        levels = np.array(self._vocal_levels)
        return {
            **mixture.finish("mixture"),
            **vocals.finish("vocals"),
            "mixture_side_db": decibels(self._side / max(mixture.frames, 1)),
            "mixture_balance_db": left - right,
            "mixture_end_db": rms_db(self._end),
            "vocal_gain_left": gains[0],
            "vocal_gain_right": gains[1],
            "vocal_level_db": [round(float(level), 2) for level in levels],
            "vocal_activity": float(np.mean(levels > ACTIVE_DB)) if len(levels) else 0.0,
        }
