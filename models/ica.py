"""The report's baseline: vocals by independent component analysis of the two stereo channels.

FastICA as in the report's appendix (centre, whiten, fixed point, deflation), written out correctly, and the kinder
way of choosing the vocal component. Nothing here learns from other tracks.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from data.audio import Audio

TOLERANCE = 1e-10
MAX_ITERATIONS = 200
# Two channels have four unknowns: a million frames spread over the track settle them, and a song fits in a second.
FIT_FRAMES = 1_000_000
# Ratio of the smaller to the larger eigenvalue of the channels' covariance below which they are one signal (-80 dB).
RANK_RATIO = 1e-8


@dataclass(frozen=True)
class Unmixing:
    """A fitted ICA: `components = matrix @ (signal - mean)`, of unit variance.

    `mean (channels, 1)`, `matrix (channels, channels)`; `converged` says whether every fixed point was reached.
    """

    mean: npt.NDArray[np.float64]
    matrix: npt.NDArray[np.float64]
    converged: bool

    def apply(self, signal: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
        """Components `(channels, frames)` of a signal `(channels, frames)`."""
        # Cast before the subtraction: the float32 of an audio file would otherwise set the precision.
        return self.matrix @ (signal.astype(np.float64) - self.mean)


@dataclass(frozen=True)
class Separation:
    """The baseline's vocals `(2, frames)`, or None and the reason why there are none; `note` is for the score table."""

    estimate: Audio | None
    reason: str = ""
    note: str = ""


def fit_ica(
    signal: npt.NDArray[np.floating],
    seed: int = 0,
    tolerance: float = TOLERANCE,
    max_iterations: int = MAX_ITERATIONS,
) -> Unmixing:
    """Fit FastICA to a signal `(channels, frames)`: as many components as channels, one after the other.

    The contrast is G(u) = log cosh u, whose derivative in the fixed-point step is g(u) = tanh u: the "tanh" and the
    "logcosh" contrast are the same. Raises ValueError where the channels are linearly dependent.
    Source: Hyvarinen and Oja, "Independent component analysis: algorithms and applications"; report, Appendix I.
    """
    centred = signal.astype(np.float64)
    mean = centred.mean(axis=1, keepdims=True)
    centred -= mean
    covariance = centred @ centred.T / max(centred.shape[1], 1)
    values, vectors = np.linalg.eigh(covariance)
    if not values[0] > RANK_RATIO * values[-1]:
        raise ValueError("the channels are linearly dependent: there are fewer mixtures than sources")
    whitening = vectors.T / np.sqrt(values)[:, None]
    white = whitening @ centred

    generator = np.random.default_rng(seed)
    count: int = signal.shape[0]
    rows = np.zeros((count, count))
    converged = True
    for index in range(count):
        found = rows[:index]
        w = _decorrelated(generator.standard_normal(count), found)
        for _ in range(max_iterations):
            g = np.tanh(w @ white)
            step = white @ g / g.size - (1.0 - np.vdot(g, g) / g.size) * w
            updated = _decorrelated(step, found)
            moved = abs(abs(updated @ w) - 1.0)
            w = updated
            if moved < tolerance:
                break
        else:
            converged = False
        rows[index] = w
    return Unmixing(mean, rows @ whitening, converged)


def separate_ica(mixture: Audio, vocals_reference: Audio, seed: int = 0) -> Separation:
    """Vocals of `mixture (2, frames)` by ICA, with the kinder assignment.

    The true vocals decide which of the two components is called vocals, and each channel's level of it (projection):
    more than any listener could give it, so the baseline is never beaten by bad luck. Where ICA is undefined (one
    channel, two equal channels, silence, no vocals to choose by) the estimate is None, with the reason.
    Source: report, Section V.
    """
    if mixture.shape != vocals_reference.shape:
        raise ValueError(f"mixture {mixture.shape} and vocals {vocals_reference.shape} differ in shape")
    if mixture.shape[0] < 2:
        return Separation(None, "ICA is undefined: a mono file has one mixture for two sources")
    if not mixture.any():
        return Separation(None, "ICA is undefined: the mixture is silent")
    if not vocals_reference.any():
        return Separation(None, "ICA is undefined: no vocals to tell the components apart by")
    stride = -(-mixture.shape[1] // FIT_FRAMES)
    try:
        unmixing = fit_ica(mixture[:, ::stride], seed)
    except ValueError:
        return Separation(None, "ICA is undefined: both channels hold the same signal, one mixture for two sources")
    components = unmixing.apply(mixture)
    powers = np.einsum("cf,cf->c", components, components)
    products = vocals_reference.astype(np.float64) @ components.T  # (channels, components)
    best = int(np.argmax((products**2 / powers).sum(axis=0)))
    gains = products[:, best] / powers[best]
    estimate = (gains[:, None] * components[best]).astype(np.float32)
    return Separation(estimate, note="" if unmixing.converged else "ICA did not converge")


def _decorrelated(w: npt.NDArray[np.float64], found: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The part of `w` at right angles to the rows found so far, of unit length (deflation)."""
    rest = w - found.T @ (found @ w)
    return rest / np.linalg.norm(rest)
