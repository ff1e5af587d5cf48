"""MUSDB18 and MUSDB18-HQ: 150 tracks with official training, validation and test parts.

stem.mp4 files are decoded by ffmpeg as musdb has it do, HQ folders of wav files read by the project's own reader,
because musdb reads a mono `vocals.wav` as stereo of half the length.
"""

from __future__ import annotations

import shutil
from dataclasses import replace
from functools import cache as remember
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd
import yaml

from data import audio, cache, ffmpeg
from data.datasets.base import Dataset, Extracted, Log, fetched, folder_or_archive
from data.demo.licence import LICENCE
from data.download import RemoteFile
from data.duplicates import name_key, tracks_inside
from data.errors import InputError
from data.layout import Layout
from data.recipe import Recipe
from data.residual import StemSum
from data.settings import Settings
from data.text import plain
from data.tracks import MIXTURE, VOCALS, Found, Track, found
from data.walk import Folder, Walk, note, told

_STEM_SUFFIX = ".stem.mp4"
_HQ_FILES = ("mixture.wav", "vocals.wav")
_HQ_OTHERS = ("drums.wav", "bass.wav", "other.wav")
_AAC_PADDING = 4096  # frames: encoder delay plus the filling of the last packets
# Sizes and checksums as the publishers' records list them.
_ARCHIVES = {
    "sample": RemoteFile(
        "MUSDB18-7-STEMS.zip",
        "https://zenodo.org/records/3270814/files/MUSDB18-7-STEMS.zip",
        147_209_385,
        ("md5", "dc2bdfac5b46ce742bd60009866758a5"),
    ),
    "download": RemoteFile(
        "musdb18.zip",
        "https://zenodo.org/records/1117372/files/musdb18.zip",
        4_684_228_845,
        ("md5", "af06762477334799bfc5abf237648207"),
    ),
    "download-hq": RemoteFile(
        "musdb18hq.zip",
        "https://zenodo.org/records/3338373/files/musdb18hq.zip",
        None,
        ("sha256", "baac80d0483c61d74b2e5f3be75fa557eec52898339e6aa45c1fa48833c5d21d"),
    ),
}
# The tracks that come from MedleyDB have its licence, two more a Creative Commons one, the rest is restricted.
_LICENCE = "restricted (MUSDB18: non-commercial use only)"
_LICENCE_OF_MEDLEYDB = "CC BY-NC-SA 4.0"
_KNOWN_LICENCES = {"The Easton Ellises - Falcon 69": "CC BY-NC-SA"}


class Musdb18(Dataset):
    """MUSDB18 in either of its layouts, `train/` and `test/` with stem.mp4 files or with folders of wav files."""

    name = "musdb18"
    title = "MUSDB18"
    description = "MUSDB18 (stem.mp4 or HQ wav): mixture and vocals, official splits kept"
    code_version = "1"

    def obtain(self, settings: Settings, log: Log) -> Path:
        folder = Layout(settings.root).raw(self.name)
        if settings.musdb18 == "demo":
            from data.demo import corpus

            recipe = Recipe(corpus.VERSION, {"seed": settings.seed}, {})
            cache.make(folder, recipe, lambda partial: _generate(partial, settings.seed, log))
            return folder
        if settings.musdb18 in _ARCHIVES:
            file = _ARCHIVES[settings.musdb18]
            if settings.musdb18_url:
                # A mirror has the publisher's archive; previews somebody else may have cut.
                verified = settings.musdb18 != "sample"
                file = replace(file, url=settings.musdb18_url)
                file = file if verified else replace(file, size=None, checksum=None)
            return fetched(settings, self.name, file, log)
        return folder_or_archive(settings, self.name, settings.musdb18, log)

    def discover(self, folder: Path) -> Found:
        walk = Walk(folder)
        # The dataset itself, or one folder down.
        tops = [place for place in walk if place.path.parent in (folder, folder.parent) and _subsets(place)]
        tracks = [track for top in tops[:1] for subset in ("test", "train") for track in _subset(top, subset, walk)]
        for other in tops[1:]:
            walk.pass_over(other.path, f"another copy of the dataset, which is taken from {tops[0].path}")
        if not tracks:
            passed = told(walk.passed_over, folder)
            raise InputError(
                "MUSDB18",
                file=folder,
                expected="folders train/ and test/ with *.stem.mp4 files, or with one folder of wav files a track",
                found=("train/ and test/ without tracks" if tops else "no such folders")
                + (f"; passed over: {passed}" if passed else ""),
                remedy="point ISOLATION_MUSDB18 at the unpacked dataset, or set it to 'off'",
            )
        return found(tracks, walk.passed_over)

    def extract(self, track: Track, labels: pd.DataFrame, folder: Path) -> Extracted:
        if len(track.files) == 1:
            frames, rate, residual = extract_stem_mp4(track.files[0], folder), audio.SAMPLE_RATE, None
        else:
            form, residual = _extract_hq(track, folder)
            frames, rate = form.frames, form.sample_rate
        return Extracted(
            frames=frames,
            sample_rate=rate,
            stems=["drums", "bass", "other", "vocals"],
            vocal_stems=1,
            length_difference=0,
            stem_sum_residual_db=residual,
        )


