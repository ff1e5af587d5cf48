"""Datasets of full length and full number in the true formats, generated; what is heard does not matter here."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import soundfile
import yaml

from data.audio import require_program
from data.loopback import PAIRS
from data.tables import write_table

RATE = 44100
_STEMS = ("mixture", "drums", "bass", "other", "vocals")


def music(length_s: float, seed: int, level: float = 0.1) -> np.ndarray:
    """Something of the density of music, (frames, 2): swelling tones in noise."""
    rng = np.random.default_rng(seed)
    time = np.arange(round(length_s * RATE), dtype=np.float32) / RATE
    total = np.zeros((len(time), 2), np.float32)
    for frequency in rng.uniform(60, 4000, 6):
        swell = 0.5 + 0.5 * np.sin(2 * np.pi * rng.uniform(0.1, 2) * time)
        total += (swell * np.sin(2 * np.pi * frequency * time))[:, None] * rng.uniform(0.5, 1, 2).astype(np.float32)
    total += 0.3 * rng.standard_normal(total.shape, dtype=np.float32)
    return level * total / np.abs(total).max()


def stem_mp4_tracks(root: Path, count: int, length_s: float | Sequence[float], different: int = 4) -> Path:
    """`count` stem.mp4 files in MUSDB18's layout; `different` are encoded, the others are copies of their bytes.

    Where there are several lengths, each of those that are encoded has its own.
    """
    lengths = [length_s] * different if isinstance(length_s, int | float) else length_s
    different = len(lengths)
    subset = root / "train"
    subset.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        path = subset / f"Artist {number} - Song {number}.stem.mp4"
        if path.exists():
            continue
        if number >= different:
            os.link(subset / f"Artist {number % different} - Song {number % different}.stem.mp4", path)
            continue
        _write_stem_mp4(path, lengths[number], number)
    return root


def wav_tracks(root: Path, source: Path) -> Path:
    """The stem.mp4 files below `source/train` as folders of wav files, which MUSDB18's tools read as well."""
    for path in sorted((source / "train").iterdir()):
        folder = root / "train" / path.name.removesuffix(".stem.mp4")
        if folder.exists():
            continue
        partial = root / "partial"
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        command = [require_program("ffmpeg"), "-v", "error", "-nostdin", "-i", str(path)]
        for stream, name in enumerate(_STEMS):
            command += ["-map", f"0:a:{stream}", "-c:a", "pcm_s16le", str(partial / f"{name}.wav")]
        subprocess.run(command, check=True)
        folder.parent.mkdir(exist_ok=True)
        partial.rename(folder)
    return root


def training_corpus(root: Path, count: int, length_s: float) -> Path:
    """Normalised audio of `count` different training tracks and a short validation track; returns its pairs' table.

    Ten seconds of music turned about at random places, so that 100 tracks of 240 s (8.5 GB) take as long as writing.
    """
    pairs = root / PAIRS.file
    if pairs.exists():
        return pairs
    vocals, rest = ((32767 * music(10.0, seed, level=0.4)).astype(np.int16) for seed in (1, 2))
    folders = []
    for number in range(count + 1):
        random = np.random.default_rng(number)
        folder = root / f"track-{number}"
        folder.mkdir(parents=True, exist_ok=True)
        folders.append(folder)
        length = min(length_s, 6.0) if number == count else length_s
        with (
            soundfile.SoundFile(folder / "mixture.wav", "w", RATE, 2, "PCM_16") as heard,
            soundfile.SoundFile(folder / "vocals.wav", "w", RATE, 2, "PCM_16") as sung,
        ):
            left = round(length * RATE)
            while left:
                turns = random.integers(len(vocals), size=2)
                voice, accompaniment = (
                    np.roll(part, turn, axis=0)[:left] for part, turn in zip((vocals, rest), turns, strict=True)
                )
                heard.write(voice + accompaniment)
                sung.write(voice)
                left -= len(voice)
    return write_pairs(pairs, folders)


def write_pairs(path: Path, folders: Sequence[Path]) -> Path:
    """The table of training pairs of normalised tracks below its folder, the last of them for validation."""
    rows = [
        {
            "track_id": f"benchmark/{folder.name}",
            "split": "validation" if folder == folders[-1] else "train",
            "kind": "original",
            "input": "mixture",
            "target": "vocals",
            "mixture_path": str((folder / "mixture.wav").relative_to(path.parent)),
            "vocals_path": str((folder / "vocals.wav").relative_to(path.parent)),
            "mixture_sha256": "-",
            "vocals_sha256": "-",
            "frames": soundfile.info(folder / "mixture.wav").frames,
        }
        for folder in folders
    ]
    write_table(path, pd.DataFrame(rows), PAIRS)
    return path


