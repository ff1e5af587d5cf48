"""The leaderboard: own candidates, baselines, bounds and published peers side by side, one measure a column.

The published numbers are data (`peers.yaml`); own numbers come from `models.evaluate.summarise`.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any, Literal

import pandas as pd
import pyarrow as pa
import yaml
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from data.errors import InputError
from data.tables import Table, column
from models.evaluate import CSDR, CSDR_FULL, ICA, IDEAL_MASK, MIXTURE, SI_SDR, USDR

PEERS_FILE = Path(__file__).with_name("peers.yaml")
KINDS = {MIXTURE: "bound (floor)", IDEAL_MASK: "bound (ceiling)", ICA: "baseline"}
CANDIDATE, PUBLISHED = "candidate", "published"

_COLUMNS: dict[str, tuple[pa.DataType, str]] = {
    "name": (pa.string(), "the method, candidate or published separator"),
    "kind": (pa.string(), "candidate, baseline, bound, or published"),
    "scored_on": (pa.string(), "the data behind the numbers: never rank rows in which this differs"),
    "tracks": (pa.int64(), "tracks that were scored; null where it is published"),
    "generated_tracks": (pa.int64(), "how many of the data's tracks are generated songs, easier than music"),
    "rank_usdr_mean_db": (pa.float64(), "what own rows are ranked by: mean uSDR over the tracks all candidates have"),
    "rank_tracks": (pa.int64(), "tracks behind rank_usdr_mean_db"),
    "vocals_usdr_mean_db": (pa.float64(), "vocals, mean over tracks of the ratio over a whole track (track SDR), dB"),
    "vocals_usdr_tracks": (pa.int64(), "tracks behind vocals_usdr_mean_db"),
    "vocals_csdr_median_db": (pa.float64(), "vocals, median over tracks of the median over 1 s (museval), dB"),
    "vocals_csdr_tracks": (pa.int64(), "tracks behind vocals_csdr_median_db"),
    "vocals_csdr_full_median_db": (pa.float64(), "the same over every second with voice and accompaniment, dB"),
    "vocals_csdr_full_tracks": (pa.int64(), "tracks behind vocals_csdr_full_median_db"),
    "seconds_missing": (
        pa.float64(),
        "share (0 to 1) of these seconds that museval's count lacks for silent estimates",
    ),
    "vocals_si_sdr_mean_db": (pa.float64(), "vocals, mean SI-SDR, dB"),
    "vocals_si_sdr_tracks": (pa.int64(), "tracks behind vocals_si_sdr_mean_db"),
    "overall_sdr_db": (pa.float64(), "mean over vocals, drums, bass and other, as published, dB"),
    "training_data": (pa.string(), "what it was trained on, as published; null for own rows"),
    "parameters_millions": (pa.float64(), "parameters in millions; null where not told"),
    "source": (pa.string(), "where the number was read; second-hand where others quote it"),
}
LEADERBOARD = Table(
    "leaderboard.parquet", pa.schema([column(name, kind, doc) for name, (kind, doc) in _COLUMNS.items()])
)

# What fits on a terminal: which method, over what, and its numbers.
AT_A_GLANCE = (
    "name",
    "kind",
    "tracks",
    "generated_tracks",
    "vocals_usdr_mean_db",
    "vocals_csdr_full_median_db",
    "vocals_csdr_median_db",
    "vocals_csdr_tracks",
    "vocals_si_sdr_mean_db",
)

_COLUMN_OF = {
    "vocals_usdr": "vocals_usdr_mean_db",
    "vocals_csdr": "vocals_csdr_median_db",
    "overall_sdr": "overall_sdr_db",
}
_OWN_MEASURES = (USDR, CSDR, CSDR_FULL, SI_SDR)


class Peer(BaseModel):
    """One published number: `value` in dB, `parameters` in millions (None where they are not told).

    `hand` is second where the number was not read in the authors' own publication. `dataset` tells MUSDB18 from
    MUSDB18-HQ, whose files hold the full band instead of what a lossy coder leaves of it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(min_length=1)
    metric: Literal["vocals_usdr", "vocals_csdr", "overall_sdr"]
    value: float = Field(allow_inf_nan=False)
    dataset: Literal["MUSDB18 test", "MUSDB18-HQ test", "MUSDB18 or MUSDB18-HQ test"]
    training_data: str = Field(min_length=1)
    parameters: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    hand: Literal["first", "second"]
    source: str = Field(min_length=1)


