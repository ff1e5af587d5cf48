"""The contest for the championship: two separators on the same validation tracks, and what may be said of them.

Who contends, where scores come from, and what follows belongs to the assets. Held-out tracks have no say here: they
are for reporting, and a choice by them would flatter whoever is chosen.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import pandas as pd
import pyarrow as pa

from data.errors import InputError
from data.tables import Table, column
from models.evaluate import FEWEST_TRACKS, Comparison, compare

VALIDATION = Table(
    "validation.parquet",
    pa.schema(
        [
            pa.field("track_id", pa.string(), metadata={"doc": "dataset/slug of a validation track"}),
            pa.field("usdr_db", pa.float64(), metadata={"doc": "uSDR of the kept epoch, dB; null without vocals"}),
        ]
    ),
)

CONTEST = Table(
    "contest.parquet",
    pa.schema(
        [
            column("track_id", pa.string(), "dataset/slug of a validation track"),
            column("challenger_usdr_db", pa.float64(), "uSDR of the challenger, dB"),
            column("champion_usdr_db", pa.float64(), "uSDR of the standing champion, dB"),
            column("difference_db", pa.float64(), "challenger less champion, dB"),
            column("counts", pa.string(), "yes, or why the track does not count"),
        ]
    ),
)

_CHALLENGER, _CHAMPION = "challenger", "champion"


@dataclass(frozen=True)
class Contest:
    """A challenger against the champion: their paired comparison in uSDR on validation tracks.

    `tracks` is the table behind it (CONTEST); rows of tracks that do not count are those that the champion was trained
    on, and those without vocals.
    """

    comparison: Comparison
    tracks: pd.DataFrame

    @property
    def better(self) -> bool:
        """Whether the challenger may be called better."""
        return self.comparison.verdict == "better"

    @property
    def figures(self) -> str:
        """The numbers in words."""
        found = self.comparison
        seen = int((self.tracks["counts"] == "no: the champion was trained on it").sum())
        left_out = f", {seen} left out because the champion was trained on them" if seen else ""
        if found.tracks < FEWEST_TRACKS:
            return f"{found.tracks} validation tracks to compare on, {FEWEST_TRACKS} are needed{left_out}"
        return (
            f"{found.difference:+.2f} dB uSDR, 95 % interval {found.low:+.2f} to {found.high:+.2f}, "
            f"{found.tracks} validation tracks{left_out}"
        )


def contest(challenger: pd.DataFrame, champion: pd.DataFrame, *, seen: Collection[str] = (), seed: int = 0) -> Contest:
    """Compare the uSDR of two separators (tables VALIDATION) track by track; both must stand over the same tracks.

    `seen` are tracks that the champion was trained on, because the split was another one then: they would flatter it
    and are left out. The verdict is that of `models.evaluate.compare`: the mean difference counts when its 95 %
    interval, from resampling tracks with `seed`, excludes 0, and it is at least 0.3 dB, as much as two trainings of one
    candidate from different seeds differ by. The interval says how far the result depends on which tracks happen to be
    in the validation set. With four tracks it is too narrow: such an interval covers the true mean about eight times
    in ten instead of nineteen in twenty, and excludes 0 whenever all four differences have one sign. With fewer than
    three, nothing is better than anything. Raises InputError where the tables hold different tracks.
    """
    for_one, for_other = (frame.set_index("track_id")["usdr_db"] for frame in (challenger, champion))
    if set(for_one.index) != set(for_other.index):
        only = sorted(set(for_one.index) ^ set(for_other.index))
        raise InputError(
            "contest for the championship",
            expected="both separators measured on the same validation tracks",
            found=f"{len(only)} tracks that only one of them was measured on: {', '.join(only[:5])}",
            remedy="materialise evaluation/champion_validation, then evaluation/challenger",
        )
    tracks = pd.DataFrame({"challenger_usdr_db": for_one, "champion_usdr_db": for_other}).sort_index()
    tracks["difference_db"] = tracks["challenger_usdr_db"] - tracks["champion_usdr_db"]
    tracks["counts"] = "yes"
    tracks.loc[tracks["difference_db"].isna(), "counts"] = "no: no vocals"
    tracks.loc[tracks.index.isin(list(seen)), "counts"] = "no: the champion was trained on it"
    fair = tracks[tracks["counts"] != "no: the champion was trained on it"]
    columns = {_CHALLENGER: "challenger_usdr_db", _CHAMPION: "champion_usdr_db"}
    scores = pd.concat(
        pd.DataFrame({"method": method, "track_id": fair.index, "usdr_db": fair[column].to_numpy()})
        for method, column in columns.items()
    )
    if fair.empty:
        nothing = Comparison(_CHALLENGER, _CHAMPION, "usdr_db", "mean", 0, *(3 * (float("nan"),)), ())
        return Contest(nothing, tracks.reset_index())
    return Contest(compare(scores, _CHALLENGER, _CHAMPION, seed=seed), tracks.reset_index())


def validation_frame(usdr_db: Mapping[str, float]) -> pd.DataFrame:
    """A table VALIDATION of the uSDR in dB by track id."""
    return pd.DataFrame({"track_id": list(usdr_db), "usdr_db": list(usdr_db.values())})


def same_validation(today: pd.DataFrame, then: pd.DataFrame) -> bool:
    """Whether two tables of training pairs validate on the same audio: ids and checksums agree (tables PAIRS)."""
    columns = ["track_id", "mixture_sha256", "vocals_sha256"]
    parts = (pairs.loc[pairs["split"] == "validation", columns] for pairs in (today, then))
    one, other = ({tuple(row) for row in part.itertuples(index=False)} for part in parts)
    return one == other
