"""Small datasets in the true formats, written to disk the way their publishers do."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import soundfile
import yaml

RATE = 44100


def tone(seconds: float, frequency: float = 220.0, level: float = 0.2, rate: int = RATE) -> np.ndarray:
    """A stereo tone (frames, 2) with a slow tremolo, its channels slightly apart."""
    time = np.arange(round(seconds * rate)) / rate
    swell = 0.6 + 0.4 * np.sin(2 * np.pi * 0.7 * time)
    left = level * swell * np.sin(2 * np.pi * frequency * time)
    right = level * swell * np.sin(2 * np.pi * frequency * time + 0.3)
    return np.stack([left, right], axis=1)


def write_hq_track(folder: Path, seconds: float = 2.0, seed: int = 0) -> Path:
    """A MUSDB18-HQ track folder with mixture.wav and vocals.wav (16 bit)."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    vocals = tone(seconds, 200 + 20 * seed)
    mixture = vocals + tone(seconds, 90 + 5 * seed) + 0.02 * rng.standard_normal(vocals.shape)
    soundfile.write(folder / "vocals.wav", vocals, RATE, subtype="PCM_16")
    soundfile.write(folder / "mixture.wav", mixture, RATE, subtype="PCM_16")
    return folder


def write_hq_dataset(root: Path, train: int = 6, test: int = 3, seconds: float = 2.0) -> Path:
    """A MUSDB18-HQ dataset: one artist a track."""
    for number in range(train + test):
        subset = "train" if number < train else "test"
        write_hq_track(root / subset / f"Artist {number} - Song {number}", seconds, number)
    return root


def write_stem_mp4(path: Path, seconds: float = 2.0, streams: int = 5) -> Path:
    """A file in MUSDB18's stem.mp4 format, encoded by stempeg with ffmpeg's AAC encoder."""
    import stempeg

    path.parent.mkdir(parents=True, exist_ok=True)
    sources = [tone(seconds, frequency, 0.15) for frequency in (70.0, 110.0, 330.0, 240.0)]
    stems = np.stack([np.sum(sources, axis=0), *sources])[:streams]
    names = ["mixture", "drums", "bass", "other", "vocals"][:streams]
    writer = stempeg.StreamsWriter(codec="aac", bitrate=256000, stem_names=names)
    stempeg.write_stems(str(path), stems, sample_rate=RATE, writer=writer)
    return path


def metadata_of(name: str, instruments: list[str], **changes: object) -> dict[str, object]:
    """Metadata of a MedleyDB track as the publisher writes it."""
    artist, _, title = name.partition("_")
    stems = {
        f"S{number:02d}": {
            "component": "",
            "filename": f"{name}_STEM_{number:02d}.wav",
            "instrument": instrument,
            "raw": {"R01": {"filename": f"{name}_RAW_{number:02d}_01.wav", "instrument": instrument}},
        }
        for number, instrument in enumerate(instruments, start=1)
    }
    content: dict[str, object] = {
        "album": "",
        "artist": artist,
        "composer": "",
        "excerpt": "no",
        "genre": "Rock",
        "has_bleed": "no",
        "instrumental": "no",
        "mix_filename": f"{name}_MIX.wav",
        "origin": "",
        "producer": "",
        "raw_dir": f"{name}_RAW",
        "stem_dir": f"{name}_STEMS",
        "stems": stems,
        "title": title,
        "version": 1.2,
        "website": "",
    }
    return content | changes


def write_medleydb_track(
    audio: Path, metadata: Path, name: str, instruments: list[str], seconds: float = 2.0, subtype: str = "PCM_24"
) -> list[np.ndarray]:
    """A MedleyDB track: MIX, STEMS, RAW and metadata. Returns its stems (frames, 2) as the files hold them."""
    folder = audio / name
    (folder / f"{name}_STEMS").mkdir(parents=True)
    (folder / f"{name}_RAW").mkdir()
    metadata.mkdir(parents=True, exist_ok=True)
    pitch = 120.0 + zlib.crc32(name.encode()) % 60  # songs of different names are different recordings
    stems = [tone(seconds, pitch * number, 0.15) for number in range(1, len(instruments) + 1)]
    for number, stem in enumerate(stems, start=1):
        soundfile.write(folder / f"{name}_STEMS" / f"{name}_STEM_{number:02d}.wav", stem, RATE, subtype=subtype)
        soundfile.write(folder / f"{name}_RAW" / f"{name}_RAW_{number:02d}_01.wav", stem * 3, RATE, subtype=subtype)
    soundfile.write(folder / f"{name}_MIX.wav", 0.8 * np.sum(stems, axis=0), RATE, subtype=subtype)
    (metadata / f"{name}_METADATA.yaml").write_text(yaml.safe_dump(metadata_of(name, instruments)))
    files = sorted((folder / f"{name}_STEMS").glob("*.wav"))
    return [soundfile.read(file)[0] for file in files]
