"""A user's own stems: one folder a track, with a mixture and vocals, or vocals and an accompaniment.

Names of artist and title come from the folder's name, `Artist - Title`, or from a `track.yaml` in it. What is wrong
with one track is kept until it is extracted, so that it stops no other.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd

from data import audio
from data.cache import RECORD
from data.datasets.base import Dataset, Extracted, Log, folder_or_archive
from data.errors import InputError
from data.names import in_letters
from data.normalise import canonical_blocks
from data.settings import Settings
from data.tracks import APART, MIXTURE, VOCALS, Found, Track, found
from data.walk import OURS, Folder, Walk, told
from data.yaml_files import read_yaml

_LOSSLESS = (".wav", ".wave", ".w64", ".rf64", ".flac", ".aiff", ".aif", ".aifc", ".caf", ".au", ".wv", ".ape", ".tta")
_OTHERS = (".mp3", ".mp2", ".ogg", ".oga", ".opus", ".m4a", ".mp4", ".aac", ".wma", ".mka", ".webm")
SUFFIXES = _LOSSLESS + _OTHERS
# What a file is, by its name without the suffix, in small letters.
ROLES = {
    "mixture": "mixture",
    "mix": "mixture",
    "vocals": "vocals",
    "vocal": "vocals",
    "accompaniment": "accompaniment",
    "instrumental": "accompaniment",
    "instrumentals": "accompaniment",
}
LABELS = "track.yaml"
_LICENCE = "unknown (own stems)"
_KEYS = ("artist", "title", "genre", "licence", "split")
_SPLITS = ("train", "validation", "test")
_LONGEST = 1000  # characters of a label
_EXPECTED = f"a {LABELS} with any of {', '.join(_KEYS)}; split is one of {', '.join(_SPLITS)}"


class Own(Dataset):
    """Folders `<track>/mixture + vocals` or `<track>/vocals + accompaniment`, each file of a kind that is decoded."""

    name = "own"
    title = "Own stems"
    description = "Own stems: a folder a track, with mixture and vocals, or vocals and accompaniment"
    code_version = "2"

    def version_for(self, files: Iterable[str]) -> str:
        # Since version 2 lengths come from decoding; these were decoded to their end before, too.
        sounds = [Path(name).suffix.lower() for name in files if not name.lower().endswith((".yaml", ".yml"))]
        return "1" if all(suffix in (".wav", ".flac") for suffix in sounds) else self.code_version

    def obtain(self, settings: Settings, log: Log) -> Path:
        return folder_or_archive(settings, self.name, settings.own, log)

    def discover(self, folder: Path) -> Found:
        walk, tracks = Walk(folder), []
        for place in walk:
            files = _files(place)
            if any(files.values()) and any(path.name == RECORD for path in place.files):
                walk.pass_over(place.path, OURS)
            elif files["vocals"] and (files["mixture"] or files["accompaniment"]):
                tracks.append(_track(place, folder, files))
            elif lack := _lack(place, files):
                walk.pass_over(place.path, lack)
        if not tracks:
            passed = told(walk.passed_over, folder)
            raise InputError(
                "own stems",
                file=folder,
                expected="folders with mixture and vocals, or vocals and accompaniment "
                f"(each {', '.join(suffix[1:] for suffix in SUFFIXES)})",
                found=f"no such folder; passed over: {passed}" if passed else "no such folder",
                remedy="arrange the stems like this, or set ISOLATION_OWN to 'off'",
            )
        return found(tracks, walk.passed_over)

    def extract(self, track: Track, labels: pd.DataFrame, folder: Path) -> Extracted:
        if problem := track.details.get("problem"):
            raise InputError(
                "own stems",
                file=track.files[0].parent,
                expected=track.details["expected"],
                found=problem,
                remedy="keep one file of each kind, and mend track.yaml",
            )
        files = {role: path for path in track.files if (role := _role(path)) is not None}
        with TemporaryDirectory(dir=folder) as room:
            return _extract({name: audio.as_wav(path, room) for name, path in files.items()}, folder)


def _extract(files: dict[str, Path], folder: Path) -> Extracted:
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
    return Extracted(
        stems=sorted(files),
        frames=frames,
        sample_rate=min(form.sample_rate for form in rates.values()),
        vocal_stems=1,
        length_difference=lengths["vocals"] - lengths[other],
    )


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


def _role(path: Path) -> str | None:
    """What a file is in its track, None for a file of another name or kind."""
    return ROLES.get(path.stem.lower()) if path.suffix.lower() in SUFFIXES else None


def _files(folder: Folder) -> dict[str, list[Path]]:
    """The files of each role in a folder."""
    files: dict[str, list[Path]] = {role: [] for role in ROLES.values()}
    for path in folder.files:
        if (role := _role(path)) is not None:
            files[role].append(path)
    return files


def _lack(folder: Folder, files: dict[str, list[Path]]) -> str | None:
    """What a folder lacks to be a track; None where it does not look like one."""
    odd = [f"{name} is {kind}" for name, kind in folder.odd.items() if _role(Path(name)) is not None]
    sound = [path for path in folder.files if path.suffix.lower() in SUFFIXES]
    if odd:
        return ", ".join(odd)
    if not sound:
        return None
    if files["vocals"]:
        return "vocals, but neither mixture nor accompaniment"
    # Voices that were exported one by one: nothing says yet that they belong together.
    alike = [path.name for path in sound if re.search(r"vocal|vox|voice", path.stem, re.IGNORECASE)]
    if alike:
        return f"no file called vocals, but {', '.join(alike[:3])}"
    return "no vocals" if files["mixture"] or files["accompaniment"] else "audio, but none called vocals"


def _track(folder: Folder, root: Path, files: dict[str, list[Path]]) -> Track:
    """The track in one folder; what is wrong with it is kept for `extract`."""
    called = root.name if folder.path == root else folder.path.name
    artist, dash, title = called.partition(" - ")
    labels: dict[str, str] = {}
    details: dict[str, str] = {}
    named = sorted({p.name for p in folder.files} | set(folder.odd), key=os.fsencode)
    notes = [folder.path / name for name in named if name.lower() in (LABELS, "track.yml")]
    if len(notes) == 1:
        labels, problem = _read_labels(notes[0])
        if problem:
            details = {"problem": problem, "expected": _EXPECTED}
    elif notes:
        details = {"problem": ", ".join(path.name for path in notes), "expected": f"one {LABELS}"}
    kinds = ("mixture", "vocals") if files["mixture"] else ("vocals", "accompaniment")
    several = [path.name for kind in kinds for path in files[kind] if len(files[kind]) > 1]
    if several:
        details = {"problem": in_letters(", ".join(several)), "expected": "one file of each kind"}
    # In the root itself, no name may be the one that a folder in it has.
    name = f"{root.name}{APART}" if folder.path == root else folder.path.relative_to(root).as_posix()
    return Track(
        dataset="own",
        name=name,
        title=labels.get("title", title if dash else called),
        # Without a name for the artist every track is an artist of its own: nothing says which belong together.
        artist=labels.get("artist", artist),
        licence=labels.get("licence", _LICENCE),
        split=labels.get("split"),
        genre=labels.get("genre", ""),
        files=(*(files[kind][0] for kind in kinds), *(path for path in notes if path in folder.files)),
        details=details,
    )


def _read_labels(file: Path) -> tuple[dict[str, str], str | None]:
    """What `track.yaml` says, and what is wrong with it if anything is."""
    try:
        content = read_yaml(file, "labels", expected=_EXPECTED, remedy="mend it", words=True)
    except InputError as error:
        return {}, error.found
    if content is None:
        return {}, None
    if not isinstance(content, dict):
        return {}, f"{content!r:.200}"
    said = {key: value for key, value in content.items() if value is not None}
    wrong = [
        f"{key}: {value!r:.200}"
        for key, value in said.items()
        if key not in _KEYS or not isinstance(value, str) or len(value) > _LONGEST
    ]
    if said.get("split", "train") not in _SPLITS:
        wrong.append(f"split: {said['split']!r:.200}")
    return ({}, "; ".join(wrong[:3])) if wrong else (said, None)