def extract_stem_mp4(path: Path, folder: Path) -> int:
    """Decode mixture and vocals of a MUSDB stem.mp4 into `mixture.wav` and `vocals.wav` (16 bit); returns the frames.

    One ffmpeg call decodes just these two streams, side by side into two files: bit-identical to what musdb reads, in
    a third of the time and in memory that does not grow with the track. Raises InputError for a file with too few
    streams, another rate or channel count, and one that decodes to fewer samples than its container promises: ffmpeg
    decodes a file that was cut short without a word.
    """

    def refuse(expected: str, found: str) -> InputError:
        remedy = "replace the file by an undamaged copy of the dataset's"
        return InputError("stem file", file=path, expected=expected, found=found, remedy=remedy)

    if not path.is_file():
        raise refuse("a stem.mp4 file", "no such file")
    streams = audio.audio_streams(path)
    if streams is None:
        raise refuse("a stem.mp4 file", f"{path.stat().st_size} bytes that ffprobe cannot read")
    if len(streams) < 5:
        raise refuse("five audio streams: mixture, drums, bass, other, vocals", f"{len(streams)} audio streams")
    formats = {(stream.sample_rate, stream.channels) for stream in streams[:5]}
    if formats != {(audio.SAMPLE_RATE, audio.CHANNELS)}:
        raise refuse(
            f"{audio.SAMPLE_RATE} Hz and {audio.CHANNELS} channels in every stream",
            ", ".join(f"{rate} Hz with {channels} channel(s)" for rate, channels in sorted(formats)),
        )
    ids = _setup()["stem_ids"]
    kinds = (("mixture", MIXTURE), ("vocals", VOCALS))
    form = ["-c:a", "pcm_s16le"]
    try:
        ffmpeg.decode(path, [(["-map", f"0:a:{ids[kind]}", *form], folder / name) for kind, name in kinds])
    except InputError as error:
        raise error if error.file != plain(path) else refuse("streams that ffmpeg can decode", error.found) from error
    frames = {kind: audio.info(folder / name).frames for kind, name in kinds}
    promised = min(streams[ids[kind]].frames for kind in frames)
    for kind, decoded in frames.items():
        if decoded < promised - _AAC_PADDING:
            raise refuse(
                f"{promised} frames of {kind}, as the container says",
                f"{decoded} frames: the file is cut short or damaged",
            )
    if frames["mixture"] != frames["vocals"]:
        raise refuse(
            f"as many frames of vocals as of mixture ({frames['mixture']})",
            f"{frames['vocals']} frames of vocals: part of a stream is damaged",
        )
    return frames["mixture"]


def _extract_hq(track: Track, folder: Path) -> tuple[audio.AudioInfo, float | None]:
    """Copy the two wav files that are needed; returns their form, and how far the mixture is from the stems' sum."""
    with TemporaryDirectory(dir=folder) as room:
        return _copy_hq(track, folder, room)


