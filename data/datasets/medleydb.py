"""MedleyDB: multitracks whose vocals are the sum of their vocal stems, labelled by YAML files kept elsewhere.

Reading the labels is `data.medleydb_metadata`'s; here the archive is searched, and stems are summed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from data import audio, cache, medleydb_metadata
from data.datasets.base import Dataset, Log, folder_or_archive, raw_folder
from data.download import download, extract_archive
from data.errors import InputError
from data.settings import Settings
from data.tracks import MIXTURE, VOCALS, SourceTrack, refuse_duplicates, track_slug

_MIX_SUFFIX = "_MIX.wav"
_LICENCE = "CC BY-NC-SA 4.0"


class MedleyDB(Dataset):
    """MedleyDB 1 and 2: `<id>/<id>_MIX.wav` and `<id>/<id>_STEMS/`; the RAW files below the stems are ignored."""

    name = "medleydb"
    title = "MedleyDB"
    description = "MedleyDB: MIX as mixture, all vocal stems summed as vocals, RAW ignored"
    code_version = "1"
    has_metadata = True

    def setting(self, settings: Settings) -> str:
        return settings.medleydb

    def obtain(self, settings: Settings, log: Log) -> Path:
        if settings.medleydb == "demo":
            return _demo(settings, log) / "audio"
        if settings.medleydb in ("download", "sample"):
            raise InputError(
                "setting ISOLATION_MEDLEYDB",
                expected="demo, off, or the path of a folder or archive",
                found=f"{settings.medleydb}: MedleyDB is given out on request only",
                remedy="request access on Zenodo (records 1649325 and 1715175), download, and set the path",
            )
        return folder_or_archive(settings, self.name, settings.medleydb, log)

    def discover(self, folder: Path) -> list[SourceTrack]:
        tracks = []
        for mix in sorted(folder.rglob(f"*{_MIX_SUFFIX}")):
            name = mix.name.removesuffix(_MIX_SUFFIX)
            # Archives made on a Mac carry a ghost of every file.
            if name.startswith("._") or "__MACOSX" in mix.parts or mix.parent.name != name:
                continue
            stems = mix.parent / f"{name}_STEMS"
            files = (mix, *sorted(path for path in stems.glob(f"{name}_STEM_*.wav")))
            artist, underscore, title = name.partition("_")
            licence = folder / "licence.txt"
            tracks.append(
                SourceTrack(
                    dataset=self.name,
                    slug=track_slug(name),
                    title=title if underscore else name,
                    artist=artist,
                    licence=licence.read_text().strip() if licence.is_file() else _LICENCE,
                    split=None,
                    files=files,
                    details={"id": name},
                )
            )
        if not tracks:
            raise InputError(
                "MedleyDB",
                file=folder,
                expected="folders <id> with <id>_MIX.wav and <id>_STEMS/, at any depth",
                found="no such folder",
                remedy="point ISOLATION_MEDLEYDB at the unpacked dataset, or set it to 'off'",
            )
        return refuse_duplicates(tracks)

    def extract(self, track: SourceTrack, metadata: pd.DataFrame, folder: Path) -> dict[str, Any]:
        name = track.details["id"]
        if metadata.empty:
            raise InputError(
                "metadata",
                expected=f"a metadata file {name}{medleydb_metadata.SUFFIX}",
                found="none that could be read (see the medleydb/metadata asset)",
                remedy="add or mend it in the folder ISOLATION_MEDLEYDB_METADATA, then materialise medleydb/metadata",
            )
        mix_file = track.files[0]
        stems_dir = mix_file.parent / f"{name}_STEMS"
        mixture, rate = audio.read(mix_file)
        mixture = _stereo(mixture, mix_file)
        vocals = np.zeros_like(mixture)
        everything = np.zeros_like(mixture)
        difference = 0
        for stem in metadata.dropna(subset="stem").itertuples():
            path = stems_dir / str(stem.stem_file)
            samples, stem_rate = audio.read(path)
            if stem_rate != rate:
                raise InputError(
                    f"stem {stem.stem}",
                    file=path,
                    expected=f"{rate} Hz, as in {mix_file.name}",
                    found=f"{stem_rate} Hz",
                    remedy="replace the stem by one in the mixture's rate",
                )
            samples = _stereo(samples, path)
            difference = max(difference, samples.shape[1] - mixture.shape[1], key=abs)
            overlap = min(samples.shape[1], mixture.shape[1])
            everything[:, :overlap] += samples[:, :overlap]
            if stem.vocal:
                vocals[:, :overlap] += samples[:, :overlap]
        audio.write(folder / MIXTURE, mixture, rate)
        audio.write(folder / VOCALS, vocals, rate)
        return {
            "frames": mixture.shape[1],
            "sample_rate": rate,
            "vocal_stems": int(metadata["vocal"].fillna(False).astype(bool).sum()),
            "length_difference": int(difference),
            "stem_sum_residual_db": stem_sum_residual(mixture, everything),
        }

    def read_metadata(self, settings: Settings, log: Log) -> tuple[pd.DataFrame, list[InputError]]:
        return medleydb_metadata.read_folder(self._metadata_folder(settings, log))

    def _metadata_folder(self, settings: Settings, log: Log) -> Path:
        if settings.medleydb == "demo":
            return _demo(settings, log) / "metadata"
        if settings.medleydb_metadata is not None:
            return settings.medleydb_metadata.expanduser().absolute()
        folder = settings.root / self.name / "metadata_files"
        url = settings.medleydb_metadata_url
        wanted = cache.fingerprint(code_version="1", parameters={"url": url}, inputs={})

        def fetch(partial: Path) -> dict[str, Any]:
            log(f"fetching the metadata from {url}")
            archive = download(url, partial / "medleydb.zip", log=log)
            extract_archive(archive, partial)
            archive.unlink()
            return {"url": url}

        cache.make(folder, wanted, fetch)
        return folder


def stem_sum_residual(mixture: audio.Audio, stems: audio.Audio) -> float | None:
    """What a mixture holds beyond the sum of its stems at the best single gain, in dB of the mixture's energy.

    `mixture`, `stems`: (channels, frames). None where either is silent. Mastering keeps it far from minus infinity.
    """
    x, s = mixture.astype(np.float64).ravel(), stems.astype(np.float64).ravel()
    energy = float(x @ x)
    if energy == 0.0 or not s.any():
        return None
    residual = x - (float(x @ s) / float(s @ s)) * s
    return round(10.0 * float(np.log10(max(float(residual @ residual) / energy, 1e-12))), 2)


def _stereo(samples: audio.Audio, path: Path) -> audio.Audio:
    if samples.shape[0] == 1:
        return np.repeat(samples, 2, axis=0)
    if samples.shape[0] != 2:
        raise InputError(
            "audio file",
            file=path,
            expected="one or two channels",
            found=f"{samples.shape[0]} channels",
            remedy="mix it down to stereo",
        )
    return samples


def _demo(settings: Settings, log: Log) -> Path:
    """The generated corpus: `audio/` and `metadata/`, made together so that neither can be without the other."""
    from data.demo import corpus

    def generate(partial: Path) -> dict[str, Any]:
        log("generating the demo corpus in MedleyDB's format")
        corpus.write_medleydb(partial / "audio", partial / "metadata", seed=settings.seed, progress=log)
        (partial / "audio" / "licence.txt").write_text("CC0 1.0 (generated by this project)\n")
        return {}

    folder = raw_folder(settings, "medleydb")
    wanted = cache.fingerprint(code_version=corpus.VERSION, parameters={"seed": settings.seed}, inputs={})
    cache.make(folder, wanted, generate)
    return folder
