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
from data.tables import Table
from models import metrics

MIXTURE = "mixture"  # the floor: the mixture itself as the estimate
ICA = "ica"
IDEAL_MASK = "ideal_mask"  # the ceiling of masking
BASELINES = (MIXTURE, ICA, IDEAL_MASK)

SCORES = Table(
    "scores.parquet",
    pa.schema(
        [
            pa.field("method", pa.string(), nullable=False),
            pa.field("track_id", pa.string(), nullable=False),
            pa.field("split", pa.string(), nullable=False),
            pa.field("seconds", pa.float64(), nullable=False),
            ("usdr_db", pa.float64()),
            ("csdr_db", pa.float64()),
            ("si_sdr_db", pa.float64()),
            ("leakage_db", pa.float64()),
            pa.field("note", pa.string(), nullable=False),
        ]
    ),
)

# How each measure is averaged over tracks, by its definition.
STATISTICS: dict[str, Literal["mean", "median"]] = {"usdr_db": "mean", "csdr_db": "median", "si_sdr_db": "mean"}

TIE_DB = 0.3  # two trainings of one model from different seeds differ by this much on MUSDB vocals
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
    row["csdr_db"] = _optional(metrics.csdr(vocals, estimate, accompaniment, accompaniment_estimate))
    row["si_sdr_db"] = _optional(metrics.si_sdr(vocals, estimate))
    if not estimate.any():
        row["note"] = "; ".join(filter(None, [note, "the estimate is silent"]))
    return row


def scores_frame(rows: Iterable[dict[str, object]]) -> pd.DataFrame:
    """The rows of `score_track` as a table with the columns and types of `SCORES`."""
    return pa.Table.from_pylist(list(rows), schema=SCORES.schema).to_pandas()


def summarise(scores: pd.DataFrame) -> pd.DataFrame:
    """One row a method: its tracks and its numbers over them, best uSDR first.

    Columns: method, tracks (rows), tracks_scored (rows with an SDR), usdr_mean_db, csdr_median_db, si_sdr_mean_db,
    leakage_median_db. A number stands over the tracks that have one: see `coverage` for who lacks which.
    """
    grouped = scores.groupby("method", sort=True)
    summary = pd.DataFrame(
        {
            "tracks": grouped["track_id"].nunique(),
            "tracks_scored": grouped["usdr_db"].count(),
            "usdr_mean_db": grouped["usdr_db"].mean(),
            "csdr_median_db": grouped["csdr_db"].median(),
            "si_sdr_mean_db": grouped["si_sdr_db"].mean(),
            "leakage_median_db": grouped["leakage_db"].median(),
        }
    )
    return summary.sort_values("usdr_mean_db", ascending=False, na_position="last", kind="stable").reset_index()


def coverage(scores: pd.DataFrame) -> list[str]:
    """What keeps the methods' numbers from standing over the same tracks, one sentence a method; empty if nothing.

    A method lacks a track when it has no row for it, or a row without uSDR where another method has one.
    """
    singable = set(scores.loc[scores["usdr_db"].notna(), "track_id"])
    every = set(scores["track_id"])
    problems = []
    for method, rows in scores.groupby("method", sort=True):
        absent = every - set(rows["track_id"])
        unscored = (singable - set(rows.loc[rows["usdr_db"].notna(), "track_id"])) - absent
        if absent:
            problems.append(f"{method} was not run on {_listing(absent)}")
        if unscored:
            problems.append(f"{method} has no score on {_listing(unscored)}")
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


def compare(scores: pd.DataFrame, a: str, b: str, metric: str = "usdr_db", seed: int = 0) -> Comparison:
    """Compare methods `a` and `b` track by track.

    The differences of the tracks that both have a number for are averaged as the metric is (mean for uSDR and SI-SDR,
    median for cSDR); tracks are resampled 10000 times from `seed` for the interval. Raises InputError where a method
    has no rows at all, ValueError for a metric that is not one.
    """
    statistic = STATISTICS.get(metric)
    if statistic is None:
        raise ValueError(f"{metric} is not one of {', '.join(STATISTICS)}")
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
