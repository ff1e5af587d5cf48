"""The ideal ratio mask: what masking the mixture's spectrum could reach at best, given the true vocals.

A bound that gives a score table meaning; not a separator. Learned masks stand with the networks.
"""

from __future__ import annotations

import numpy as np
from scipy.signal import istft, stft

from data.audio import Audio

N_FFT = 4096  # frames, 93 ms
HOP = 1024


def ideal_ratio_mask(mixture: Audio, vocals: Audio) -> Audio:
    """The mixture `(channels, frames)` under the mask |V|^2 / (|V|^2 + |A|^2), A = mixture - vocals; same shape.

    The ceiling of real masks on a 4096/1024 STFT, channel by channel, phase taken from the mixture.
    Source: the oracle "IRM2" of SiSEC 2018.
    """
    if mixture.shape != vocals.shape:
        raise ValueError(f"mixture {mixture.shape} and vocals {vocals.shape} differ in shape")
    channels, frames = mixture.shape
    estimate = np.zeros((channels, frames), dtype=np.float32)
    for channel in range(channels):  # one at a time: a four-minute spectrum takes 170 MB
        V = _spectrum(vocals[channel])
        A = _spectrum(mixture[channel] - vocals[channel])
        powers = np.abs(V) ** 2
        total = powers + np.abs(A) ** 2
        mask = np.divide(powers, total, out=np.zeros_like(powers), where=total > 0)
        _, masked = istft(mask * (V + A), nperseg=N_FFT, noverlap=N_FFT - HOP)
        estimate[channel] = masked[:frames]
    return estimate


def _spectrum(signal: Audio) -> np.ndarray:
    # Short signals are padded to one window, which scipy would otherwise shorten.
    padded = np.pad(signal, (0, max(0, N_FFT - signal.size)))
    return stft(padded, nperseg=N_FFT, noverlap=N_FFT - HOP)[2]
