"""The same recording under two names: by the shipped registry of known overlaps, and by comparing what is heard."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache as remember
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import yaml

from data.recognition import same_recordings
from data.tables import Table
from data.tracks import RECORDING, track_slug

CODE_VERSION = "2"
HOW = ("registry", "checksum", "fingerprint")

DUPLICATES = Table(
    "duplicates.parquet",
    pa.schema(
        [
            pa.field("track_id", pa.string(), metadata={"doc": "the track that gives way"}),
            pa.field(
                "original", pa.string(), metadata={"doc": "the track that stays; null where only the registry knows"}
            ),
            pa.field("how", pa.string(), metadata={"doc": "registry, checksum or fingerprint of the audio"}),
            pa.field("similarity", pa.float64(), metadata={"doc": "share of equal bits; null for the registry"}),
            pa.field("offset_s", pa.float64(), metadata={"doc": "how much later the original starts, seconds"}),
            pa.field("overlap_s", pa.float64(), metadata={"doc": "what was compared, seconds"}),
        ]
    ),
)

_REGISTRY = Path(__file__).with_name("registry.yaml")
_OFFICIAL = {"test": 0, "validation": 1, "train": 2}


@remember
def medleydb_in_musdb18() -> frozenset[str]:
    """Keys (see `name_key`) of the MedleyDB tracks that are inside MUSDB18's training part."""
    return frozenset(name_key(name) for name in yaml.safe_load(_REGISTRY.read_text())["medleydb_in_musdb18"])


def name_key(*parts: str) -> str:
    """Artist and title as compared across datasets: letters and digits only, 'A Song - B' is 'ASong_B'."""
    return track_slug(" ".join(parts)).replace("-", "")


def find_duplicates(
    manifest: pd.DataFrame, fingerprints: Mapping[str, npt.NDArray[np.uint32]], precedence: list[str]
) -> pd.DataFrame:
    """Every track that is another track's recording: a table with the schema DUPLICATES, sorted by track.

    `fingerprints` by track id, as `data.recognition` makes them. Of two copies the one with an official split stays,
    test before validation before training, then the one whose dataset comes first in `precedence`.
    """
    tracks = manifest.set_index("track_id")

    def rank(track_id: str) -> tuple[int, int, str]:
        row = tracks.loc[track_id]
        return _OFFICIAL.get(row["official_split"], 3), precedence.index(row["dataset"]), track_id

    rows = _by_registry(manifest)
    # Equal samples need no likeness, and have none to show where the sound is steady.
    for _, same in manifest.groupby("mixture_sha256")["track_id"]:
        original, *others = sorted(same, key=rank)
        known = {row[0] for row in rows}
        rows += [(other, original, "checksum", None, None, None) for other in others if other not in known]
    known = {row[0] for row in rows}
    for match in same_recordings(fingerprints):
        original, copy = sorted((match.first, match.second), key=rank)
        if copy not in known:
            offset = match.offset_s if original == match.second else -match.offset_s
            rows.append((copy, original, "fingerprint", match.similarity, offset, match.overlap_s))
    return pd.DataFrame(rows, columns=DUPLICATES.names).sort_values(["track_id", "original"], ignore_index=True)


def load_fingerprints(root: Path, manifest: pd.DataFrame) -> dict[str, npt.NDArray[np.uint32]]:
    """The fingerprint of every track of the manifest, as it lies beside its canonical audio."""
    return {
        row.track_id: np.load((root / row.mixture_path).with_name(RECORDING), allow_pickle=False)
        for row in manifest.itertuples()
    }


Found = tuple[str, str | None, str, float | None, float | None, float | None]


def _by_registry(manifest: pd.DataFrame) -> list[Found]:
    """MedleyDB tracks that MUSDB18 holds too; without MUSDB18's training part they are nobody's copy."""
    musdb18 = manifest[(manifest["dataset"] == "musdb18") & manifest["official_split"].isin(["train", "validation"])]
    if musdb18.empty:
        return []
    originals = {name_key(row.artist, row.title): row.track_id for row in musdb18.itertuples()}
    found: list[Found] = []
    for row in manifest[manifest["dataset"] == "medleydb"].itertuples():
        key = name_key(row.track_id.split("/", 1)[1])
        if key in medleydb_in_musdb18():
            found.append((row.track_id, originals.get(key), "registry", None, None, None))
    return found
