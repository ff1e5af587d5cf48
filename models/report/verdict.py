"""The verdict in words: what the scores allow to be said, and no more."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import pandas as pd

from models.evaluate import FEWEST_TRACKS, ICA, IDEAL_MASK, MIXTURE, TIE_DB, Comparison, compare, summarise

# What the methods that are not candidates are called on a page.
LABELS = {MIXTURE: "Mixture", ICA: "ICA", IDEAL_MASK: "Ideal mask"}
IN_A_SENTENCE = {MIXTURE: "the unprocessed mixture", ICA: "the ICA baseline", IDEAL_MASK: "the ideal mask"}
METRIC_NAMES = {"usdr_db": "uSDR", "csdr_db": "cSDR", "si_sdr_db": "SI-SDR"}

TIE_RULE = (
    f"A difference counts when its 95 % interval excludes zero and it is at least {TIE_DB} dB: that much lies between "
    f"two trainings of one model from different seeds. Anything smaller is called a tie; fewer than {FEWEST_TRACKS} "
    "tracks decide nothing."
)

Tone = Literal["good", "bad", "neutral"]


@dataclass(frozen=True)
class Finding:
    """One sentence of the verdict, the figures behind it, and whether it is good news."""

    sentence: str
    figures: str
    tone: Tone


def label(method: str) -> str:
    """A method's name on the page."""
    return LABELS.get(method, method)


def decibels(value: float | None, digits: int = 1) -> str:
    """A number of dB as a person reads it, with a true minus sign; a dash where there is none."""
    if value is None or pd.isna(value):
        return "–"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    return f"{value:.{digits}f}".replace("-", "−") if round(value, digits) else f"{0.0:.{digits}f}"


def leader(scores: pd.DataFrame, candidates: list[str], champion: str | None) -> str | None:
    """The candidate the verdict is about: the champion if it was scored, else the best mean uSDR."""
    scored = [name for name in candidates if name in set(scores["method"])]
    if champion in scored:
        return champion
    ranked = [str(method) for method in summarise(scores)["method"] if method in scored]
    return ranked[0] if ranked else None


def findings(scores: pd.DataFrame, candidates: list[str], champion: str | None) -> list[Finding]:
    """The verdict: the leading candidate against mixture, ICA and the other candidates, in uSDR and cSDR apart."""
    first = leader(scores, candidates, champion)
    if first is None:
        return [Finding("No candidate has been scored yet.", "", "neutral")]
    scored = set(scores["method"])
    rivals = [method for method in (MIXTURE, ICA, *(name for name in candidates if name != first)) if method in scored]
    return [_against(scores, first, rival) for rival in rivals]


def _against(scores: pd.DataFrame, first: str, rival: str) -> Finding:
    comparisons = [compare(scores, first, rival, metric) for metric in ("usdr_db", "csdr_db")]
    other = IN_A_SENTENCE.get(rival, rival)
    verdicts = [comparison.verdict for comparison in comparisons]
    figures = "; ".join(_figures(comparison) for comparison in comparisons)
    usdr, csdr = comparisons
    if set(verdicts) == {"better"}:
        by = f"{decibels(usdr.difference)} dB uSDR and {decibels(csdr.difference)} dB cSDR"
        return Finding(f"{first} beats {other} by {by}.", figures, "good")
    if set(verdicts) == {"worse"}:
        by = f"{decibels(-usdr.difference)} dB uSDR and {decibels(-csdr.difference)} dB cSDR"
        return Finding(f"{first} loses to {other} by {by}.", figures, "bad")
    if set(verdicts) == {"tie"}:
        return Finding(f"{first} and {other} are a tie.", figures, "neutral")
    if set(verdicts) == {"too few tracks"}:
        return Finding(f"Too few tracks to compare {first} with {other}.", figures, "neutral")
    words = {"better": "wins", "worse": "loses", "tie": "ties", "too few tracks": "cannot be compared"}
    parts = [f"{words[c.verdict]} in {METRIC_NAMES[c.metric]}" for c in comparisons]
    tone: Tone = "bad" if "worse" in verdicts else "neutral"
    return Finding(f"Against {other}, {first} {' and '.join(parts)}.", figures, tone)


def _figures(comparison: Comparison) -> str:
    name = METRIC_NAMES[comparison.metric]
    if not comparison.tracks:
        return f"{name}: no track with a score of both"
    value = f"{'+' if comparison.difference > 0 else ''}{decibels(comparison.difference)}"
    text = f"{name} {value} dB ({comparison.statistic} of the differences, {comparison.tracks} tracks"
    if comparison.tracks >= FEWEST_TRACKS:
        text += f", 95 % interval {decibels(comparison.low)} to {decibels(comparison.high)}"
    if comparison.missing:
        text += f", {len(comparison.missing)} left out"
    return text + ")"
