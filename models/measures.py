"""The measures of a separation as values: what each sees of a track, how it is averaged, what it is called and means.

Whatever keeps, averages, compares, ranks, draws or explains scores loops over `MEASURES`: a new measure is one more
entry. The formulas stand in `models.metrics`; tables of scores, and what may be said of them, in `models.evaluate`.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np

from data.audio import Audio
from data.errors import InputError
from models import metrics

TIE_DB = 0.3  # two trainings of one model from different seeds differ by this much on MUSDB vocals

Tracks = Literal["sung", "instrumental", "all"]


@dataclass(frozen=True, eq=False)
class Sounds:
    """What measures see of a track and an estimate of its vocals; all `(channels, frames)` at 44100 Hz."""

    mixture: Audio
    vocals: Audio
    estimate: Audio

    @cached_property
    def accompaniment(self) -> Audio:
        """What is to be left: mixture - vocals."""
        return self.mixture - self.vocals

    @cached_property
    def accompaniment_estimate(self) -> Audio:
        """What is left: mixture - estimate."""
        # Whoever hands back the mixture claims all of it as accompaniment too. Their difference, silence, would instead
        # leave the floor without a single window.
        return self.mixture if np.array_equal(self.estimate, self.mixture) else self.mixture - self.estimate

    @cached_property
    def sung(self) -> bool:
        """Whether the track has vocals."""
        return not metrics.silent_windows(self.vocals).all()


@dataclass(frozen=True, kw_only=True)
class Measure:
    """A measure of a separated track.

    `column` is its name in the table of scores (it ends in `_db` where `unit` is dB) and `doc` what stands there;
    `of_track` measures, NaN where it has no meaning. `title` is its name on a page, `short` one for sentences with
    several numbers, `explanation` what a reader has to know. `statistic` averages it over those `tracks` it stands for:
    with vocals, without any, or all; `digits` are shown behind the point.

    Its `role`: it is only shown; or compared too, and may then rank methods, which takes that neither silence nor a
    choice of songs and seconds can win it; or it is a headline, by which verdicts are spoken and pictures drawn. A
    difference below `tie` is none. Between `bounds`, where there are any, it is compared, and a track with vocals that
    has no number then counts as the worse of the two: for measures that can be infinite or undefined.

    `version` stands in the recipe of scores: raise it when `of_track` measures otherwise. It is empty for the measures
    that the code version of the scores stands for.
    """

    column: str
    title: str
    unit: str
    statistic: Literal["mean", "median"]
    doc: str
    explanation: str
    of_track: Callable[[Sounds], float]
    short: str = ""
    higher_is_better: bool = True
    digits: int = 2
    tracks: Tracks = "sung"
    role: Literal["shown", "compared", "headline"] = "shown"
    tie: float = TIE_DB
    bounds: tuple[float, float] | None = None
    on_board: bool = True
    version: str = "1"

    @property
    def name(self) -> str:
        """What it is called in a sentence with several numbers."""
        return self.short or self.title

    @property
    def stem(self) -> str:
        """The column's name without its unit: what the setting ISOLATION_RANK_BY calls it."""
        return self.column.removesuffix("_db")

    @property
    def summary(self) -> str:
        """The column of its average in a table of `models.evaluate.summarise`."""
        return self.column.replace(self.stem, f"{self.stem}_{self.statistic}", 1)

    @property
    def common(self) -> str:
        """The column there of its average over the tracks that all candidates have."""
        return self.column.replace(self.stem, f"{self.stem}_common_{self.statistic}", 1)

    @property
    def counted(self) -> str:
        """The column there of the number of tracks behind its average."""
        return f"{self.stem}_tracks"

    @property
    def ranks(self) -> bool:
        """Whether it may compare and rank methods."""
        return self.role != "shown"

    @property
    def arrow(self) -> str:
        """Which way is better, as a sign."""
        return "↑" if self.higher_is_better else "↓"

    @property
    def measured_in(self) -> str:
        """Unit, if it has one, and which way is better."""
        return f"{self.unit} {self.arrow}".strip()


@dataclass(frozen=True, kw_only=True)
class Gap:
    """The share (0 to 1) of a track's seconds that `measure` lacks because of the estimate, of those `among` counts.

    Its `column` in the table of scores follows that of `among`; `summary` is its share of the seconds of all tracks.
    """

    measure: Measure
    among: Measure
    column: str
    summary: str
    doc: str
    of_track: Callable[[Sounds], float]

    @property
    def tracks(self) -> Tracks:
        """The tracks that it stands for."""
        return self.measure.tracks


