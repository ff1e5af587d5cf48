"""The manifest: one row per normalised track, of all datasets, with everything later steps may ask about a track."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pandas as pd
import pyarrow as pa

from data import cache
from data.sources import read_index
from data.tracks import MIXTURE, VOCALS, normalised_folder, stems_folder

CODE_VERSION = "1"
MANIFEST_FILE = "manifest.parquet"


def _column(name: str, kind: pa.DataType, doc: str) -> pa.Field:
    return pa.field(name, kind, metadata={"doc": doc})


MANIFEST = pa.schema(
    [
        _column("track_id", pa.string(), "<dataset>/<slug>"),
        _column("dataset", pa.string(), "dataset the track comes from"),
        _column("title", pa.string(), "title as the dataset spells it"),
        _column("artist", pa.string(), "artist as the dataset spells it"),
        _column("genre", pa.string(), "genre, empty where the dataset names none"),
        _column("licence", pa.string(), "licence of the audio"),
        _column("official_split", pa.string(), "train, validation or test as the dataset prescribes, else null"),
        _column("mixture_path", pa.string(), "canonical mixture, relative to the storage root"),
        _column("vocals_path", pa.string(), "canonical vocals, relative to the storage root"),
        _column("frames", pa.int64(), "length in frames at 44.1 kHz"),
        _column("duration_s", pa.float64(), "length in seconds"),
        _column("source_rate", pa.int64(), "sample rate before resampling, Hz"),
        _column("trimmed_frames", pa.int64(), "frames cut so that mixture and vocals have one length"),
        _column("vocal_stems", pa.int64(), "number of stems summed into the vocals"),
        _column("length_difference", pa.int64(), "stem length less mixture length before summing, frames, the largest"),
        _column("stem_sum_residual_db", pa.float64(), "mixture beyond the sum of its stems, dB; null if not measured"),
        _column("mixture_peak", pa.float64(), "largest sample, 1.0 = full scale"),
        _column("mixture_rms_db", pa.float64(), "RMS, dBFS"),
        _column("mixture_lufs", pa.float64(), "integrated loudness (BS.1770), null for silence"),
        _column("vocals_peak", pa.float64(), "largest sample, 1.0 = full scale"),
        _column("vocals_rms_db", pa.float64(), "RMS, dBFS; -120 for silence"),
        _column("vocals_lufs", pa.float64(), "integrated loudness (BS.1770), null for silence"),
        _column("vocal_activity", pa.float64(), "share of seconds with vocals above -50 dBFS"),
        _column("vocal_level_db", pa.list_(pa.float32()), "RMS of the vocals in each second, dBFS"),
        _column("mixture_sha256", pa.string(), "checksum of the canonical mixture"),
        _column("vocals_sha256", pa.string(), "checksum of the canonical vocals"),
        _column("fingerprint", pa.string(), "data version of the normalised track"),
    ]
)


def normalised_records(root: Path, datasets: Iterable[str]) -> dict[str, cache.Record]:
    """Records of all tracks that are in an index and whose canonical audio is whole, by track id."""
    records = {}
    for dataset in datasets:
        for slug in read_index(root, dataset)["slug"]:
            record = cache.recall(normalised_folder(root, dataset, slug))
            if record is not None:
                records[f"{dataset}/{slug}"] = record
    return records


def build_manifest(root: Path, records: dict[str, cache.Record]) -> pd.DataFrame:
    """The manifest (schema MANIFEST) of the tracks in `records`, sorted by track id."""
    indices = {dataset: read_index(root, dataset).set_index("slug") for dataset in {_dataset(t) for t in records}}
    rows = []
    for track_id, record in sorted(records.items()):
        dataset, slug = track_id.split("/", 1)
        source = indices[dataset].loc[slug]
        stems = cache.recall(stems_folder(root, dataset, slug))
        extracted = stems.measured if stems is not None else {}
        folder = normalised_folder(root, dataset, slug).relative_to(root)
        rows.append(
            {
                "track_id": track_id,
                "dataset": dataset,
                "title": source["title"],
                "artist": source["artist"],
                "genre": source["genre"],
                "licence": source["licence"],
                "official_split": source["split"],
                "mixture_path": str(folder / MIXTURE),
                "vocals_path": str(folder / VOCALS),
                "vocal_stems": extracted.get("vocal_stems"),
                "length_difference": extracted.get("length_difference"),
                "stem_sum_residual_db": extracted.get("stem_sum_residual_db"),
                **record.measured,
                "mixture_sha256": record.files[MIXTURE].sha256,
                "vocals_sha256": record.files[VOCALS].sha256,
                "fingerprint": record.fingerprint,
            }
        )
    frame = pd.DataFrame(rows, columns=MANIFEST.names)
    # All-null columns come out as objects; the schema wants integers that may be missing.
    return frame.astype(dict.fromkeys(("vocal_stems", "length_difference"), "Int64"))


def _dataset(track_id: str) -> str:
    return track_id.split("/", 1)[0]
