"""Measures of a separation, each under its correct name: uSDR, cSDR, SI-SDR, and leakage where nobody sings.

cSDR stands here twice: as museval counts it, which is what papers publish, and over windows that the song alone
chooses, which is what comparisons need (`csdr_full`).

Pure functions of numpy arrays `(channels, frames)`. Which tracks are scored, and how tracks are averaged, stands in
`models.evaluate`. A measure that has no meaning for its input is NaN, never a number that looks like one.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from data.audio import SAMPLE_RATE

USDR_EPSILON = 1e-7  # energy added to both sides of the ratio by the definition of uSDR; here also of csdr_full
WINDOW_SECONDS = 1.0
SILENCE_DBFS = -60.0  # RMS of a window at or below which nobody is taken to sing

Signal = npt.NDArray[np.floating]


def usdr(reference: Signal, estimate: Signal) -> float:
    """Utterance-level SDR of a track in dB: one ratio over the whole track and both channels.

    `10 log10((sum s^2 + 1e-7) / (sum (s - e)^2 + 1e-7))`. NaN where the reference is all zero. An estimate of silence
    scores 0 dB. Source: Music Demixing Challenge 2021 ("nSDR" in demucs).
    """
    _same_shape(reference, estimate)
    signal = noise = 0.0
    for s, e in _blocks(reference, estimate):
        signal += _energy(s)
        noise += _energy(s - e)
    if signal == 0.0:
        return math.nan
    return 10.0 * math.log10((signal + USDR_EPSILON) / (noise + USDR_EPSILON))


def csdr_windows(
    reference: Signal,
    estimate: Signal,
    accompaniment: Signal,
    accompaniment_estimate: Signal,
    sample_rate: int = SAMPLE_RATE,
) -> npt.NDArray[np.float64]:
    """SDR in dB of every whole 1 s window, `(windows,)`.

    Equal to the framewise SDR of museval (mode v4), whose distortion filters do not touch SDR. As there, a window
    counts as missing (NaN) where any of the four signals is all zero, a rest shorter than a window is left out, and a
    track shorter than a window is one window. A window without any error is +inf.
    """
    signals = (reference, estimate, accompaniment, accompaniment_estimate)
    _same_shape(*signals)
    ratios = []
    for s, e, other, other_estimate in _windows(*signals, sample_rate=sample_rate):
        if not (s.any() and e.any() and other.any() and other_estimate.any()):
            ratios.append(math.nan)
        else:
            ratios.append(_decibels(_energy(s), _energy(s - e)))
    return np.array(ratios, dtype=np.float64)


def csdr(
    reference: Signal,
    estimate: Signal,
    accompaniment: Signal,
    accompaniment_estimate: Signal,
    sample_rate: int = SAMPLE_RATE,
) -> float:
    """Chunk-level SDR of a track in dB: the median over its 1 s windows that are not missing, NaN where all are.

    Source: SiSEC 2018 (museval v4). See `csdr_windows`.
    """
    ratios = csdr_windows(reference, estimate, accompaniment, accompaniment_estimate, sample_rate)
    present = ratios[~np.isnan(ratios)]
    return float(np.median(present)) if present.size else math.nan


def csdr_full(reference: Signal, estimate: Signal, accompaniment: Signal, sample_rate: int = SAMPLE_RATE) -> float:
    """cSDR of a track in dB over every window in which voice and accompaniment sound: the song alone chooses them.

    In museval's count an estimate chooses too: a second that it answers with exact silence, or with the exact mixture
    (then its accompaniment is silence), has no value, and whoever is silent in hard seconds keeps the median of the
    easy ones. The plain ratio of energies has a value there: exactly 0 dB for silence, as in uSDR, which is also what
    a single sample or a faint noise in silence's place comes to; and for the mixture the level of the voice over the
    accompaniment. So a change from `csdr` in nothing but who chooses. The epsilon of uSDR keeps a perfect window
    finite: an infinite one could be neither averaged nor compared. NaN where no window counts.
    """
    _same_shape(reference, estimate, accompaniment)
    ratios = [
        10.0 * math.log10((_energy(s) + USDR_EPSILON) / (_energy(s - e) + USDR_EPSILON))
        for s, e, other in _windows(reference, estimate, accompaniment, sample_rate=sample_rate)
        if s.any() and other.any()
    ]
    return float(np.median(ratios)) if ratios else math.nan


def windows_missing(
    reference: Signal,
    estimate: Signal,
    accompaniment: Signal,
    accompaniment_estimate: Signal,
    sample_rate: int = SAMPLE_RATE,
) -> float:
    """Share (0 to 1) of the windows with voice and accompaniment that `csdr` lacks because an estimate is all zero.

    What the references leave out is the song's doing and does not count. NaN where no window has both.
    """
    signals = (reference, estimate, accompaniment, accompaniment_estimate)
    _same_shape(*signals)
    missing = [
        not (e.any() and other_estimate.any())
        for s, e, other, other_estimate in _windows(*signals, sample_rate=sample_rate)
        if s.any() and other.any()
    ]
    return float(np.mean(missing)) if missing else math.nan


def si_sdr(reference: Signal, estimate: Signal) -> float:
    """Scale-invariant SDR of a track in dB: how small the angle between estimate and reference is.

    Both channels as one vector, no mean removed. NaN where the reference or the estimate is all zero (no angle);
    +inf where the estimate is a multiple of the reference. Source: Le Roux et al., "SDR - half-baked or well done?".
    """
    _same_shape(reference, estimate)
    signal = product = power = 0.0
    for s, e in _blocks(reference, estimate):
        signal += _energy(s)
        power += _energy(e)
        product += _product(s, e)
    if signal == 0.0 or power == 0.0:
        return math.nan
    gain = product / signal
    # The residual is summed sample by sample: power - product^2 / signal would cancel to noise near perfection.
    residual = sum(_energy(gain * s - e) for s, e in _blocks(reference, estimate))
    return _decibels(gain * gain * signal, residual)


def silent_windows(reference: Signal, sample_rate: int = SAMPLE_RATE) -> npt.NDArray[np.bool_]:
    """Which 1 s windows are silent, `(windows,)`: RMS over both channels at or below -60 dBFS.

    A threshold and not zero, because a decoded silence often carries the coder's dither.
    """
    limit = 10.0 ** (SILENCE_DBFS / 10.0)
    return np.array([_energy(w) <= limit * w.size for (w,) in _windows(reference, sample_rate=sample_rate)], dtype=bool)


def leakage_db(reference: Signal, estimate: Signal, mixture: Signal, sample_rate: int = SAMPLE_RATE) -> float:
    """Energy of the estimate relative to the mixture in dB, over the 1 s windows where the reference is silent.

    0 dB lets everything through; the lower the better. NaN where there is no such window, or the mixture is all zero
    in them.
    """
    _same_shape(reference, estimate, mixture)
    silent = silent_windows(reference, sample_rate)
    leaked = total = 0.0
    for quiet, (e, x) in zip(silent, _windows(estimate, mixture, sample_rate=sample_rate), strict=True):
        if quiet:
            leaked += _energy(e)
            total += _energy(x)
    if total == 0.0:
        return math.nan
    # The same epsilon as in uSDR: an estimate of exact silence gets a finite number.
    return 10.0 * math.log10((leaked + USDR_EPSILON) / (total + USDR_EPSILON))


def _windows(*signals: Signal, sample_rate: int) -> Iterator[tuple[npt.NDArray[np.float64], ...]]:
    frames = signals[0].shape[-1]
    window = min(round(WINDOW_SECONDS * sample_rate), frames)
    if window:
        whole = frames // window * window
        yield from _blocks(*(signal[..., :whole] for signal in signals), length=window)


def _blocks(*signals: Signal, length: int = SAMPLE_RATE) -> Iterator[tuple[npt.NDArray[np.float64], ...]]:
    """Stretches of the signals in float64, so that long tracks need no second copy at double size."""
    for start in range(0, signals[0].shape[-1], length):
        yield tuple(signal[..., start : start + length].astype(np.float64) for signal in signals)


def _energy(signal: npt.NDArray[np.float64]) -> float:
    return _product(signal, signal)


def _product(a: npt.NDArray[np.float64], b: npt.NDArray[np.float64]) -> float:
    # Not through BLAS: its threads would make the last digits depend on the machine's load and core count.
    return float(np.einsum("i,i->", a.ravel(), b.ravel()))


def _decibels(numerator: float, denominator: float) -> float:
    if denominator == 0.0:
        return math.inf
    if numerator == 0.0:
        return -math.inf
    return 10.0 * (math.log10(numerator) - math.log10(denominator))


def _same_shape(*signals: Signal) -> None:
    shapes = {signal.shape for signal in signals}
    if len(shapes) > 1:
        raise ValueError(f"signals of one shape expected, found {sorted(shapes)}")
