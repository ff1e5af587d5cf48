"""Scores: one row a method and track, their summary a method, and comparisons that know what chance can do.

The measures themselves stand in `models.metrics`; the table against other people's numbers in `models.leaderboard`.
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
from models import metrics

MIXTURE = "mixture"  # the floor: the mixture itself as the estimate
ICA = "ica"
IDEAL_MASK = "ideal_mask"  # the ceiling of masking
BASELINES = (MIXTURE, ICA, IDEAL_MASK)


@dataclass(frozen=True)
class Measure:
    """A measure of a track: its column in `SCORES`, its name on a page, and how it is averaged over tracks."""

    column: str
    title: str
    statistic: Literal["mean", "median"]

    @property
    def stem(self) -> str:
        """The column's name without its unit."""
        return self.column.removesuffix("_db")

    @property
    def summary(self) -> str:
        """Its column in a table of `summarise`; the number of tracks behind it stands in `<stem>_tracks`."""
        return f"{self.stem}_{self.statistic}_db"


USDR = Measure("usdr_db", "uSDR", "mean")
CSDR = Measure("csdr_db", "cSDR", "median")
CSDR_FULL = Measure("csdr_full_db", "cSDR of every second", "median")
SI_SDR = Measure("si_sdr_db", "SI-SDR", "mean")
LEAKAGE = Measure("leakage_db", "leakage", "median")
MEASURES = (USDR, CSDR, CSDR_FULL, SI_SDR, LEAKAGE)

# Which measures compare methods. Not the cSDR that is published, whose windows the estimate chooses too, and not
# leakage, which silence wins.
COMPARED = (USDR, CSDR_FULL, SI_SDR)

SCORES = Table(
    "scores.parquet",
    pa.schema(
        [
            column("method", pa.string(), "a candidate, a baseline or a bound", nullable=False),
            column("track_id", pa.string(), "dataset/slug", nullable=False),
            column("split", pa.string(), "test or reserved", nullable=False),
            column("seconds", pa.float64(), "length of the track, seconds", nullable=False),
            column("usdr_db", pa.float64(), "uSDR of the whole track, dB; null without vocals"),
            column(
                "csdr_db", pa.float64(), "cSDR as museval counts it, dB: median over the 1 s windows that have a value"
            ),
            column(
                "csdr_full_db",
                pa.float64(),
                "cSDR of every 1 s window with voice and accompaniment, dB; silence counts as 0 dB",
            ),
            column(
                "windows_missing",
                pa.float64(),
                "share (0 to 1) of those windows that csdr_db lacks because the estimate is silent there",
            ),
            column("si_sdr_db", pa.float64(), "SI-SDR of the whole track, dB; null for silence"),
            column(
                "leakage_db",
                pa.float64(),
                "what comes through while nobody sings, dB below the mixture; null if somebody always does",
            ),
            column("note", pa.string(), "why a number is missing; else empty", nullable=False),
        ]
    ),
)