def load_peers(path: Path = PEERS_FILE) -> list[Peer]:
    """The published numbers in a YAML file. Raises InputError that names every entry and key that does not fit."""
    try:
        peers = TypeAdapter(list[Peer]).validate_python(yaml.safe_load(path.read_text()))
    except OSError as error:
        raise _unusable(path, f"a file that cannot be read ({error.strerror})") from error
    except yaml.YAMLError as error:
        raise _unusable(path, f"broken YAML ({' '.join(str(error).split())})") from error
    except ValidationError as error:
        faults = [f"entry {'.'.join(str(part) for part in fault['loc'])}: {fault['msg']}" for fault in error.errors()]
        raise _unusable(path, "; ".join(faults)) from error
    counts = Counter((peer.name, peer.metric, peer.dataset, peer.training_data) for peer in peers)
    if twice := [f"{name} twice for {metric}" for (name, metric, *_), count in sorted(counts.items()) if count > 1]:
        raise _unusable(path, "; ".join(twice))
    return peers


def own_data(tracks: int, generated: int, datasets: str = "") -> str:
    """What own numbers stand for, in words: "9 held-out tracks, 8 of them generated songs" and their `datasets`."""
    words = f"{tracks} held-out track{'s' if tracks != 1 else ''}"
    if generated:
        share = "all" if generated == tracks else str(generated)
        words += f", {share} of them generated songs" if tracks > 1 else ", a generated song"
    return f"{words} ({datasets})" if datasets else words


def leaderboard(
    summary: pd.DataFrame, peers: list[Peer], *, scored_on: str, generated: int | None = None
) -> pd.DataFrame:
    """Own methods (a table of `summarise`, scored on the data named `scored_on`) and peers, schema `LEADERBOARD`.

    `generated` says how many of the scored tracks are songs that a program made (None: not known); `own_data` puts it
    into words for `scored_on`. A peer with numbers of several metrics on the same data gets one row. Own candidates
    come first, then baseline and bounds, both by their uSDR on common tracks. Peers follow, never mixed with own rows
    or with each other across measures: those with a uSDR of vocals, those with cSDR only, those known only by their
    mean of four stems; each group best first.
    """
    own = []
    for row in summary.to_dict("records"):
        entry = {
            "name": row["method"],
            "kind": KINDS.get(str(row["method"]), CANDIDATE),
            "scored_on": scored_on,
            "tracks": row["usdr_tracks"],
            "generated_tracks": generated,
            "rank_usdr_mean_db": row["usdr_common_mean_db"],
            "rank_tracks": row["common_tracks"],
            "seconds_missing": row["seconds_missing"],
            "source": "this project",
        }
        for measure in _OWN_MEASURES:
            entry[f"vocals_{measure.summary}"] = row[measure.summary]
            entry[f"vocals_{measure.stem}_tracks"] = row[f"{measure.stem}_tracks"]
        own.append(entry)
    board = pd.DataFrame([*own, *_published(peers)]).reindex(columns=LEADERBOARD.names)
    for name in LEADERBOARD.names:
        if pa.types.is_integer(LEADERBOARD.schema.field(name).type):
            board[name] = board[name].astype("Int64")
    group = board["kind"].map({CANDIDATE: 0, PUBLISHED: 2}).fillna(1)
    order = board.assign(_group=group).sort_values(
        ["_group", "rank_usdr_mean_db", "vocals_usdr_mean_db", "vocals_csdr_median_db", "overall_sdr_db"],
        ascending=[True, False, False, False, False],
        na_position="last",
        kind="stable",
    )
    return order[LEADERBOARD.names].reset_index(drop=True)


def _published(peers: list[Peer]) -> list[dict[str, Any]]:
    """A row for each peer, data it was measured on, and data it was trained on."""
    rows: dict[tuple[str, str, str], dict[str, Any]] = {}
    for peer in peers:
        row = rows.setdefault(
            (peer.name, peer.dataset, peer.training_data),
            {
                "name": peer.name,
                "kind": PUBLISHED,
                "scored_on": peer.dataset,
                "training_data": peer.training_data,
                "source": "",
            },
        )
        row[_COLUMN_OF[peer.metric]] = peer.value
        if peer.parameters is not None:
            row["parameters_millions"] = peer.parameters
        source = peer.source + (" (second-hand)" if peer.hand == "second" else "")
        if source not in row["source"].split("; "):
            row["source"] = "; ".join(filter(None, [row["source"], source]))
    return list(rows.values())


def _unusable(path: Path, found: str) -> InputError:
    return InputError(
        "published numbers",
        file=path,
        expected=f"a list of entries with the keys {', '.join(Peer.model_fields)}",
        found=found,
        remedy="correct the file",
    )
