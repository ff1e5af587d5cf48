"""The leaderboard: own candidates, baselines, bounds and published peers side by side, one measure a column.

The published numbers are data (`peers.yaml`); own numbers come from `models.evaluate.summarise`.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Annotated, Any, Literal

import pandas as pd
import pyarrow as pa
import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from data.errors import InputError
from data.tables import Table, column
from models.evaluate import ICA, IDEAL_MASK, MIXTURE
from models.measures import GAPS, MEASURES, USDR, Gap, Measure, columns, shown

PEERS_FILE = Path(__file__).with_name("peers.yaml")
KINDS = {MIXTURE: "bound (floor)", IDEAL_MASK: "bound (ceiling)", ICA: "baseline"}
CANDIDATE, PUBLISHED = "candidate", "published"

_OVERALL = "overall_sdr"
_PREFIX = "vocals_"
_ON_BOARD = tuple(measure for measure in MEASURES if measure.on_board)
# What published numbers are of, and the column in which they stand.
_COLUMN_OF = {f"{_PREFIX}{measure.stem}": f"{_PREFIX}{measure.summary}" for measure in _ON_BOARD} | {
    _OVERALL: f"{_OVERALL}_db"
}


def board_table(rank_by: Measure = USDR) -> Table:
    """The table of the leaderboard whose own rows are ranked by a measure."""
    fields = [
        column("name", pa.string(), "the method, candidate or published separator"),
        column("kind", pa.string(), "candidate, baseline, bound, or published"),
        column("scored_on", pa.string(), "the data behind the numbers: never rank rows in which this differs"),
        column("tracks", pa.int64(), "tracks that were scored; null where it is published"),
        column("generated_tracks", pa.int64(), "how many of the data's tracks are generated songs, easier than music"),
        column(
            _rank(rank_by),
            pa.float64(),
            f"what own rows are ranked by: {rank_by.statistic} {rank_by.title} over the tracks all candidates have, "
            f"{rank_by.measured_in}",
        ),
        column("rank_tracks", pa.int64(), f"tracks behind {_rank(rank_by)}"),
    ]
    for measured in columns():
        if isinstance(measured, Gap):
            fields.append(column(measured.summary, pa.float64(), f"over all tracks: {measured.doc}"))
        elif measured.on_board:
            name, counted = _PREFIX + measured.summary, _PREFIX + measured.counted
            fields.append(column(name, pa.float64(), f"vocals, {measured.statistic} over tracks: {measured.doc}"))
            fields.append(column(counted, pa.int64(), f"tracks behind {name}"))
    fields += [
        column(f"{_OVERALL}_db", pa.float64(), "mean over vocals, drums, bass and other, as published, dB"),
        column("training_data", pa.string(), "what it was trained on, as published; null for own rows"),
        column("parameters_millions", pa.float64(), "parameters in millions; null where not told"),
        column("source", pa.string(), "where the number was read; second-hand where others quote it"),
    ]
    return Table("leaderboard.parquet", pa.schema(fields))


def at_a_glance(rank_by: Measure = USDR) -> list[str]:
    """The columns that fit on a terminal: which method, over what, and its numbers, those that compare first."""
    lacking = {gap.measure for gap in GAPS}
    numbers = [
        _PREFIX + name
        for measure in shown(rank_by)
        if measure.on_board
        for name in (measure.summary, *([measure.counted] if measure in lacking else []))
    ]
    return ["name", "kind", "tracks", "generated_tracks", *numbers]


def ranked_by(rank_by: Measure) -> str:
    """What own rows are ranked by, as a sentence."""
    return (
        f"Methods are ranked by {rank_by.title} ({rank_by.arrow}) over the tracks that all candidates have in common."
    )


def _rank(rank_by: Measure) -> str:
    return f"rank_{rank_by.summary}"


def _published_metric(name: str) -> str:
    if name not in _COLUMN_OF:
        raise ValueError(f"one of {', '.join(_COLUMN_OF)} is needed")
    return name


class Peer(BaseModel):
    """One published number: `value` in dB, `parameters` in millions (None where they are not told).

    `hand` is second where the number was not read in the authors' own publication. `dataset` tells MUSDB18 from
    MUSDB18-HQ, whose files hold the full band instead of what a lossy coder leaves of it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(min_length=1)
    metric: Annotated[str, AfterValidator(_published_metric)]
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
    summary: pd.DataFrame, peers: list[Peer], *, scored_on: str, generated: int | None = None, rank_by: Measure = USDR
) -> pd.DataFrame:
    """Own methods (a table of `summarise`, scored on the data named `scored_on`) and peers: table `board_table`.

    `generated` says how many of the scored tracks are songs that a program made (None: not known); `own_data` puts it
    into words for `scored_on`. `rank_by` is what the summary is ranked by. A peer with numbers of several metrics on
    the same data gets one row. Own candidates come first, then baseline and bounds, both by their rank over common
    tracks. Peers follow, never mixed with own rows or with each other across measures: those with a uSDR of vocals,
    those with cSDR only, those known only by their mean of four stems; each group best first.
    """
    table = board_table(rank_by)
    own = []
    for row in summary.to_dict("records"):
        entry = {
            "name": row["method"],
            "kind": KINDS.get(str(row["method"]), CANDIDATE),
            "scored_on": scored_on,
            "tracks": row["scored_tracks"],
            "generated_tracks": generated,
            _rank(rank_by): row[rank_by.common],
            "rank_tracks": row["common_tracks"],
            "source": "this project",
        }
        names = [name for measure in _ON_BOARD for name in (measure.summary, measure.counted)]
        entry |= {_PREFIX + name: row[name] for name in names} | {gap.summary: row[gap.summary] for gap in GAPS}
        own.append(entry)
    board = pd.DataFrame([*own, *_published(peers)]).reindex(columns=table.names)
    for field in table.schema:
        if pa.types.is_integer(field.type):
            board[field.name] = board[field.name].astype("Int64")
    group = board["kind"].map({CANDIDATE: 0, PUBLISHED: 2}).fillna(1)
    order = {"_group": True, _rank(rank_by): not rank_by.higher_is_better}
    order |= {_PREFIX + measure.summary: not measure.higher_is_better for measure in _ON_BOARD}
    order |= {_COLUMN_OF[_OVERALL]: False}
    ranked = board.assign(_group=group).sort_values(
        list(order), ascending=list(order.values()), na_position="last", kind="stable"
    )
    return ranked[table.names].reset_index(drop=True)


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
