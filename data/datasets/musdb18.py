"""MUSDB18 and MUSDB18-HQ: 150 tracks with official training, validation and test parts.

stem.mp4 files are read through musdb and stempeg; HQ folders of wav files through the project's own reader, because
musdb reads a mono `vocals.wav` as stereo of half the length.
"""

from __future__ import annotations

import tarfile
import zipfile
from functools import cache as remember
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from data import audio, cache
from data.datasets.base import Dataset, Log, folder_or_archive, raw_folder
from data.download import download, extract_archive
from data.errors import InputError
from data.settings import Settings
from data.tracks import MIXTURE, VOCALS, SourceTrack, refuse_duplicates, track_slug

_STEM_SUFFIX = ".stem.mp4"
_HQ_FILES = ("mixture.wav", "vocals.wav")
_AAC_PADDING = 4096  # frames: encoder delay plus the filling of the last packets
_ARCHIVE = ("https://zenodo.org/records/1117372/files/musdb18.zip", ("md5", "af06762477334799bfc5abf237648207"))
_LICENCE = "non-commercial (CC BY-NC-SA or restricted, per track)"
_KNOWN_LICENCES = {"The Easton Ellises - Falcon 69": "CC BY-NC-SA"}


class Musdb18(Dataset):
    """MUSDB18 in either of its layouts, `train/` and `test/` with stem.mp4 files or with folders of wav files."""

    name = "musdb18"
    title = "MUSDB18"
    description = "MUSDB18 (stem.mp4 or HQ wav): mixture and vocals, official splits kept"
    code_version = "1"

    def setting(self, settings: Settings) -> str:
        return settings.musdb18

    def obtain(self, settings: Settings, log: Log) -> Path:
        folder = raw_folder(settings, self.name)
        if settings.musdb18 == "demo":
            from data.demo import corpus

            wanted = cache.fingerprint(code_version=corpus.VERSION, parameters={"seed": settings.seed}, inputs={})
            cache.make(folder, wanted, lambda partial: _generate(partial, settings.seed, log))
            return folder
        if settings.musdb18 in ("sample", "download"):
            address, checksum = (_setup()["sample-url"], None) if settings.musdb18 == "sample" else _ARCHIVE
            url = settings.musdb18_url or address
            wanted = cache.fingerprint(code_version="1", parameters={"url": url}, inputs={})
            cache.make(folder, wanted, lambda partial: _fetch(url, checksum, settings, partial, log))
            return folder
        return folder_or_archive(settings, self.name, settings.musdb18, log)

    def discover(self, folder: Path) -> list[SourceTrack]:
        top = next((path for path in (folder, *sorted(folder.glob("*/"))) if _has_subsets(path)), None)
        tracks = [track for subset in ("train", "test") for track in _subset(top, subset)] if top else []
        if not tracks:
            raise InputError(
                "MUSDB18",
                file=folder,
                expected="folders train/ and test/ with *.stem.mp4 files, or with one folder of wav files a track",
                found="no such folders" if top is None else "train/ and test/ without tracks",
                remedy="point ISOLATION_MUSDB18 at the unpacked dataset, or set it to 'off'",
            )
        return refuse_duplicates(tracks)

    def extract(self, track: SourceTrack, metadata: pd.DataFrame, folder: Path) -> dict[str, Any]:
        if len(track.files) == 1:
            mixture, vocals, rate = read_stem_mp4(track.files[0])
        else:
            mixture, vocals, rate = _read_hq(track)
        audio.write(folder / MIXTURE, mixture, rate)
        audio.write(folder / VOCALS, vocals, rate)
        return {"frames": mixture.shape[1], "sample_rate": rate, "vocal_stems": 1, "length_difference": 0}


