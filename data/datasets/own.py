"""A user's own stems: one folder a track, with a mixture and vocals, or vocals and an accompaniment.

Names of artist and title come from the folder's name, `Artist - Title`, or from a `track.yaml` in it.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
import yaml

from data import audio
from data.datasets.base import Dataset, Log, folder_or_archive
from data.errors import InputError
from data.normalise import canonical_blocks
from data.settings import Settings
from data.tracks import MIXTURE, VOCALS, SourceTrack, refuse_duplicates, track_slug

SUFFIXES = (".wav", ".flac", ".mp3", ".ogg")
LABELS = "track.yaml"
_LICENCE = "unknown (own stems)"
_KEYS = ("artist", "title", "genre", "licence", "split")
_SPLITS = ("train", "validation", "test")
_EXPECTED = f"a {LABELS} with any of {', '.join(_KEYS)}; split is one of {', '.join(_SPLITS)}"


class Own(Dataset):
    """Folders `<track>/mixture + vocals` or `<track>/vocals + accompaniment`, each file wav, flac, mp3 or ogg."""

    name = "own"
    title = "Own stems"
    description = "Own stems: a folder a track, with mixture and vocals, or vocals and accompaniment"
    code_version = "2"

    def obtain(self, settings: Settings, log: Log) -> Path:
        return folder_or_archive(settings, self.name, settings.own, log)

    def discover(self, folder: Path) -> list[SourceTrack]:
        tracks = []
        for track in sorted(folder.glob("**/")):
            if "__MACOSX" in track.parts or track.name.startswith("."):
                continue
            found = {name: _files(track, name) for name in ("mixture", "vocals", "accompaniment")}
            if not found["vocals"] or not (found["mixture"] or found["accompaniment"]):
                continue
            tracks.append(_track(track, folder, found))
        if not tracks:
            raise InputError(
                "own stems",
                file=folder,
                expected="folders with mixture and vocals, or vocals and accompaniment "
                f"(each {', '.join(suffix[1:] for suffix in SUFFIXES)})",
                found="no such folder",
                remedy="arrange the stems like this, or set ISOLATION_OWN to 'off'",
            )
        return refuse_duplicates(tracks)

    def extract(self, track: SourceTrack, metadata: pd.DataFrame, folder: Path) -> dict[str, Any]:
        if problem := track.details.get("problem"):
            raise InputError(
                "own stems",
                file=track.files[0].parent,
                expected=track.details["expected"],
                found=problem,
                remedy="keep one file of each kind, and mend track.yaml",
            )
        files = {path.stem.lower(): path for path in track.files if path.name != LABELS}
        with TemporaryDirectory(dir=folder) as room:
            return _extract({name: audio.as_wav(path, room) for name, path in files.items()}, folder)


def _extract(files: dict[str, Path], folder: Path) -> dict[str, Any]:
    rates = {name: audio.info(path) for name, path in files.items()}
    other = "mixture" if "mixture" in files else "accompaniment"
    lengths = {name: round(form.frames * audio.SAMPLE_RATE / form.sample_rate) for name, form in rates.items()}
    subtype = audio.widest_subtype(form.subtype for form in rates.values())
    if any(form.sample_rate != audio.SAMPLE_RATE for form in rates.values()):
        subtype = "FLOAT"
    write = partial(_write, files["vocals"], files[other], other == "mixture", folder, min(lengths.values()))
    try:
        frames = write(subtype)
    except audio.ClippingError:
        frames = write("FLOAT")
    return {
        "stems": sorted(files),
        "frames": frames,
        "sample_rate": rates["vocals"].sample_rate,
        "vocal_stems": 1,
        "length_difference": lengths["vocals"] - lengths[other],
    }


def _write(vocals_file: Path, other_file: Path, is_mixture: bool, folder: Path, length: int, subtype: str) -> int:
    """Write mixture and vocals as long as the shorter of the two files, about `length`; returns the frames."""
    frames, room = 0, {"frames": length + audio.BLOCK}  # resampling may give a frame more than reckoned
    with (
        audio.Writer(folder / MIXTURE, audio.SAMPLE_RATE, subtype, **room) as mixture_wav,
        audio.Writer(folder / VOCALS, audio.SAMPLE_RATE, subtype, **room) as vocals_wav,
    ):
        for vocals, other in _together(vocals_file, other_file):
            mixture_wav.write(other if is_mixture else vocals + other)
            vocals_wav.write(vocals)
            frames += vocals.shape[1]
    return frames


def _together(first: Path, second: Path) -> Iterator[tuple[audio.Audio, audio.Audio]]:
    for one, two in zip(canonical_blocks(first), canonical_blocks(second), strict=False):
        frames = min(one.shape[1], two.shape[1])
        yield np.ascontiguousarray(one[:, :frames]), np.ascontiguousarray(two[:, :frames])


def _files(track: Path, name: str) -> list[Path]:
    return sorted(path for path in track.glob("*") if path.stem.lower() == name and path.suffix.lower() in SUFFIXES)


def _track(track: Path, root: Path, found: dict[str, list[Path]]) -> SourceTrack:
    """The track in one folder; what is wrong with it is kept for `extract`, so that it stops no other track."""
    name = track.name if track != root else root.name
    artist, dash, title = name.partition(" - ")
    labels: dict[str, str] = {}
    details: dict[str, str] = {}
    file = track / LABELS
    if file.is_file():
        labels, problem = _read_labels(file)
        if problem:
            details = {"problem": problem, "expected": _EXPECTED}
    kinds = ("mixture", "vocals") if found["mixture"] else ("vocals", "accompaniment")
    several = [path.name for kind in kinds for path in found[kind] if len(found[kind]) > 1]
    if several:
        details = {"problem": ", ".join(several), "expected": "one file of each kind"}
    return SourceTrack(
        dataset="own",
        slug=track_slug(track.relative_to(root).as_posix() if track != root else name),
        title=labels.get("title", title if dash else name),
        # Without a name for the artist every track is an artist of its own: nothing says which belong together.
        artist=labels.get("artist", artist),
        licence=labels.get("licence", _LICENCE),
        split=labels.get("split"),
        genre=labels.get("genre", ""),
        files=(*(found[kind][0] for kind in kinds), *([file] if file.is_file() else [])),
        details=details,
    )


def _read_labels(file: Path) -> tuple[dict[str, str], str | None]:
    """What `track.yaml` says, and what is wrong with it if anything is."""
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8")) or {}
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        return {}, " ".join(str(error).split())
    if not isinstance(content, dict) or set(content) - set(_KEYS) or content.get("split", "train") not in _SPLITS:
        return {}, str(content)[:200]
    return {key: str(value) for key, value in content.items()}, None
