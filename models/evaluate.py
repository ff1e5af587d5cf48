"""Scores: one row a method and track, their summary a method, and comparisons that know what chance can do.

What is measured of a track stands in `models.measures`; the table against other people's numbers in
`models.leaderboard`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
import pyarrow as pa

from data.audio import SAMPLE_RATE, Audio
from data.errors import InputError
from data.tables import Table, column
from models.measures import GAPS, MEASURES, USDR, Measure, Sounds, columns

MIXTURE = "mixture"  # the floor: the mixture itself as the estimate
ICA = "ica"
IDEAL_MASK = "ideal_mask"  # the ceiling of masking
BASELINES = (MIXTURE, ICA, IDEAL_MASK)

SCORES = Table(
    "scores.parquet",
    pa.schema(
        [
            column("method", pa.string(), "a candidate, a baseline or a bound", nullable=False),
            column("track_id", pa.string(), "dataset/slug", nullable=False),
            column("split", pa.string(), "test or reserved", nullable=False),
            column("seconds", pa.float64(), "length of the track, seconds", nullable=False),
            *(column(measured.column, pa.float64(), measured.doc) for measured in columns()),
            column("note", pa.string(), "why a number is missing; else empty", nullable=False),
        ]
    ),
)

FEWEST_TRACKS = 3  # below which no bootstrap interval means anything
RESAMPLES = 10_000

Verdict = Literal["better", "worse", "tie", "too few tracks"]


def score_track(
    *,
    method: str,
    track_id: str,
    split: str,
    mixture: Audio,
    vocals: Audio,
    estimate: Audio | None,
    note: str = "",
) -> dict[str, object]:
    """One row of `SCORES`: how well `estimate` matches `vocals`; all `(2, frames)` at 44100 Hz.

    `estimate=None` (a method that is undefined for this track) gives a row without numbers, whose note should say why.
    A track without vocals gets those measures only that stand for it, such as leakage. Raises InputError where the
    estimate has another shape or holds samples that are not finite.
    """
    if vocals.shape != mixture.shape:
        raise ValueError(f"{track_id}: mixture {mixture.shape} and vocals {vocals.shape} differ in shape")
    row: dict[str, object] = {
        "method": method,
        "track_id": track_id,
        "split": split,
        "seconds": mixture.shape[1] / SAMPLE_RATE,
        **dict.fromkeys(measured.column for measured in columns()),
        "note": note,
    }
    if estimate is None:
        return row
    _refuse_unusable(estimate, mixture, what=f"{method} on {track_id}")
    sounds = Sounds(mixture, vocals, estimate)
    kinds = ("all", "sung" if sounds.sung else "instrumental")
    for measured in columns():
        if measured.tracks in kinds:
            row[measured.column] = _optional(float(measured.of_track(sounds)))
    remark = "the estimate is silent" if not estimate.any() else ""
    if not sounds.sung:
        remark = f"no vocals: {' and '.join(measure.title for measure in MEASURES if measure.tracks in kinds)} only"
    row["note"] = "; ".join(filter(None, [note, remark]))
    return row


def scores_frame(rows: Iterable[dict[str, object]]) -> pd.DataFrame:
    """The rows of `score_track` as a table with the columns and types of `SCORES`."""
    return pa.Table.from_pylist(list(rows), schema=SCORES.schema).to_pandas()


def has_score(scores: pd.DataFrame) -> pd.Series[bool]:
    """Which rows have a number of any measure that stands for tracks with vocals."""
    return (
        scores.reindex(columns=[measure.column for measure in MEASURES if measure.tracks == "sung"]).notna().any(axis=1)
    )


def comparable(scores: pd.DataFrame, measure: Measure) -> pd.Series[float]:
    """The numbers of a measure by which methods are compared and ranked: kept within its bounds, if it has any.

    No estimate can then take a track out by leaving such a measure without a number there: it counts as the worst.
    """
    numbers = scores[measure.column]
    if measure.bounds is None:
        return numbers
    worst = measure.bounds[0 if measure.higher_is_better else 1]
    return numbers.clip(*measure.bounds).mask(numbers.isna() & has_score(scores), worst)


def summarise(scores: pd.DataFrame, rank_by: Measure = USDR) -> pd.DataFrame:
    """One row a method: its numbers, how many tracks stand behind each, and its place by `rank_by`; best first.

    Columns: method, tracks (rows), scored_tracks (those with vocals and a number), `rank_by.common` and common_tracks,
    which rank, and for each of `MEASURES` its average and the number of tracks that have it: usdr_mean_db and
    usdr_tracks, csdr_median_db and csdr_tracks, and so on; for each of `GAPS` the share (0 to 1) of the seconds that a
    measure lacks because of the estimates. `coverage` says in words who lacks what.

    Methods are ranked by their average over the tracks that all of them have a number for, so that nobody gains by
    lacking hard ones. Baselines and bounds take no track from the others: ICA, undefined on mono files, is averaged
    over those of the common tracks that it has.
    """
    grouped = scores.groupby("method", sort=True)
    summary = pd.DataFrame({"tracks": grouped["track_id"].nunique()})
    summary["scored_tracks"] = has_score(scores).groupby(scores["method"]).sum().astype("int64")
    numbers = scores.assign(number=comparable(scores, rank_by))
    ranked = numbers[numbers["track_id"].isin(_common_tracks(numbers))].groupby("method")["number"]
    summary[rank_by.common] = ranked.agg(rank_by.statistic)
    summary["common_tracks"] = ranked.count()
    summary["common_tracks"] = summary["common_tracks"].fillna(0).astype("int64")
    for measure in MEASURES:
        summary[measure.summary] = grouped[measure.column].agg(measure.statistic)
        summary[measure.counted] = grouped[measure.column].count()
    for gap in GAPS:
        counted = scores.dropna(subset=[gap.column])
        missing = (counted[gap.column] * counted["seconds"]).groupby(counted["method"]).sum()
        summary[gap.summary] = missing / counted.groupby("method")["seconds"].sum()
    order, ascending = [rank_by.common, rank_by.summary], not rank_by.higher_is_better
    return summary.sort_values(order, ascending=ascending, na_position="last", kind="stable").reset_index()


def coverage(scores: pd.DataFrame) -> list[str]:
    """What keeps the methods' numbers from standing over the same tracks and seconds, in sentences; empty if nothing.

    A method lacks a track when it has no row for it, or no number where another method has one: of any measure, or of
    single measures, which are then named. It lacks seconds where its estimate is silent, or leaves nothing for the
    accompaniment, so that a measure stands over the other seconds of the track alone.
    """
    every, numbered = set(scores["track_id"]), has_score(scores)
    sung = set(scores.loc[numbered, "track_id"])
    measurable = {measure: set(scores.loc[scores[measure.column].notna(), "track_id"]) for measure in MEASURES}
    problems = []
    for method, rows in scores.groupby("method", sort=True):
        absent = every - set(rows["track_id"])
        unscored = sung - set(rows.loc[numbered[rows.index], "track_id"]) - absent
        if absent:
            problems.append(f"{method} was not run on {_listing(absent)}")
        if unscored:
            problems.append(f"{method} has no score on {_listing(unscored)}")
        for measure, tracks in measurable.items():
            lacking = tracks - set(rows.loc[rows[measure.column].notna(), "track_id"]) - absent - unscored
            if lacking:
                problems.append(f"{method} has no {measure.title} on {_listing(lacking)}")
        for gap in GAPS:
            silent = rows[rows[gap.column] > 0].sort_values("track_id")
            if len(silent):
                parts = zip(silent["track_id"], silent[gap.column], strict=True)
                problems.append(
                    f"{method} has no {gap.measure.title} in a share of the seconds, which it answers with silence or "
                    f"with the mixture, on {_listing({f'{track} ({percent(share)})' for track, share in parts})}"
                )
    return problems


@dataclass(frozen=True)
class Comparison:
    """Two methods on the same tracks: `difference` = a minus b in a measure, with its 95 % bootstrap interval.

    It is the mean or the median of the paired differences, as the measure is averaged; `missing` lists the tracks that
    only one of the two has a number for, and which were therefore left out. Numbers are NaN without any pair.
    """

    a: str
    b: str
    measure: Measure
    tracks: int
    difference: float
    low: float
    high: float
    missing: tuple[str, ...]

    @property
    def verdict(self) -> Verdict:
        """What may be said: a difference counts when its interval excludes 0 and it is at least the measure's tie."""
        if self.tracks < FEWEST_TRACKS:
            return "too few tracks"
        if self.low <= 0.0 <= self.high or abs(self.difference) < self.measure.tie:
            return "tie"
        return "better" if (self.difference > 0.0) == self.measure.higher_is_better else "worse"

    @property
    def tie(self) -> bool:
        """Whether neither of the two may be called better."""
        return self.verdict not in ("better", "worse")


