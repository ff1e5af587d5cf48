"""Which numbers may stand side by side: tracks that no separator knows from its training, the same ones for all.

Pure functions of tables. What a separator has heard stands in `data.heard`; what a score is, in `models.evaluate`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import pandas as pd

from data.recipe import listing
from models.evaluate import FEWEST_TRACKS

_MOST = 3  # names of tracks in a sentence


@dataclass(frozen=True)
class Common:
    """The tracks that `methods` have in common, and why other methods are not among them."""

    tracks: frozenset[str]
    methods: tuple[str, ...]
    absent: Mapping[str, str]


def common_tracks(known: Mapping[str, Collection[str]], every: Collection[str]) -> Common:
    """The tracks of `every` on which as many methods as possible can be compared; `known` has each method's tracks.

    Methods with more tracks come first. One that would leave fewer than three tracks in common with those before it, or
    fewer than half of what the first of them has, is left out: nobody can take the ground from under the others.
    """
    wanted = set(every)
    least = min(FEWEST_TRACKS, len(wanted))
    methods: list[str] = []
    absent: dict[str, str] = {}
    for name in sorted(known, key=lambda name: (-len(wanted.intersection(known[name])), name)):
        shared = wanted.intersection(known[name])
        if shared and len(shared) >= least:
            least = max(least, -(-len(shared) // 2)) if not methods else least
            wanted = shared
            methods.append(name)
        else:
            absent[name] = (
                f"it shares {len(shared)} tracks with the others, and {least} are needed"
                if shared
                else "it shares no track with the others"
            )
    return Common(frozenset(wanted), tuple(sorted(methods)), absent)


def known_scores(scores: pd.DataFrame, scored: pd.DataFrame, today: pd.DataFrame) -> pd.DataFrame:
    """Those rows of `scores` (table SCORES) whose tracks are held out today with the audio that was `scored`.

    `scored` and `today` hold track_id, split, mixture_sha256 and vocals_sha256; the rows tell today's split. Of a track
    that became reserved since, nobody can hear the estimate: it was not kept.
    """
    columns = ["track_id", "mixture_sha256", "vocals_sha256"]
    then = scored[columns].assign(then=scored["split"])
    same = then.merge(today[[*columns, "split"]], on=columns).drop_duplicates("track_id")
    same = same[(same["split"] != "reserved") | (same["then"] == "reserved")]
    kept = scores[scores["track_id"].isin(same["track_id"])].copy()
    kept["split"] = kept["track_id"].map(dict(zip(same["track_id"], same["split"], strict=True)))
    return kept


def told(left_out: Collection[tuple[str, str, str]]) -> list[str]:
    """Left-out tracks (candidate, track, why) in words, a sentence a candidate and reason."""
    reasons: dict[tuple[str, str], list[str]] = {}
    for candidate, track, why in sorted(left_out):
        reasons.setdefault((candidate, why), []).append(track)
    return [f"{candidate} {why}: {listing(tracks, _MOST)}" for (candidate, why), tracks in reasons.items()]


def trained_on_scored(scores: pd.DataFrame, seen: Mapping[str, Mapping[str, str]]) -> list[str]:
    """Every row of `scores` that stands for a track which its method knows from training, as a sentence each.

    `seen` has the tracks of each method that it knows, with the reason.
    """
    return [
        f"{row.method} is scored on {row.track_id}, although it {seen[row.method][row.track_id]}"
        for row in scores.itertuples()
        if row.track_id in seen.get(row.method, {})
    ]