def read_stem_mp4(path: Path) -> tuple[audio.Audio, audio.Audio, int]:
    """Mixture and vocals of a MUSDB stem.mp4, decoded by musdb and stempeg: each `(2, frames)` float32, and the rate.

    Raises InputError for a file with too few streams, another rate or channel count, and one that decodes to fewer
    samples than its container promises: ffmpeg decodes a file that was cut short without a word.
    """
    audio.require_program("ffmpeg")
    audio.require_program("ffprobe")
    # Importing stempeg fails where ffmpeg is missing, hence only after the check above.
    import ffmpeg
    import stempeg
    from musdb.audio_classes import MultiTrack, Source

    def refuse(expected: str, found: str) -> InputError:
        remedy = "replace the file by an undamaged copy of the dataset's"
        return InputError("stem file", file=path, expected=expected, found=found, remedy=remedy)

    if not path.is_file():
        raise refuse("a stem.mp4 file", "no such file")
    try:
        details = stempeg.Info(str(path))
    except (ffmpeg.Error, KeyError) as error:
        raise refuse("a stem.mp4 file", f"{path.stat().st_size} bytes that ffprobe cannot read") from error
    streams = details.audio_streams
    if len(streams) < 5:
        raise refuse("five audio streams: mixture, drums, bass, other, vocals", f"{len(streams)} audio streams")
    formats = {(int(stream["sample_rate"]), int(stream["channels"])) for stream in streams[:5]}
    if formats != {(audio.SAMPLE_RATE, audio.CHANNELS)}:
        raise refuse(
            f"{audio.SAMPLE_RATE} Hz and {audio.CHANNELS} channels in every stream",
            ", ".join(f"{rate} Hz with {channels} channel(s)" for rate, channels in sorted(formats)),
        )
    ids = _setup()["stem_ids"]
    name = path.name.removesuffix(_STEM_SUFFIX)
    track = MultiTrack(path=str(path), name=name, is_wav=False, stem_id=ids["mixture"])
    source = Source(track, name="vocals", path=str(path), stem_id=ids["vocals"], is_wav=False)
    try:
        # musdb decodes to 16 bit and hands out float64; float32 holds 16 bit exactly.
        mixture, vocals = (np.ascontiguousarray(item.audio.T, dtype=np.float32) for item in (track, source))
    except (ffmpeg.Error, RuntimeError, Warning) as error:
        raise refuse("streams that ffmpeg can decode", f"{type(error).__name__}: {error}") from error
    promised = min(details.samples(0), details.samples(ids["vocals"]))
    for kind, decoded in (("mixture", mixture), ("vocals", vocals)):
        if decoded.ndim != 2 or decoded.shape[1] < promised - _AAC_PADDING:
            frames = decoded.shape[1] if decoded.ndim == 2 else 0
            raise refuse(
                f"{promised} frames of {kind}, as the container says",
                f"{frames} frames: the file is cut short or damaged",
            )
    if mixture.shape != vocals.shape:
        raise refuse(
            f"as many frames of vocals as of mixture ({mixture.shape[1]})",
            f"{vocals.shape[1]} frames of vocals: part of a stream is damaged",
        )
    return mixture, vocals, audio.SAMPLE_RATE


def _read_hq(track: SourceTrack) -> tuple[audio.Audio, audio.Audio, int]:
    mixture_file, vocals_file = track.files
    mixture, rate = audio.read(mixture_file)
    vocals, vocals_rate = audio.read(vocals_file)
    if (vocals.shape, vocals_rate) != (mixture.shape, rate):
        raise InputError(
            "vocals",
            file=vocals_file,
            expected=f"the form of {mixture_file.name}: {_form(mixture, rate)}",
            found=_form(vocals, vocals_rate),
            remedy="export both files from the same session, with the same length, rate and channels",
        )
    return mixture, vocals, rate


def _form(samples: audio.Audio, rate: int) -> str:
    return f"{samples.shape[1]} frames, {samples.shape[0]} channel(s), {rate} Hz"


def _has_subsets(folder: Path) -> bool:
    return (folder / "train").is_dir() or (folder / "test").is_dir()


def _subset(top: Path, subset: str) -> list[SourceTrack]:
    named = top / "licence.txt"
    licence = named.read_text().strip() if named.is_file() else _LICENCE
    found: dict[str, tuple[Path, ...]] = {}
    for path in sorted((top / subset).glob("*")):
        if path.name.startswith("."):
            continue
        if path.name.endswith(_STEM_SUFFIX):
            found[path.name.removesuffix(_STEM_SUFFIX)] = (path,)
        elif path.is_dir() and any(path.glob("*.wav")):
            found[path.name] = tuple(path / name for name in _HQ_FILES)
    tracks = []
    for name, files in found.items():
        artist, dash, title = name.partition(" - ")
        official = "validation" if subset == "train" and name in _setup()["validation_tracks"] else subset
        tracks.append(
            SourceTrack(
                dataset="musdb18",
                slug=track_slug(name),
                title=title if dash else name,
                artist=artist,
                licence=_KNOWN_LICENCES.get(name, licence),
                split=official,
                files=files,
            )
        )
    return tracks


def _generate(folder: Path, seed: int, log: Log) -> dict[str, Any]:
    from data.demo import corpus

    log("generating the demo corpus in MUSDB18's format")
    corpus.write_musdb18(folder, seed=seed, progress=log)
    (folder / "licence.txt").write_text("CC0 1.0 (generated by this project)\n")
    return {}


def _fetch(url: str, checksum: tuple[str, str] | None, settings: Settings, folder: Path, log: Log) -> dict[str, Any]:
    token = settings.download_token.get_secret_value() if settings.download_token else None
    archive = download(url, folder / "musdb18.zip", checksum=checksum, token=token, log=log)
    if not (zipfile.is_zipfile(archive) or tarfile.is_tarfile(archive)):
        raise InputError(
            "download of MUSDB18",
            expected="a zip or tar archive",
            found=f"{archive.stat().st_size} bytes of something else from {url}",
            remedy="check the address (ISOLATION_MUSDB18_URL)",
        )
    extract_archive(archive, folder)
    archive.unlink()
    return {"url": url}


@remember
def _setup() -> dict[str, Any]:
    """musdb's own description of the dataset: stem ids, validation tracks, the address of the preview."""
    from importlib.resources import files

    content: dict[str, Any] = yaml.safe_load((files("musdb") / "configs" / "mus.yaml").read_text())
    return content