def compare(scores: pd.DataFrame, a: str, b: str, measure: Measure = USDR, seed: int = 0) -> Comparison:
    """Compare methods `a` and `b` track by track, in a measure that ranks.

    The differences of the tracks that both have a number for are averaged as the measure is (mean for uSDR and SI-SDR,
    median for cSDR); tracks are resampled 10000 times from `seed` for the interval. No estimate can take a track out
    by being silent there: silence counts as 0 dB in uSDR and in the cSDR of every second, and as the least in SI-SDR.
    Raises InputError where a method has no rows at all, ValueError for a measure that does not compare.
    """
    if not measure.ranks:
        raise ValueError(f"{measure.title} does not compare methods")
    numbers = scores.assign(number=comparable(scores, measure))
    table = numbers.pivot(index="track_id", columns="method", values="number")
    for method in (a, b):
        if method not in table:
            raise InputError(
                f"comparison of {a} and {b}",
                expected=f"scores of {a} and of {b}",
                found=f"scores of {', '.join(map(str, table.columns)) or 'nothing'}",
                remedy=f"score {method} on the same tracks first",
            )
    pairs = table[[a, b]].replace([math.inf, -math.inf], math.nan)
    both = pairs.dropna()
    missing = tuple(sorted(pairs.index[pairs.notna().any(axis=1)].difference(both.index)))
    differences = (both[a] - both[b]).to_numpy(dtype=float)
    if not differences.size:
        return Comparison(a, b, measure, 0, math.nan, math.nan, math.nan, missing)
    average = np.mean if measure.statistic == "mean" else np.median
    draws = np.random.default_rng(seed).integers(differences.size, size=(RESAMPLES, differences.size))
    low, high = np.quantile(average(differences[draws], axis=1), [0.025, 0.975])
    return Comparison(a, b, measure, differences.size, float(average(differences)), float(low), float(high), missing)


