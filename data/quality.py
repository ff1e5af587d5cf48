"""What makes a track suspicious: one rule a fault, each with a threshold from the settings.

Rules judge measurements that are made elsewhere; a track that breaks one is flagged, never dropped.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any, Literal

import numpy as np
import pandas as pd
import pyarrow as pa

from data.settings import Quality
from data.tables import Table

QUALITY = Table(
    "quality.parquet",
    pa.schema(
        [
            pa.field("track_id", pa.string(), metadata={"doc": "dataset/slug"}),
            pa.field("rule", pa.string(), metadata={"doc": "name of the rule, which is also the name of its check"}),
            pa.field("severity", pa.string(), metadata={"doc": "warning or error"}),
            pa.field("expected", pa.string(), metadata={"doc": "what the rule asks for, with its threshold"}),
            pa.field("found", pa.string(), metadata={"doc": "what was measured"}),
        ]
    ),
)

Track = dict[str, Any]


@dataclass(frozen=True)
class Rule:
    """One fault: `expected(limits)` says what is right, `fault(track, limits)` what was found where it is not."""

    name: str
    severity: Literal["warning", "error"]
    expected: Callable[[Quality], str]
    fault: Callable[[Track, Quality], str | None]


def judge(manifest: pd.DataFrame, limits: Quality) -> pd.DataFrame:
    """Every rule that a track of the manifest breaks: a table with the schema QUALITY, sorted by track."""
    rows = []
    for track in manifest.astype(object).where(manifest.notna(), None).to_dict("records"):
        for rule in RULES:
            found = rule.fault(track, limits)
            if found:
                rows.append((track["track_id"], rule.name, rule.severity, rule.expected(limits), found))
    return pd.DataFrame(rows, columns=QUALITY.names)


def _cut_short(track: Track, limits: Quality) -> str | None:
    return f"{track['duration_s']:.1f} s" if track["duration_s"] < limits.shortest_s else None


def _ends_abruptly(track: Track, limits: Quality) -> str | None:
    end = track["mixture_end_db"]
    return f"{end:.1f} dBFS in the last tenth of a second" if end > limits.end_db else None


def _silent_mixture(track: Track, limits: Quality) -> str | None:
    return f"{track['mixture_rms_db']:.1f} dBFS" if track["mixture_rms_db"] < limits.silent_db else None


def _silent_vocals(track: Track, limits: Quality) -> str | None:
    if track["vocal_stems"] and track["vocals_rms_db"] < limits.silent_db:
        return f"{track['vocals_rms_db']:.1f} dBFS from {track['vocal_stems']} vocal stem(s)"
    return None


def _clipping(track: Track, limits: Quality) -> str | None:
    samples = 2 * track["frames"]
    found = [
        f"{kind} {track[f'{kind}_clipped'] / samples:.2%}"
        for kind in ("mixture", "vocals")
        if track[f"{kind}_clipped"] > limits.clipped_share * samples
    ]
    return ", ".join(found) or None


def _dc_offset(track: Track, limits: Quality) -> str | None:
    kinds = [kind for kind in ("mixture", "vocals") if track[f"{kind}_dc_offset"] > limits.dc_offset]
    return ", ".join(f"{kind} {track[f'{kind}_dc_offset']:.4f}" for kind in kinds) or None


def _identical_channels(track: Track, limits: Quality) -> str | None:
    silent = track["mixture_rms_db"] < limits.silent_db
    return f"{track['mixture_side_db']:.0f} dBFS" if track["mixture_side_db"] < limits.side_db and not silent else None


def _one_silent_channel(track: Track, limits: Quality) -> str | None:
    balance = track["mixture_balance_db"]
    return f"left is {balance:+.1f} dB from right" if abs(balance) > limits.balance_db else None


def _unlike_stem_sum(track: Track, limits: Quality) -> str | None:
    residual = track["stem_sum_residual_db"]
    if track["gains_applied"]:
        return None  # the plain sum is not what the vocals are part of: `poor_stem_fit` judges the other one
    return f"{residual:.1f} dB" if residual is not None and residual > limits.residual_db else None


def _vocals_not_in_mixture(track: Track, limits: Quality) -> str | None:
    """The mixture's share of the vocals, per channel: by how much they would have to be turned up to match."""
    gains = {side: track[f"vocal_gain_{side}"] for side in ("left", "right")}
    wrong = {
        side: gain
        for side, gain in gains.items()
        if gain is not None and not 1 / limits.vocal_gain <= gain <= limits.vocal_gain
    }
    if track["vocals_rms_db"] < limits.silent_db:
        return None
    return ", ".join(f"{side} {gain:.2f}" for side, gain in wrong.items()) or None


def _vocals_over_mixture(track: Track, limits: Quality) -> str | None:
    excess = track["vocals_rms_db"] - track["mixture_rms_db"]
    return f"{excess:.1f} dB louder" if excess > limits.vocals_over_mixture_db else None


def _wrong_labels(track: Track, limits: Quality) -> str | None:
    sung = track["vocals_rms_db"] >= limits.silent_db
    if not track["vocal_stems"] and sung:
        return f"vocals at {track['vocals_rms_db']:.1f} dBFS, but no vocal stem is declared"
    instrumental = track["labelled_instrumental"]
    if instrumental is None or instrumental != sung:
        return None
    return f"labelled {'instrumental, but has vocals' if instrumental else 'as sung, but has no vocals'}"


def _length_difference(track: Track, limits: Quality) -> str | None:
    seconds = (track["length_difference"] or 0) / track["source_rate"]
    return f"{seconds:+.2f} s" if abs(seconds) > limits.length_difference_s else None


