"""Which numbers may stand side by side: tracks that no separator knows from its training, the same ones for all.

Pure functions of tables and records. What a separator has heard stands in `data.heard`; what a score is, in
`models.evaluate`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import pandas as pd

from data.cache import Record
from data.recipe import listing
from models.evaluate import FEWEST_TRACKS

_MOST = 3  # names of tracks in a sentence


@dataclass(frozen=True)
class Common:
    """The tracks that `methods` have in common, and why other methods are not among them."""

    tracks: frozenset[str]
    methods: tuple[str, ...]
    absent: Mapping[str, str]


class Scored(NamedTuple):
    """Scores (table SCORES), and the tracks as they were scored.

    These have track_id, split, mixture_sha256 and vocals_sha256.
    """

    scores: pd.DataFrame
    tracks: pd.DataFrame


@dataclass(frozen=True)
class FairScores:
    """Scores that may stand side by side.

    `table` (SCORES) holds baselines and `candidates` over the tracks that all have in common, `tracks` (held-out
    tracks, as `side_by_side` was given them) are these; `left_out` names tracks that a candidate knows from training
    (candidate, track, why), `unscored` those that some candidate was not scored on yet, `absent` the candidates that
    cannot be compared, with the reason.
    """

    table: pd.DataFrame
    tracks: pd.DataFrame
    candidates: tuple[str, ...]
    left_out: tuple[tuple[str, str, str], ...]
    unscored: tuple[str, ...]
    absent: Mapping[str, str]

    @property
    def sung(self) -> pd.DataFrame:
        """The tracks with vocals, over which SDRs stand; the others have a leakage only."""
        measured = self.table.loc[self.table["usdr_db"].notna(), "track_id"]
        return self.tracks[self.tracks["track_id"].isin(measured)]

    @property
    def reserved(self) -> pd.DataFrame:
        """The tracks that people look at and listen to."""
        return self.tracks[self.tracks["split"] == "reserved"]

    @property
    def sentences(self) -> list[str]:
        """What is left out, in words."""
        found = [f"left out: {sentence}" for sentence in told(self.left_out)]
        if self.unscored:
            found.append(f"left out: not every candidate was scored on {listing(self.unscored)}")
        return found + [f"{name} is not compared: {why}" for name, why in sorted(self.absent.items())]


def side_by_side(
    today: pd.DataFrame,
    baselines: Scored,
    candidates: Mapping[str, Scored],
    known: Mapping[str, Mapping[str, str]],
    absent: Mapping[str, str],
) -> FairScores:
    """The scores of the baselines and of candidates, as far as they may stand side by side today.

    `today` are the held-out tracks; `known` has those that each candidate knows from training, with the reason.
    Candidates that were not scored again since a track came stay, over the tracks that are common. `absent` are
    candidates whose scores do not count, with the reason.
    """
    bounds, tables = known_scores(*baselines, today), {}
    for name, scored in candidates.items():
        rows = known_scores(*scored, today)
        tables[name] = rows[~rows["track_id"].isin(list(known[name]))]
    common = common_tracks({name: set(rows["track_id"]) for name, rows in tables.items()}, set(bounds["track_id"]))
    parts = [bounds, *(tables[name] for name in common.methods)]
    table = pd.concat([part[part["track_id"].isin(common.tracks)] for part in parts], ignore_index=True)
    left_out = tuple(
        (name, track, why) for name in candidates if name in common.methods for track, why in known[name].items()
    )
    unscored = set(today["track_id"]) - common.tracks - {track for _, track, _ in left_out}
    tracks = today[today["track_id"].isin(common.tracks)].reset_index(drop=True)
    return FairScores(table, tracks, common.methods, left_out, tuple(sorted(unscored)), {**absent, **common.absent})


def why_outdated(trained: Record | None, scored: Record | None, code_version: str) -> str | None:
    """Why the scores of a candidate, and its audio, do not stand for its checkpoint; None where they do.

    `trained` and `scored` are the records of both, `code_version` that by which scores are made today.
    """
    if trained is None:
        return "its checkpoint is damaged"
    if scored is None:
        return "it has not been scored"
    if scored.recipe is None or scored.recipe.code_version != code_version:
        return "it was scored by an earlier version"
    if scored.recipe.inputs["checkpoint"] != trained.version:
        return "it was trained again since it was scored"
    return None


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