def forget(root: Path) -> None:
    """Have the operating system drop what it keeps in memory of the files below `root`, where it can be asked to."""
    if not hasattr(os, "posix_fadvise"):
        return
    for path in root.rglob("*.wav"):
        with open(path, "rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def medleydb_tracks(root: Path, count: int, length_s: float, stems: int, subtype: str = "PCM_24") -> Path:
    """`count` tracks in MedleyDB's layout below `root/audio` and `root/metadata`; every third stem is a voice."""
    metadata = root / "metadata"
    metadata.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        name = f"Artist{number}_Song{number}"
        folder = root / "audio" / name / f"{name}_STEMS"
        labels = [("male singer", "piano", "drum set")[part % 3] for part in range(stems)]
        if not (metadata / f"{name}_METADATA.yaml").exists():
            shutil.rmtree(folder.parent, ignore_errors=True)
            folder.mkdir(parents=True)
            total = np.zeros((round(length_s * RATE), 2), np.float32)
            for part in range(1, stems + 1):
                sound = music(length_s, 100 * number + part)
                total += sound
                soundfile.write(folder / f"{name}_STEM_{part:02d}.wav", sound, RATE, subtype=subtype)
            soundfile.write(folder.parent / f"{name}_MIX.wav", 0.7 * total / np.abs(total).max(), RATE, subtype=subtype)
            (metadata / f"{name}_METADATA.yaml").write_text(yaml.safe_dump(_labels(name, labels)))
    return root


def _labels(name: str, instruments: list[str]) -> dict[str, object]:
    artist, _, title = name.partition("_")
    return {
        "artist": artist,
        "title": title,
        "genre": "Rock",
        "has_bleed": "no",
        "instrumental": "no",
        "stems": {
            f"S{part:02d}": {"filename": f"{name}_STEM_{part:02d}.wav", "instrument": instrument}
            for part, instrument in enumerate(instruments, start=1)
        },
    }


def many_tracks(root: Path, count: int, length_s: float = 0.5) -> Path:
    """`count` short tracks, 150 of 346 in MUSDB18-HQ's layout and the rest in MedleyDB's with two stems."""
    musdb18 = round(count * 150 / 346)
    for number in range(musdb18):
        subset = "train" if number % 3 else "test"
        folder = root / "musdb18" / subset / f"Band {number} - Song {number}"
        if not (folder / "mixture.wav").exists():
            folder.mkdir(parents=True, exist_ok=True)
            vocals, rest = music(length_s, 2 * number), music(length_s, 2 * number + 1)
            soundfile.write(folder / "vocals.wav", vocals, RATE, subtype="PCM_16")
            soundfile.write(folder / "mixture.wav", vocals + rest, RATE, subtype="PCM_16")
    medleydb_tracks(root / "medleydb", count - musdb18, length_s, stems=2, subtype="PCM_16")
    return root


def full_count(root: Path, metadata: Path, length_s: float = 1.0) -> Path:
    """MUSDB18 and MedleyDB at their real number of tracks, 150 and one for each real metadata file, all of them short.

    46 of the stem.mp4 files have the names of MedleyDB's tracks that MUSDB18 holds, 14 those of its validation tracks.
    """
    from data.datasets.musdb18 import _setup
    from data.duplicates import _REGISTRY
    from data.medleydb_metadata import SUFFIX, read_file

    shared = [name.replace("_", " - ") for row in yaml.safe_load(_REGISTRY.read_text()) for name in row["tracks"]]
    train = [*shared, *_setup()["validation_tracks"]]
    train += [f"Band {number} - Song {number}" for number in range(100 - len(train))]
    names = {"train": train, "test": [f"Group {number} - Song {number}" for number in range(50)]}
    for subset, songs in names.items():
        for number, song in enumerate(songs):
            path = root / "musdb18" / subset / f"{song}.stem.mp4"
            if not path.exists():
                path.parent.mkdir(parents=True, exist_ok=True)
                _write_stem_mp4(path, length_s, seed=number + 1000 * (subset == "test"))
    for number, file in enumerate(sorted(metadata.rglob(f"*{SUFFIX}"))):
        rows = read_file(file)
        folder = root / "medleydb" / rows[0]["id"]
        mix = folder / f"{folder.name}_MIX.wav"
        if mix.exists():
            continue
        stems = folder / f"{folder.name}_STEMS"
        stems.mkdir(parents=True, exist_ok=True)
        total = np.zeros((round(length_s * RATE), 2), np.float32)
        for part, row in enumerate(row for row in rows if row["stem"]):
            sound = music(length_s, 10_000 + 50 * number + part, level=0.05)
            total += sound
            soundfile.write(stems / row["stem_file"], sound, RATE, subtype="PCM_16")
        soundfile.write(mix, np.clip(total, -1, 1), RATE, subtype="PCM_16")
    return root


def _write_stem_mp4(path: Path, length_s: float, seed: int) -> None:
    import stempeg

    sources = [music(length_s, 10 * seed + part) for part in range(4)]
    writer = stempeg.StreamsWriter(codec="aac", bitrate=256000, stem_names=list(_STEMS))
    stempeg.write_stems(str(path), np.stack([np.sum(sources, axis=0), *sources]), sample_rate=RATE, writer=writer)