def _poor_stem_fit(track: Track, limits: Quality) -> str | None:
    residual = track["fitted_residual_db"]
    if not track["vocal_stems"] or residual is None or residual <= limits.fit_db:
        return None
    summed = "at measured gains" if track["gains_applied"] else "as they are"
    return f"{residual:.1f} dB, vocal stems summed {summed}"


def _doubtful_vocal_gain(track: Track, limits: Quality) -> str | None:
    """Gains that were measured and not believed, and those that say that a voice is not in its mixture, or inverted."""
    found = [str(fault) for fault in _listed(track, "vocal_gain_faults")]
    for number, gains in enumerate(_vocal_gains(track), start=1):
        if gains and not any(gains):
            found.append(f"vocal stem {number} is not in the mixture")
        elif any(gain < 0 for gain in gains):
            found.append(f"vocal stem {number} is in the mixture upside down")
    return "; ".join(found) or None


def _stems_off_level(track: Track, limits: Quality) -> str | None:
    """Vocal stems that were summed as they are, though the mixture has them at another level."""
    if track["gains_applied"] is None or track["gains_applied"]:
        return None
    found = [
        f"vocal stem {number} at {_loudness(gains):.2f} times its level"
        for number, gains in enumerate(_vocal_gains(track), start=1)
        if gains and _apart_db(_loudness(gains), 1.0) > limits.stem_level_db
    ]
    return ", ".join(found) or None


def _gain_unlike_published(track: Track, limits: Quality) -> str | None:
    found = []
    published = _listed(track, "vocal_stem_gains_published")
    for number, (gains, told) in enumerate(zip(_vocal_gains(track), published, strict=False), start=1):
        if gains and not pd.isna(told) and _apart_db(_loudness(gains), told) > limits.published_gain_db:
            found.append(f"vocal stem {number} measured {_loudness(gains):.2f}, published {told:.2f}")
    return ", ".join(found) or None


def _voice_and_instrument(track: Track, limits: Quality) -> str | None:
    return ", ".join(_listed(track, "mixed_stems")) or None


def _vocal_gains(track: Track) -> list[list[float]]:
    """Of each vocal stem, the gains that were measured: one a channel, less where it is silent in one."""
    sides = (_listed(track, "vocal_stem_gains_left"), _listed(track, "vocal_stem_gains_right"))
    return [[float(gain) for gain in gains if not pd.isna(gain)] for gains in zip_longest(*sides)]


def _loudness(gains: list[float]) -> float:
    return float(np.sqrt(np.mean(np.square(gains))))


def _apart_db(gain: float, other: float) -> float:
    """How far two gains are apart, dB; with the floor at -40 dB, for a gain may be 0."""
    return abs(20.0 * float(np.log10(max(gain, 0.01) / max(other, 0.01))))


def _listed(track: Track, name: str) -> list[Any]:
    """A list of the manifest, empty where nothing was measured."""
    value = track[name]
    return [] if value is None else list(value)


RULES = (
    Rule("cut_short", "warning", lambda q: f"at least {q.shortest_s:g} s", _cut_short),
    Rule("ends_abruptly", "warning", lambda q: f"an end below {q.end_db:g} dBFS", _ends_abruptly),
    Rule("silent_mixture", "error", lambda q: f"a mixture above {q.silent_db:g} dBFS", _silent_mixture),
    Rule(
        "silent_vocals",
        "warning",
        lambda q: f"vocals above {q.silent_db:g} dBFS where some are declared",
        _silent_vocals,
    ),
    Rule("clipping", "warning", lambda q: f"at most {q.clipped_share:.2%} of the samples clipped", _clipping),
    Rule("dc_offset", "warning", lambda q: f"a mean below {q.dc_offset:g}", _dc_offset),
    Rule("identical_channels", "warning", lambda q: f"channels that differ by {q.side_db:g} dBFS", _identical_channels),
    Rule("one_silent_channel", "warning", lambda q: f"channels within {q.balance_db:g} dB", _one_silent_channel),
    Rule("unlike_stem_sum", "warning", lambda q: f"at most {q.residual_db:g} dB beyond the stems", _unlike_stem_sum),
    Rule(
        "vocals_not_in_mixture",
        "warning",
        lambda q: f"vocals in the mixture at {1 / q.vocal_gain:g} to {q.vocal_gain:g} times their level",
        _vocals_not_in_mixture,
    ),
    Rule(
        "vocals_over_mixture",
        "warning",
        lambda q: f"vocals at most {q.vocals_over_mixture_db:g} dB louder than the mixture",
        _vocals_over_mixture,
    ),
    Rule("wrong_labels", "warning", lambda _: "labels that agree with the audio", _wrong_labels),
    Rule(
        "length_difference",
        "warning",
        lambda q: f"stems within {q.length_difference_s:g} s of the mixture's length",
        _length_difference,
    ),
    Rule(
        "poor_stem_fit",
        "warning",
        lambda q: f"at most {q.fit_db:g} dB beyond the stems at their measured gains",
        _poor_stem_fit,
    ),
    Rule(
        "doubtful_vocal_gain",
        "warning",
        lambda _: "vocal stems whose level in the mixture can be measured",
        _doubtful_vocal_gain,
    ),
    Rule(
        "stems_off_level",
        "warning",
        lambda q: f"vocal stems within {q.stem_level_db:g} dB of their level in the mixture, where no gain is applied",
        _stems_off_level,
    ),
    Rule(
        "gain_unlike_published",
        "warning",
        lambda q: f"measured and published gains of vocal stems within {q.published_gain_db:g} dB",
        _gain_unlike_published,
    ),
    Rule("voice_and_instrument", "warning", lambda _: "stems that are a voice or are none", _voice_and_instrument),
)
