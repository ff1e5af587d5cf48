"""The manifest: one row per normalised track, of all datasets, with everything later steps may ask about a track."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pyarrow as pa

from data.datasets.base import Dataset, Extracted
from data.errata import Erratum
from data.layout import Layout
from data.preparation import MADE_OF, NORMALISED, Outdated, PreparedTrack, standing, track_jobs
from data.quality import judge
from data.recipe import Recipe
from data.settings import Quality, Settings
from data.sources import checksums_of, indexed_tracks
from data.tables import Table
from data.tracks import MIXTURE, VOCALS

CODE_VERSION = "4"


_GAINS = pa.list_(pa.float64())


def _column(name: str, kind: pa.DataType, doc: str) -> pa.Field:
    return pa.field(name, kind, metadata={"doc": doc})


MANIFEST = Table(
    "manifest.parquet",
    pa.schema(
        [
            _column("track_id", pa.string(), "dataset/slug"),
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
            _column("stems", pa.list_(pa.string()), "stems of the track as the dataset labels them"),
            _column(
                "vocal_kinds", pa.list_(pa.string()), "labels of the vocal stems; empty where the dataset has none"
            ),
            _column("vocal_stems", pa.int64(), "number of stems summed into the vocals"),
            _column("has_bleed", pa.bool_(), "whether stems hold sound of each other; null where nobody says"),
            _column("labelled_instrumental", pa.bool_(), "as published, not reliable; null where nobody says"),
            _column(
                "length_difference", pa.int64(), "stem length less mixture length before summing, frames, the largest"
            ),
            _column(
                "stem_sum_residual_db", pa.float64(), "mixture beyond the sum of its stems, dB; null if not measured"
            ),
            _column(
                "tempo_bpm", pa.float64(), "estimated beats per minute, possibly an octave off; null without a pulse"
            ),
            _column("mixture_peak", pa.float64(), "largest sample, 1.0 = full scale"),
            _column("mixture_rms_db", pa.float64(), "RMS over both channels, dBFS; -120 for silence"),
            _column("mixture_lufs", pa.float64(), "integrated loudness (BS.1770), null for silence"),
            _column("mixture_clipped", pa.int64(), "samples in runs of three or more at full scale, both channels"),
            _column("mixture_dc_offset", pa.float64(), "largest mean of a channel, 1.0 = full scale"),
            _column("mixture_side_db", pa.float64(), "half the difference of the channels, dBFS; -120 for mono"),
            _column("mixture_balance_db", pa.float64(), "left channel less right channel, dB"),
            _column("mixture_end_db", pa.float64(), "RMS of the last tenth of a second, dBFS"),
            _column("vocals_peak", pa.float64(), "largest sample, 1.0 = full scale"),
            _column("vocals_rms_db", pa.float64(), "RMS over both channels, dBFS; -120 for silence"),
            _column("vocals_lufs", pa.float64(), "integrated loudness (BS.1770), null for silence"),
            _column("vocals_clipped", pa.int64(), "samples in runs of three or more at full scale, both channels"),
            _column("vocals_dc_offset", pa.float64(), "largest mean of a channel, 1.0 = full scale"),
            _column(
                "vocal_gain_left", pa.float64(), "level of the vocals inside the mixture's left channel; null: silent"
            ),
            _column("vocal_gain_right", pa.float64(), "the same of the right channel"),
            _column("vocal_activity", pa.float64(), "share of seconds with vocals above -50 dBFS"),
            _column("vocal_level_db", pa.list_(pa.float32()), "RMS of the vocals in each second, dBFS"),
            _column("mixture_sha256", pa.string(), "checksum of the canonical mixture"),
            _column("vocals_sha256", pa.string(), "checksum of the canonical vocals"),
            _column("raw_checksums", pa.list_(pa.string()), "SHA-256 and name of every raw file"),
            _column("errata", pa.string(), "what is known to be wrong with the track, else null"),
            _column("errata_action", pa.string(), "tag or exclude, null without errata"),
            _column("flags", pa.list_(pa.string()), "quality rules that the track breaks"),
            _column("fingerprint", pa.string(), "data version of the normalised track"),
            _column(
                "fitted_residual_db", pa.float64(), "mixture beyond its stems, each at its measured gain, dB; or null"
            ),
            _column(
                "gains_applied", pa.bool_(), "whether vocal stems were summed at measured gains; null: not measured"
            ),
            _column("vocal_stem_gains_left", _GAINS, "measured gain of each vocal stem, left channel; null: silent"),
            _column("vocal_stem_gains_right", _GAINS, "the same of the right channel"),
            _column("vocal_stem_gains_published", _GAINS, "published mixing coefficient of each; null: none"),
            _column("vocal_gain_faults", pa.list_(pa.string()), "measured gains not believed: stem, channel, reason"),
            _column(
                "mixed_stems", pa.list_(pa.string()), "stems labelled as voice and something else, with their labels"
            ),
        ]
    ),
)


@dataclass(frozen=True)
class Corpus:
    """All tracks of the indices: those that are prepared, and why the others are not; by track id."""

    prepared: Mapping[str, PreparedTrack]
    outdated: Mapping[str, Outdated]

    @property
    def left_out(self) -> list[str]:
        """Those that are not prepared, with the reason, a line each."""
        return [f"{track}: {state}" for track, state in sorted(self.outdated.items())]


def look_at_tracks(settings: Settings, datasets: Iterable[Dataset]) -> Corpus:
    """What stands of every track. Raises InputError where a dataset was not indexed yet."""
    found = {job.track_id: standing(job) for dataset in datasets for job in track_jobs(settings, dataset).values()}
    return Corpus(
        {track_id: state for track_id, state in found.items() if isinstance(state, PreparedTrack)},
        {track_id: state for track_id, state in found.items() if isinstance(state, Outdated)},
    )


def outdated_in(corpus: Corpus, step: str) -> dict[str, Outdated]:
    """The tracks whose output of a step (`STEMS`, `NORMALISED`) is not what would be made today, with the reason."""
    # Canonical audio cannot be current where the stems that it is made of are not.
    return {track: state for track, state in corpus.outdated.items() if step == NORMALISED or state.step == step}


def unprepared(track_ids: Iterable[str], manifest: pd.DataFrame) -> list[str]:
    """Those of these tracks that are not in a manifest."""
    there = set(manifest["track_id"])
    return [track_id for track_id in track_ids if track_id not in there]


def prepared_version(settings: Settings, dataset: Dataset) -> str:
    """The data version of all canonical audio of a dataset together."""
    prepared = look_at_tracks(settings, [dataset]).prepared
    return Recipe("1", {}, {track_id: track.normalised.version for track_id, track in prepared.items()}).fingerprint


def sources_version(root: Path, datasets: Iterable[str]) -> str:
    """A checksum of what the indices say of their tracks besides the audio: names, licences, official splits."""
    words = {
        f"{dataset}/{track.slug}": "|".join((track.title, track.artist, track.licence, track.genre, str(track.split)))
        for dataset in datasets
        for track in indexed_tracks(root, dataset)
    }
    return Recipe("1", {}, words).fingerprint


def build_manifest(
    root: Path, tracks: Mapping[str, PreparedTrack], errata: Mapping[str, Erratum], limits: Quality
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The manifest (table MANIFEST) of these tracks, sorted by track id; and the quality table of it."""
    rows = []
    for track_id, track in sorted(tracks.items()):
        dataset, slug = track_id.split("/", 1)
        source, extracted, files = track.row, Extracted.of(track.stems.measured), track.normalised.files
        # A reader may have resampled: what it wrote has another rate than what it read.
        written = track.normalised.measured["source_rate"]
        rate = extracted.sample_rate or written
        difference = extracted.length_difference
        folder = Layout(root).normalised(dataset, slug).relative_to(root)
        erratum = errata.get(track_id)
        # Stems from before this was recorded are made of the files in the index, or they would not be among these.
        made_of = track.stems.measured.get(MADE_OF) or checksums_of(source)
        rows.append(
            {
                **vars(extracted),
                **track.normalised.measured,
                "track_id": track_id,
                "dataset": dataset,
                "title": source.title,
                "artist": source.artist,
                "genre": source.genre or extracted.genre or "",
                "licence": source.licence,
                "official_split": source.split,
                "mixture_path": str(folder / MIXTURE),
                "vocals_path": str(folder / VOCALS),
                "source_rate": rate,
                "length_difference": None if difference is None else round(difference * rate / written),
                "stems": extracted.stems or [],
                "vocal_kinds": extracted.vocal_kinds or [],
                "mixture_sha256": files[MIXTURE].sha256,
                "vocals_sha256": files[VOCALS].sha256,
                "raw_checksums": [f"{checksum}  {name}" for name, checksum in sorted(made_of.items())],
                "errata": erratum.problem if erratum else None,
                "errata_action": erratum.action if erratum else None,
                "fingerprint": track.normalised.version,
            }
        )
    frame = pd.DataFrame(rows, columns=MANIFEST.names)
    # All-null columns come out as objects; the schema wants values of one kind that may be missing.
    frame = frame.astype(dict.fromkeys(("vocal_stems", "length_difference"), "Int64"))
    frame = frame.astype(dict.fromkeys(("has_bleed", "labelled_instrumental", "gains_applied"), "boolean"))
    findings = judge(frame, limits)
    flags = findings.groupby("track_id")["rule"].apply(list).to_dict() if len(findings) else {}
    frame["flags"] = [flags.get(track_id, []) for track_id in frame["track_id"]]
    return frame, findings
