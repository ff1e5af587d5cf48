"""The same recording under two names: by the shipped registry of known overlaps, and by comparing what is heard.

Tracks that share only the accompaniment are told too, as another kind: they leak as copies do, but none gives way.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache as remember
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import yaml

from data.recognition import read_recording, same_recordings
from data.tables import Table
from data.tracks import RECORDING, track_slug

CODE_VERSION = "3"
_HOW_DOC = (
    "registry, checksum or fingerprint: one recording, and the track gives way; accompaniment: only what is played is "
    "the same, and both may be used, in one split"
)
HOW = ("registry", "checksum", "fingerprint", "accompaniment")

DUPLICATES = Table(
    "duplicates.parquet",
    pa.schema(
        [
            pa.field("track_id", pa.string(), metadata={"doc": "the track that gives way, where any does"}),
            pa.field(
                "original", pa.string(), metadata={"doc": "the track that stays; null where only the registry knows"}
            ),
            pa.field("how", pa.string(), metadata={"doc": _HOW_DOC}),
            pa.field("similarity", pa.float64(), metadata={"doc": "share of equal bits; null for the registry"}),
            pa.field("offset_s", pa.float64(), metadata={"doc": "how much later the original starts, seconds"}),
            pa.field("overlap_s", pa.float64(), metadata={"doc": "what was compared, seconds"}),
            pa.field(
                "rate", pa.float64(), metadata={"doc": "how many times as fast the original plays; null as above"}
            ),
            pa.field("agreement", pa.float64(), metadata={"doc": "agreement of the bits beyond chance, 1 at most"}),
        ]
    ),
)

_REGISTRY = Path(__file__).with_name("registry.yaml")
_OFFICIAL = {"test": 0, "validation": 1, "train": 2}


@dataclass(frozen=True)
class Overlap:
    """Tracks of one dataset that another holds too, in some of its official splits; `tracks` by their `name_key`."""

    dataset: str
    inside: str
    splits: tuple[str, ...]
    tracks: frozenset[str]


@remember
def overlaps() -> tuple[Overlap, ...]:
    """The overlaps of the shipped registry."""
    return tuple(
        Overlap(row["dataset"], row["inside"], tuple(row["splits"]), frozenset(map(name_key, row["tracks"])))
        for row in yaml.safe_load(_REGISTRY.read_text())
    )


def tracks_inside(dataset: str, *, of: str) -> frozenset[str]:
    """Keys (see `name_key`) of the tracks of `of` that are inside `dataset`."""
    return frozenset().union(*(row.tracks for row in overlaps() if (row.inside, row.dataset) == (dataset, of)))


def name_key(*parts: str) -> str:
    """Artist and title as compared across datasets: letters and digits only, 'A Song - B' is 'ASong_B'."""
    return track_slug(" ".join(parts)).replace("-", "")


def find_duplicates(
    manifest: pd.DataFrame, fingerprints: Mapping[str, npt.NDArray[np.uint32]], precedence: list[str]
) -> pd.DataFrame:
    """Every track that is another track's recording or has its accompaniment: a table DUPLICATES, sorted by track.

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
        rows += [(other, original, "checksum", None, None, None, None, None) for other in others if other not in known]
    known = {row[0] for row in rows}
    for match in same_recordings(fingerprints):
        original, copy = sorted((match.first, match.second), key=rank)
        # A karaoke version of a track that the registry knows still keeps its singers together with that track's.
        if copy not in known or match.how == "accompaniment":
            # Where one begins in the other is told in the other's own time, whose seconds are as many times shorter.
            swapped = original != match.second
            offset = -match.offset_s / match.rate if swapped else match.offset_s
            overlap = match.overlap_s / match.rate if swapped else match.overlap_s
            rate = 1 / match.rate if swapped else match.rate
            rows.append((copy, original, match.how, match.similarity, offset, overlap, rate, match.agreement))
    return pd.DataFrame(rows, columns=DUPLICATES.names).sort_values(["track_id", "original"], ignore_index=True)


def recognise(
    new: Mapping[str, npt.NDArray[np.uint32]], gone: Mapping[str, npt.NDArray[np.uint32]]
) -> dict[str, list[str]]:
    """Which of the tracks that are gone each new track is the recording of, or has the accompaniment of.

    So a track is known again that comes back encoded anew under another name. Fingerprints by track id.
    """
    prints = {f"new/{name}": print for name, print in new.items()}
    prints |= {f"gone/{name}": print for name, print in gone.items()}
    found: dict[str, list[str]] = {}
    for match in same_recordings(prints):
        (one, first), (other, second) = (name.split("/", 1) for name in (match.first, match.second))
        if (one, other) == ("gone", "new"):
            found.setdefault(second, []).append(first)
    return found


def load_fingerprints(root: Path, manifest: pd.DataFrame) -> dict[str, npt.NDArray[np.uint32]]:
    """The fingerprint of every track of the manifest, as it lies beside its canonical audio."""
    return {
        row.track_id: read_recording((root / row.mixture_path).with_name(RECORDING)) for row in manifest.itertuples()
    }


Found = tuple[str, str | None, str, float | None, float | None, float | None, float | None, float | None]


def _by_registry(manifest: pd.DataFrame) -> list[Found]:
    """Tracks that another dataset is known to hold too; without its splits that hold them they are nobody's copy."""
    found: list[Found] = []
    for overlap in overlaps():
        inside = manifest[(manifest["dataset"] == overlap.inside) & manifest["official_split"].isin(overlap.splits)]
        originals = {name_key(row.artist, row.title): row.track_id for row in inside.itertuples()}
        copies = manifest[manifest["dataset"] == overlap.dataset].itertuples() if originals else ()
        for row in copies:
            key = name_key(row.track_id.split("/", 1)[1])
            if key in overlap.tracks:
                found.append((row.track_id, originals.get(key), "registry", None, None, None, None, None))
    return found
