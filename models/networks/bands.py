"""Bands of frequency, which more than one network splits a spectrum into: as settings, and as whole bins of an STFT."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated

from pydantic import AfterValidator, Field

from data.audio import SAMPLE_RATE
from models.section import Positive, Section


class BandRangeSettings(Section):
    """Bands of equal width, from where the range before it ends up to a frequency."""

    width_hz: Positive
    up_to_hz: Positive


def _ranges_rise(ranges: list[BandRangeSettings]) -> list[BandRangeSettings]:
    edges = [r.up_to_hz for r in ranges]
    if any(after <= before for before, after in pairwise(edges)):
        raise ValueError(f"up_to_hz must rise from range to range, found {edges}")
    return ranges


Bands = Annotated[list[BandRangeSettings], Field(min_length=1, max_length=1000), AfterValidator(_ranges_rise)]


@dataclass(frozen=True)
class BandGroup:
    """Neighbouring bands of equal width: `count` bands of `width` bins, the lowest of which begins at bin `first`."""

    first: int
    count: int
    width: int

    @property
    def bins(self) -> slice:
        return slice(self.first, self.first + self.count * self.width)


def band_groups(ranges: Sequence[BandRangeSettings], window: int) -> list[BandGroup]:
    """Bands that cover every bin of an STFT of `window` samples exactly once, from the bottom up, in groups.

    A range that has no whole band left at this resolution is left out.
    """
    bins, bin_hz = window // 2 + 1, SAMPLE_RATE / window
    groups, first = [], 0
    for wanted in ranges:
        width = max(1, round(wanted.width_hz / bin_hz))
        end = min(bins, round(wanted.up_to_hz / bin_hz))
        count = min(max(0, round((end - first) / width)), (bins - first) // width)
        if count > 0:
            groups.append(BandGroup(first, count, width))
            first = groups[-1].bins.stop
    if first < bins:
        groups.append(BandGroup(first, 1, bins - first))
    return groups
