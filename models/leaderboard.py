"""The leaderboard: own candidates, baselines, bounds and published peers side by side, one measure a column.

The published numbers are data (`peers.yaml`); own numbers come from `models.evaluate.summarise`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import pandas as pd
import pyarrow as pa
import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError

from data.errors import InputError
from data.tables import Table
from models.evaluate import ICA, IDEAL_MASK, MIXTURE

PEERS_FILE = Path(__file__).with_name("peers.yaml")
KINDS = {MIXTURE: "bound (floor)", IDEAL_MASK: "bound (ceiling)", ICA: "baseline"}
CANDIDATE, PUBLISHED = "candidate", "published"

# vocals_*: of the vocals alone. overall_*: mean of four stems, from publications only. scored_on: never compare
# numbers in which this differs.
LEADERBOARD = Table(
    "leaderboard.parquet",
    pa.schema(
        [
            ("name", pa.string()),
            ("kind", pa.string()),
            ("scored_on", pa.string()),
            ("tracks", pa.int64()),
            ("vocals_usdr_mean_db", pa.float64()),
            ("vocals_csdr_median_db", pa.float64()),
            ("vocals_si_sdr_mean_db", pa.float64()),
            ("overall_sdr_db", pa.float64()),
            ("extra_data", pa.string()),
            ("source", pa.string()),
        ]
    ),
)

_COLUMN_OF = {"vocals_csdr": "vocals_csdr_median_db", "overall_sdr": "overall_sdr_db"}


def _no_booleans(value: Any) -> Any:
    # Unquoted `no` is False in YAML 1.1.
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else value


class Peer(BaseModel):
    """One published number. `value` in dB; `second_hand` where it was not read in the authors' own publication."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(min_length=1)
    metric: Literal["vocals_csdr", "overall_sdr"]
    value: float = Field(allow_inf_nan=False)
    dataset: str = "MUSDB18 test"
    extra_data: Annotated[str, BeforeValidator(_no_booleans)]
    source: str
    second_hand: bool = False


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
    twice = {(p.name, p.metric) for p in peers if sum((q.name, q.metric) == (p.name, p.metric) for q in peers) > 1}
    if twice:
        raise _unusable(path, "; ".join(f"{name} twice for {metric}" for name, metric in sorted(twice)))
    return peers


def leaderboard(summary: pd.DataFrame, peers: list[Peer], *, scored_on: str) -> pd.DataFrame:
    """Own methods (a table of `summarise`, scored on the data named `scored_on`) and peers, schema `LEADERBOARD`.

    A peer with numbers of both metrics gets one row. Own candidates come first, then baseline and bounds, then peers by
    vocals, then peers known only by their mean of four stems; each group best first.
    """
    own = [
        {
            "name": row.method,
            "kind": KINDS.get(str(row.method), CANDIDATE),
            "scored_on": scored_on,
            "tracks": row.tracks_scored,
            "vocals_usdr_mean_db": row.usdr_mean_db,
            "vocals_csdr_median_db": row.csdr_median_db,
            "vocals_si_sdr_mean_db": row.si_sdr_mean_db,
            "source": "this project",
        }
        for row in summary.itertuples()
    ]
    published: dict[tuple[str, str, str], dict[str, Any]] = {}
    for peer in peers:
        key = (peer.name, peer.dataset, peer.extra_data)
        row = published.setdefault(
            key,
            {
                "name": peer.name,
                "kind": PUBLISHED,
                "scored_on": peer.dataset,
                "extra_data": peer.extra_data,
                "source": "",
            },
        )
        row[_COLUMN_OF[peer.metric]] = peer.value
        source = peer.source + (" (second-hand)" if peer.second_hand else "")
        row["source"] = "; ".join(filter(None, [row["source"], source]))
    board = pd.DataFrame([*own, *published.values()]).reindex(columns=LEADERBOARD.names)
    group = board["kind"].map({CANDIDATE: 0, PUBLISHED: 2}).fillna(1)
    board["tracks"] = board["tracks"].astype("Int64")
    order = board.assign(_group=group, _numbers=board["vocals_usdr_mean_db"]).sort_values(
        ["_group", "_numbers", "vocals_csdr_median_db", "overall_sdr_db"],
        ascending=[True, False, False, False],
        na_position="last",
        kind="stable",
    )
    return order[LEADERBOARD.names].reset_index(drop=True)


def _unusable(path: Path, found: str) -> InputError:
    return InputError(
        "published numbers",
        file=path,
        expected=f"a list of entries with the keys {', '.join(Peer.model_fields)}",
        found=found,
        remedy="correct the file",
    )
