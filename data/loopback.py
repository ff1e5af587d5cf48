"""Training pairs: the originals, and the report's loopback (Section X.3), as rows that point at existing audio.

A vocal loopback maps vocals to vocals, an instrumental loopback accompaniment to silence. The two shares are separate
because the report found their excess to bias differently: towards parroting, and towards silence.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa

from data.tables import Table

CODE_VERSION = "2"

PAIRS = Table(
    "pairs.parquet",
    pa.schema(
        [
            pa.field("track_id", pa.string(), metadata={"doc": "dataset/slug"}),
            pa.field("split", pa.string(), metadata={"doc": "train or validation"}),
            pa.field("kind", pa.string(), metadata={"doc": "original, vocal_loopback or instrumental_loopback"}),
            pa.field("input", pa.string(), metadata={"doc": "mixture, vocals or accompaniment"}),
            pa.field("target", pa.string(), metadata={"doc": "vocals or silence"}),
            pa.field("mixture_path", pa.string(), metadata={"doc": "relative to the storage root"}),
            pa.field("vocals_path", pa.string(), metadata={"doc": "relative to the storage root"}),
            pa.field("mixture_sha256", pa.string(), metadata={"doc": "checksum of the mixture"}),
            pa.field("vocals_sha256", pa.string(), metadata={"doc": "checksum of the vocals"}),
            pa.field("frames", pa.int64(), metadata={"doc": "length in frames at 44.1 kHz"}),
        ]
    ),
)

_KINDS = {
    "original": ("mixture", "vocals"),
    "vocal_loopback": ("vocals", "vocals"),
    "instrumental_loopback": ("accompaniment", "silence"),
}


def build_pairs(
    manifest: pd.DataFrame, splits: pd.DataFrame, *, seed: int, vocal_share: float, instrumental_share: float
) -> pd.DataFrame:
    """The training and validation pairs: a table with the schema PAIRS.

    Every training and validation track gives its original; `vocal_share` and `instrumental_share` of the training
    tracks, drawn with `seed`, a loopback each. Tracks without vocals have no vocal loopback to give.
    """
    tracks = manifest.merge(splits[["track_id", "split"]], on="track_id", validate="one_to_one")
    tracks = tracks.sort_values("track_id", ignore_index=True)
    train = tracks[tracks["split"] == "train"]
    rng = np.random.default_rng(seed)
    sung = train[train["vocal_activity"] > 0]
    parts = [
        _rows(tracks[tracks["split"].isin(["train", "validation"])], "original"),
        _rows(_drawn(sung, round(vocal_share * len(train)), rng), "vocal_loopback"),
        _rows(_drawn(train, round(instrumental_share * len(train)), rng), "instrumental_loopback"),
    ]
    return pd.concat(parts, ignore_index=True)


def misplaced_loopback(pairs: pd.DataFrame, splits: pd.DataFrame) -> list[str]:
    """Track ids with a loopback row that are not in training, by the row's own word or by the splits table."""
    trained = set(splits.loc[splits["split"] == "train", "track_id"])
    rows = pairs[pairs["kind"] != "original"]
    wrong = rows[(rows["split"] != "train") | ~rows["track_id"].isin(trained)]
    return sorted(set(wrong["track_id"]))


def _drawn(tracks: pd.DataFrame, count: int, rng: np.random.Generator) -> pd.DataFrame:
    chosen = rng.permutation(len(tracks))[:count]
    return tracks.iloc[np.sort(chosen)]


def _rows(tracks: pd.DataFrame, kind: str) -> pd.DataFrame:
    source, target = _KINDS[kind]
    return tracks.assign(kind=kind, input=source, target=target)[PAIRS.names]