USDR = Measure(
    column="usdr_db",
    title="uSDR",
    unit="dB",
    statistic="mean",
    doc="uSDR of the whole track, dB; null without vocals",
    explanation="One ratio over the whole track, averaged over tracks by the mean. Handing back silence scores 0 dB, "
    "so below 0 is worse than nothing.",
    of_track=lambda sounds: metrics.usdr(sounds.vocals, sounds.estimate),
    role="headline",
    version="",
)
CSDR = Measure(
    column="csdr_db",
    title="published cSDR",
    unit="dB",
    statistic="median",
    doc="cSDR as museval counts it, dB: median over the 1 s windows that have a value",
    explanation="The same ratio for each second, then the median, as papers print it: another number than uSDR, never "
    "compare the two. Seconds that a separator answers with exact silence have no value here, so being silent where it "
    "is hard raises it.",
    of_track=lambda sounds: metrics.csdr(
        sounds.vocals, sounds.estimate, sounds.accompaniment, sounds.accompaniment_estimate
    ),
    version="",
)
CSDR_FULL = Measure(
    column="csdr_full_db",
    title="cSDR of every second",
    short="cSDR",
    unit="dB",
    statistic="median",
    doc="cSDR of every 1 s window with voice and accompaniment, dB; silence counts as 0 dB",
    explanation="The ratio for each second in which voice and accompaniment sound, then the median: what a typical "
    "second sounds like. Silence counts as 0 dB and leaves nothing out: comparisons go by this cSDR.",
    of_track=lambda sounds: metrics.csdr_full(sounds.vocals, sounds.estimate, sounds.accompaniment),
    role="headline",
    version="",
)
SI_SDR = Measure(
    column="si_sdr_db",
    title="SI-SDR",
    unit="dB",
    statistic="mean",
    doc="SI-SDR of the whole track, dB; null for silence",
    explanation="Ignores how loud the result is; only its shape counts.",
    of_track=lambda sounds: metrics.si_sdr(sounds.vocals, sounds.estimate),
    role="compared",
    # Silence has no angle and counts as the worst: what faint noise in its place comes to, about -10 log10 of a track's
    # samples, -60 dB for ten seconds in stereo.
    bounds=(-60.0, 60.0),
    version="",
)
# Not compared: silence wins it.
LEAKAGE = Measure(
    column="leakage_db",
    title="leakage",
    unit="dB",
    statistic="median",
    doc="what comes through while nobody sings, dB below the mixture; null if somebody always does",
    explanation="What still comes through while nobody sings, relative to the mixture. 0 dB: everything; −20 dB: a "
    "hundredth of the energy.",
    of_track=lambda sounds: metrics.leakage_db(sounds.vocals, sounds.estimate, sounds.mixture),
    higher_is_better=False,
    digits=1,
    tracks="all",
    on_board=False,
    version="",
)

MEASURES: tuple[Measure, ...] = (
    USDR,
    CSDR,
    CSDR_FULL,
    SI_SDR,
    LEAKAGE,
)

GAPS = (
    Gap(
        measure=CSDR,
        among=CSDR_FULL,
        column="windows_missing",
        summary="seconds_missing",
        doc="share (0 to 1) of those windows that csdr_db lacks because the estimate is silent there",
        of_track=lambda sounds: metrics.windows_missing(
            sounds.vocals, sounds.estimate, sounds.accompaniment, sounds.accompaniment_estimate
        ),
    ),
)


def columns() -> list[Measure | Gap]:
    """Everything that is measured of a track, in the order of the table of scores."""
    found: list[Measure | Gap] = []
    for measure in MEASURES:
        found += [measure, *(gap for gap in GAPS if gap.among is measure)]
    return found


def shown(rank_by: Measure) -> list[Measure]:
    """All measures as a person reads them: the one that ranks, others that compare methods, the rest."""
    return sorted(MEASURES, key=lambda measure: (measure is not rank_by, not measure.ranks))


def headlines(rank_by: Measure) -> list[Measure]:
    """The measures of a verdict and of its picture: the one that ranks, then the others that are meant for it."""
    return [measure for measure in shown(rank_by) if measure is rank_by or measure.role == "headline"]


def ranking(name: str) -> Measure:
    """The measure that the setting ISOLATION_RANK_BY names. Raises InputError where none that may rank is called so."""
    known = {measure.stem: measure for measure in MEASURES if measure.ranks}
    if name in known:
        return known[name]
    found, near = repr(name), difflib.get_close_matches(name.lower(), known, n=1)
    if any(name == measure.stem for measure in MEASURES):
        found += ", which compares nothing: silence, or a choice of seconds, can win it"
    elif near:
        found += f", the nearest is {near[0]}"
    raise InputError(
        "setting ISOLATION_RANK_BY",
        expected=f"a measure that may rank: {', '.join(known)}",
        found=found,
        remedy="correct it in the environment or in .env",
    )


def added() -> dict[str, Any]:
    """The part of a recipe of scores that tells of measures which its code version does not stand for."""
    versions = {measure.column: measure.version for measure in MEASURES if measure.version}
    return {"measures": versions} if versions else {}