TIE_DB = 0.3  # two trainings of one model from different seeds differ by this much on MUSDB vocals
FEWEST_TRACKS = 3  # below which no bootstrap interval means anything
RESAMPLES = 10_000
# SI-SDR is compared between -60 and 60 dB. Silence has no angle and counts as the worst: what faint noise in its
# place comes to, about -10 log10 of a track's samples, -60 dB for ten seconds in stereo.
SI_SDR_BOUND_DB = 60.0

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

    The accompaniment is mixture - vocals, its estimate mixture - estimate. `estimate=None` (a method that is undefined
    for this track) gives a row without numbers, whose note should say why. A track without vocals gets its leakage
    only. Raises InputError where the estimate has another shape or holds samples that are not finite.
    """
    if vocals.shape != mixture.shape:
        raise ValueError(f"{track_id}: mixture {mixture.shape} and vocals {vocals.shape} differ in shape")
    row: dict[str, object] = {
        "method": method,
        "track_id": track_id,
        "split": split,
        "seconds": mixture.shape[1] / SAMPLE_RATE,
        "usdr_db": None,
        "csdr_db": None,
        "csdr_full_db": None,
        "windows_missing": None,
        "si_sdr_db": None,
        "leakage_db": None,
        "note": note,
    }
    if estimate is None:
        return row
    _refuse_unusable(estimate, mixture, what=f"{method} on {track_id}")
    row["leakage_db"] = _optional(metrics.leakage_db(vocals, estimate, mixture))
    if metrics.silent_windows(vocals).all():
        row["note"] = "; ".join(filter(None, [note, "no vocals: leakage only"]))
        return row
    accompaniment = mixture - vocals
    # Whoever hands back the mixture claims all of it as accompaniment too. Their difference, silence, would instead
    # leave the floor without a single window.
    accompaniment_estimate = mixture if np.array_equal(estimate, mixture) else mixture - estimate
    row["usdr_db"] = _optional(metrics.usdr(vocals, estimate))
    signals = (vocals, estimate, accompaniment, accompaniment_estimate)
    row["csdr_db"] = _optional(metrics.csdr(*signals))
    row["csdr_full_db"] = _optional(metrics.csdr_full(vocals, estimate, accompaniment))
    row["windows_missing"] = _optional(metrics.windows_missing(*signals))
    row["si_sdr_db"] = _optional(metrics.si_sdr(vocals, estimate))
    if not estimate.any():
        row["note"] = "; ".join(filter(None, [note, "the estimate is silent"]))
    return row


def scores_frame(rows: Iterable[dict[str, object]]) -> pd.DataFrame:
    """The rows of `score_track` as a table with the columns and types of `SCORES`."""
    return pa.Table.from_pylist(list(rows), schema=SCORES.schema).to_pandas()


def summarise(scores: pd.DataFrame) -> pd.DataFrame:
    """One row a method: its numbers, how many tracks stand behind each, and its place; best first.

    Columns: method, tracks (rows), usdr_common_mean_db and common_tracks, which rank, and for each of `MEASURES` its
    average and the number of tracks that have it: usdr_mean_db and usdr_tracks, csdr_median_db and csdr_tracks, and
    so on; seconds_missing is the share (0 to 1) of the seconds with voice and accompaniment that its cSDR lacks
    because of silent estimates. `coverage` says in words who lacks what.

    Methods are ranked by their mean uSDR over the tracks that all of them have one for, so that nobody gains by
    lacking hard ones. Baselines and bounds take no track from the others: ICA, undefined on mono files, is averaged
    over those of the common tracks that it has.
    """
    grouped = scores.groupby("method", sort=True)
    summary = pd.DataFrame({"tracks": grouped["track_id"].nunique()})
    ranking = scores[scores["track_id"].isin(_common_tracks(scores))].groupby("method")[USDR.column]
    summary["usdr_common_mean_db"] = ranking.mean()
    summary["common_tracks"] = ranking.count()
    summary["common_tracks"] = summary["common_tracks"].fillna(0).astype("int64")
    for measure in MEASURES:
        finite = grouped[measure.column]
        summary[measure.summary] = finite.mean() if measure.statistic == "mean" else finite.median()
        summary[f"{measure.stem}_tracks"] = finite.count()
    counted = scores.dropna(subset=["windows_missing"])
    missing = (counted["windows_missing"] * counted["seconds"]).groupby(counted["method"]).sum()
    summary["seconds_missing"] = missing / counted.groupby("method")["seconds"].sum()
    order = ["usdr_common_mean_db", "usdr_mean_db"]
    return summary.sort_values(order, ascending=False, na_position="last", kind="stable").reset_index()


def coverage(scores: pd.DataFrame) -> list[str]:
    """What keeps the methods' numbers from standing over the same tracks and seconds, in sentences; empty if nothing.

    A method lacks a track when it has no row for it, or no number where another method has one: of any measure, or of
    single measures, which are then named. It lacks seconds where its estimate is silent, or leaves nothing for the
    accompaniment, so that its cSDR stands over the other seconds of the track alone.
    """
    every = set(scores["track_id"])
    measurable = {measure: set(scores.loc[scores[measure.column].notna(), "track_id"]) for measure in MEASURES}
    problems = []
    for method, rows in scores.groupby("method", sort=True):
        absent = every - set(rows["track_id"])
        lacking = {
            measure: tracks - set(rows.loc[rows[measure.column].notna(), "track_id"]) - absent
            for measure, tracks in measurable.items()
        }
        unscored = lacking[USDR]
        if absent:
            problems.append(f"{method} was not run on {_listing(absent)}")
        if unscored:
            problems.append(f"{method} has no score on {_listing(unscored)}")
        for measure, tracks in lacking.items():
            if partly := tracks - unscored:
                problems.append(f"{method} has no {measure.title} on {_listing(partly)}")
        silent = rows[rows["windows_missing"] > 0].sort_values("track_id")
        if len(silent):
            shares = {f"{row.track_id} ({percent(row.windows_missing)})" for row in silent.itertuples()}
            problems.append(
                f"{method} has no cSDR in a share of the seconds, which it answers with silence or with the mixture, "
                f"on {_listing(shares)}"
            )
    return problems


@dataclass(frozen=True)
class Comparison:
    """Two methods on the same tracks: `difference` = a minus b in dB with its 95 % bootstrap interval.

    `statistic` says whether it is the mean or the median of the paired differences; `missing` lists the tracks that
    only one of the two has a number for, and which were therefore left out. Numbers are NaN without any pair.
    """

    a: str
    b: str
    metric: str
    statistic: str
    tracks: int
    difference: float
    low: float
    high: float
    missing: tuple[str, ...]

    @property
    def verdict(self) -> Verdict:
        """What may be said: a difference counts when its interval excludes 0 and it is at least 0.3 dB."""
        if self.tracks < FEWEST_TRACKS:
            return "too few tracks"
        if self.low <= 0.0 <= self.high or abs(self.difference) < TIE_DB:
            return "tie"
        return "better" if self.difference > 0.0 else "worse"

    @property
    def tie(self) -> bool:
        """Whether neither of the two may be called better."""
        return self.verdict not in ("better", "worse")


def compare(scores: pd.DataFrame, a: str, b: str, metric: str = USDR.column, seed: int = 0) -> Comparison:
    """Compare methods `a` and `b` track by track, in a measure of `COMPARED`.

    The differences of the tracks that both have a number for are averaged as the metric is (mean for uSDR and SI-SDR,
    median for cSDR); tracks are resampled 10000 times from `seed` for the interval. No estimate can take a track out
    by being silent there: silence counts as 0 dB in uSDR and in the cSDR of every second, and as the least in SI-SDR.
    Raises InputError where a method has no rows at all, ValueError for a metric that does not compare.
    """
    statistic = {measure.column: measure.statistic for measure in COMPARED}.get(metric)
    if statistic is None:
        raise ValueError(f"{metric} is not one of {', '.join(measure.column for measure in COMPARED)}")
    if metric == SI_SDR.column:
        silent = scores[SI_SDR.column].isna() & scores[USDR.column].notna()
        bounded = scores[SI_SDR.column].clip(-SI_SDR_BOUND_DB, SI_SDR_BOUND_DB).mask(silent, -SI_SDR_BOUND_DB)
        scores = scores.assign(**{SI_SDR.column: bounded})
    table = scores.pivot(index="track_id", columns="method", values=metric)
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
        return Comparison(a, b, metric, statistic, 0, math.nan, math.nan, math.nan, missing)
    average = np.mean if statistic == "mean" else np.median
    draws = np.random.default_rng(seed).integers(differences.size, size=(RESAMPLES, differences.size))
    low, high = np.quantile(average(differences[draws], axis=1), [0.025, 0.975])
    return Comparison(
        a, b, metric, statistic, differences.size, float(average(differences)), float(low), float(high), missing
    )


def _common_tracks(scores: pd.DataFrame) -> set[str]:
    """Tracks that every candidate with any uSDR at all has one for (every method's, where there is no candidate)."""
    scored = scores.dropna(subset=[USDR.column])
    own = scored[~scored["method"].isin(BASELINES)]
    tracks = [set(rows) for _, rows in (scored if own.empty else own).groupby("method")["track_id"]]
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