def _copy_hq(track: Track, folder: Path, room: str) -> tuple[audio.AudioInfo, float | None]:
    files = [audio.as_wav(file, room) for file in track.files]
    mixture, vocals = (audio.info(file) for file in files)
    if _form(mixture) != _form(vocals):
        raise InputError(
            "vocals",
            file=track.files[1],
            expected=f"the form of {track.files[0].name}: {_form(mixture)}",
            found=_form(vocals),
            remedy="export both files from the same session, with the same length, rate and channels",
        )
    residual = StemSum()
    others = [path for name in _HQ_OTHERS if (path := track.files[0].parent / name).is_file()]
    stems = [audio.blocks(path) for path in (files[1], *(audio.as_wav(other, room) for other in others))]
    for piece in audio.blocks(files[0]):  # every sample is looked at, so that damage is found here
        residual.feed(piece, [part for stem in stems if (part := next(stem, None)) is not None])
    for name, file in zip((MIXTURE, VOCALS), files, strict=True):
        shutil.copyfile(file, folder / name)
    return mixture, residual.decibels() if len(others) == len(_HQ_OTHERS) else None


def _form(file: audio.AudioInfo) -> str:
    return f"{file.frames} frames, {file.channels} channel(s), {file.sample_rate} Hz"


def _subsets(folder: Folder) -> list[str]:
    return [path.name for path in folder.folders if path.name in ("train", "test")]


def _subset(top: Folder, subset: str, walk: Walk) -> list[Track]:
    """The tracks of one part. A name that is there as stem file and as folder counts once, as the file."""
    given = note(top.path / "licence.txt")
    stems: dict[str, tuple[Path, ...]] = {}
    folders: dict[str, tuple[Path, ...]] = {}
    for place in Walk(top.path / subset):
        if place.path == top.path / subset:
            for path in place.files:
                if path.name.endswith(_STEM_SUFFIX):
                    stems[path.name.removesuffix(_STEM_SUFFIX)] = (path,)
                elif path.suffix.lower() in (".mp4", ".wav"):
                    walk.pass_over(path, f"neither *{_STEM_SUFFIX} nor in a folder of its own")
            for name, kind in place.odd.items():
                if name.endswith(_STEM_SUFFIX):
                    walk.pass_over(place.path / name, kind)
        elif place.path.parent == top.path / subset:
            if any(path.suffix == ".wav" for path in place.files):
                folders[place.path.name] = tuple(place.path / name for name in _HQ_FILES)
            elif place.files:
                walk.pass_over(place.path, "no wav files")
        elif any(path.name in _HQ_FILES for path in place.files):
            walk.pass_over(place.path, f"deeper than tracks lie in {subset}/")
    tracks = []
    for name, files in [*stems.items(), *folders.items()]:
        artist, dash, title = name.partition(" - ")
        official = "validation" if subset == "train" and name in _setup()["validation_tracks"] else subset
        tracks.append(
            Track(
                dataset="musdb18",
                name=name,
                title=title if dash else name,
                artist=artist,
                licence=_KNOWN_LICENCES.get(name) or given or _licence(name),
                split=official,
                files=files,
            )
        )
    return tracks


def _licence(name: str) -> str:
    return _LICENCE_OF_MEDLEYDB if name_key(name) in tracks_inside("musdb18", of="medleydb") else _LICENCE


def _generate(folder: Path, seed: int, log: Log) -> dict[str, Any]:
    from data.demo import corpus

    log("generating the demo corpus in MUSDB18's format")
    corpus.write_musdb18(folder, seed=seed, progress=log)
    (folder / "licence.txt").write_text(f"{LICENCE}\n")
    return {}


@remember
def _setup() -> dict[str, Any]:
    """musdb's own description of the dataset: stem ids, validation tracks, the address of the preview."""
    from importlib.resources import files

    content: dict[str, Any] = yaml.safe_load((files("musdb") / "configs" / "mus.yaml").read_text())
    return content