def _common_tracks(scores: pd.DataFrame) -> set[str]:
    """Tracks that every candidate with any `number` has one for (every method's, where there is no candidate)."""
    ranked = scores.dropna(subset=["number"])
    own = ranked[~ranked["method"].isin(BASELINES)]
    tracks = [set(rows) for _, rows in (ranked if own.empty else own).groupby("method")["track_id"]]
    return set.intersection(*tracks) if tracks else set()


def percent(share: float) -> str:
    """A share (0 to 1) in words; never "0 %" or "100 %" for what is not."""
    return f"{min(max(round(100 * share), 1), 99) if 0.0 < share < 1.0 else round(100 * share)} %"


def _optional(value: float) -> float | None:
    return None if math.isnan(value) else value


def _listing(track_ids: set[str], most: int = 5) -> str:
    names = sorted(track_ids)
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _refuse_unusable(estimate: Audio, mixture: Audio, what: str) -> None:
    found = None
    if estimate.shape != mixture.shape:
        found = f"shape {estimate.shape}"
    elif bad := int(np.count_nonzero(~np.isfinite(estimate))):
        found = f"{bad} samples that are NaN or infinite"
    if found:
        raise InputError(
            what,
            expected=f"an estimate of shape {mixture.shape}, as the mixture, with finite samples",
            found=found,
            remedy="separate the track again; if that repeats, the checkpoint is damaged: train it again",
        )
