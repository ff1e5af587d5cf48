"""At which level each stem stands in its mixture: gains by least squares, and which of them can be believed.

What is done with a gain belongs to the dataset whose stems they are; that a track is flagged, to `data.quality`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from data.audio import CHANNELS, Audio

Matrix = npt.NDArray[np.float64]

MOST = 16.0  # +24 dB: the largest gain that a mixing desk is believed
LEAST = 0.05  # -26 dB: below it a stem counts as not in the mixture
AUDIBLE = 1e-6  # -60 dB: a quieter stem, against its mixture, drowns in what no stem explains
UNSTEADY = 0.5  # of a gain: by which its two measurements may differ
# How much a stem's own energy counts for the gain that all share. It decides what the mixture leaves open (stems that
# are copies of each other) and nothing else: a hundred-thousandth part moves no gain that can be measured.
RIDGE = 1e-5
POOR_DB = -3.0  # of the mixture: where stems leave more unexplained, their gains are accidents
_HALVES = 2
_SIDES = ("left", "right")


@dataclass(frozen=True)
class StemGains:
    """The gain of every stem in each channel of its mixture.

    `measured` is `(stems, channels=2)`, NaN where a stem is silent or its gain cannot be believed; `usable` holds a
    number in every place. `faults` has a sentence for each gain that cannot be believed, by stem. `plain_db` is what
    the mixture holds beyond the plain sum of its stems at the best single gain, `fitted_db` beyond their sum at
    `usable`, both in dB of the mixture's energy; None where the mixture, or every stem, is silent.
    """

    measured: Matrix
    usable: Matrix
    faults: dict[int, list[str]]
    plain_db: float | None
    fitted_db: float | None

    @property
    def poor(self) -> bool:
        """Whether the mixture is not made of these stems: no gain says anything then."""
        return self.fitted_db is None or self.fitted_db > POOR_DB


class StemFit:
    """Fits a mixture as the sum of its stems, each at a gain of its own in each channel, block by block.

    Only the products of all stems with each other are kept, in float64: memory does not grow with the track. Even and
    odd blocks are kept apart. A fader that moves changes both alike, so that where the two halves give different
    gains, the gain is noise.
    """

    def __init__(self, stems: int) -> None:
        self._stems, self._blocks = stems, 0
        # The mixture is the last row and column.
        self._products = np.zeros((_HALVES, CHANNELS, stems + 1, stems + 1))

    def feed(self, mixture: Audio, stems: Sequence[Audio]) -> None:
        """Take the next block of the mixture, `(channels=2, frames)`, and of every stem; a stem may end earlier."""
        frames = mixture.shape[1]
        together = np.zeros((CHANNELS, self._stems + 1, frames))
        for number, stem in enumerate(stems):
            overlap = min(stem.shape[1], frames)
            together[:, number, :overlap] = stem[:, :overlap]
        together[:, -1] = mixture
        self._products[self._blocks % _HALVES] += together @ together.transpose(0, 2, 1)
        self._blocks += 1

    def finish(self) -> StemGains:
        """The gains over all that was fed.

        A gain is not believed where it differs between the halves, is beyond MOST, or is negative although the stem
        sounds like the mixture: least squares then uses one stem to take bleed out of another. Such a stem takes the
        gain that all stems share, or its other channel's, and the rest is fitted again. A stem below LEAST is not in
        the mixture: its gain is 0. One that is in it upside down keeps its negative gain.
        """
        measured = np.full((self._stems, CHANNELS), np.nan)
        usable = np.ones((self._stems, CHANNELS))
        faults: dict[int, list[str]] = {}
        shared = [_shared_gain(self._products[:, channel].sum(axis=0)) for channel in range(CHANNELS)]
        for channel, side in enumerate(_SIDES):
            gains, doubts = _fit(self._products[:, channel], shared[channel])
            measured[:, channel] = gains
            for number, doubt in doubts.items():
                faults.setdefault(number, []).append(f"{side} {doubt}")
        for channel in range(CHANNELS):
            other = measured[:, 1 - channel]
            instead = np.where(np.isnan(other), shared[channel], other)
            usable[:, channel] = np.where(np.isnan(measured[:, channel]), instead, measured[:, channel])
        # Rounded, so that what is recorded is what was applied, whatever order a processor adds products in.
        measured, usable = np.round(measured, 6), np.round(usable, 6)
        return StemGains(measured, usable, faults, self._plain_db(), self._residual_db(usable))

    def _plain_db(self) -> float | None:
        total = self._products.sum(axis=(0, 1))
        mixture, common, stems = total[-1, -1], total[:-1, -1].sum(), total[:-1, :-1].sum()
        if mixture == 0.0 or stems <= 0.0:
            return None
        return _decibels(1.0 - common**2 / (stems * mixture))

    def _residual_db(self, gains: Matrix) -> float | None:
        total = self._products.sum(axis=0)
        mixture = total[:, -1, -1].sum()
        if mixture == 0.0 or not total[:, range(self._stems), range(self._stems)].any():
            return None
        left = 0.0
        for channel in range(CHANNELS):
            weights = np.append(-gains[:, channel], 1.0)
            left += float(weights @ total[channel] @ weights)
        return _decibels(left / float(mixture))


def _decibels(share: float) -> float:
    return round(10.0 * float(np.log10(max(share, 1e-12))), 2)


def _shared_gain(products: Matrix) -> float:
    """The best single gain for all stems of a channel, 1 where they say nothing of it."""
    energy, common = float(products[:-1, :-1].sum()), float(products[:-1, -1].sum())
    gain = common / energy if energy > 0.0 else 1.0
    return gain if LEAST <= gain <= MOST else 1.0


def _fit(halves: Matrix, shared: float) -> tuple[Matrix, dict[int, str]]:
    """The gains in one channel, NaN where there is none to believe, and why each of the doubtful ones is not."""
    total = halves.sum(axis=0)
    count = len(total) - 1
    gains = np.full(count, np.nan)
    doubts: dict[int, str] = {}
    audible = [number for number in range(count) if _heard(total, number)]
    while len(free := [number for number in audible if number not in doubts]):
        fitted = _solve(total, free, list(doubts), shared)
        apart = [_solve(half, free, list(doubts), shared) for half in halves]
        found = {}
        for place, number in enumerate(free):
            # In a half in which the stem is silent there is no second measurement.
            twice = all(_heard(half, number) for half in halves)
            pair = [float(solution[place]) for solution in apart] if twice else []
            doubt = _doubt(float(fitted[place]), pair, float(total[number, -1]))
            if doubt:
                found[number] = doubt
        if not found:
            gains[free] = np.where(np.abs(fitted) < LEAST, 0.0, fitted)
            break
        doubts |= found
    return gains, doubts


def _heard(products: Matrix, number: int) -> bool:
    return bool(products[number, number] > AUDIBLE * products[-1, -1])


def _solve(products: Matrix, free: Sequence[int], fixed: Sequence[int], shared: float) -> Matrix:
    """Gains of the stems `free` where the stems `fixed` have the gain that all share."""
    among = products[np.ix_(free, free)]
    target = products[free, -1] - shared * products[np.ix_(free, fixed)].sum(axis=1)
    # A stem that is silent here has no energy of its own: any positive number keeps the equations solvable.
    pull = RIDGE * np.diag(among)
    pull = np.where(pull > 0.0, pull, 1e-30 + RIDGE * pull.max(initial=0.0))
    return np.asarray(np.linalg.solve(among + np.diag(pull), target + pull * shared), dtype=np.float64)


def _doubt(gain: float, pair: Sequence[float], likeness: float) -> str | None:
    """Why a gain cannot be believed, None where it can; `likeness` is the product of stem and mixture."""
    if abs(gain) > MOST:
        return f"gain {gain:.3g} is beyond {MOST:g}"
    if gain <= -LEAST and likeness > 0.0:
        return f"gain {gain:.3g} is negative, though the stem sounds like the mixture"
    if pair and abs(pair[0] - pair[1]) > max(UNSTEADY * abs(gain), 2 * LEAST):
        return f"gain is unsteady: {pair[0]:.3g} and {pair[1]:.3g} in two halves of the track"
    return None
