"""What is seen and heard of one track: the excerpt, its waveforms, spectrograms and compressed audio.

All clips of a track share one stretch of time, one amplitude scale, one colour scale and one playback gain, so that
what differs between them differs in the sound.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from data import audio
from data.audio import SAMPLE_RATE, Audio
from models.report.figures import COLUMNS, Picture, envelope, spectrogram_db, spectrogram_png

WHOLE_SECONDS = 30.0  # tracks up to this length are shown whole
EXCERPT_SECONDS = 20.0
HEADROOM = 0.98  # lossy coders overshoot a little
WAVE_WIDTH, WAVE_HEIGHT = COLUMNS, 100  # user units of the waveform's SVG


@dataclass(frozen=True)
class Stretch:
    """A stretch of a track in frames; `total` is the whole track."""

    start: int
    frames: int
    total: int

    @property
    def whole(self) -> bool:
        return self.frames == self.total

    @property
    def words(self) -> str:
        """Which part this is, for a person."""
        if self.whole:
            return f"the whole track, {clock(self.total)}"
        return f"{clock(self.start)} to {clock(self.start + self.frames)} of {clock(self.total)}"


@dataclass(frozen=True)
class Clip:
    """One sound of a track, ready for the page: `wave` an SVG path, `spectrogram` and `sound` data URIs."""

    wave: str
    spectrogram: str
    sound: str


def clock(frames: int, sample_rate: int = SAMPLE_RATE) -> str:
    """Minutes and seconds."""
    seconds = round(frames / sample_rate)
    return f"{seconds // 60}:{seconds % 60:02d}"


def choose_stretch(truth: Path, mixture: Path) -> Stretch:
    """The whole track if it is at most 30 s long, else the 20 s with most vocal energy (of the mixture, if none)."""
    info = audio.info(truth)
    length = round(EXCERPT_SECONDS * info.sample_rate)
    if info.seconds <= WHOLE_SECONDS:
        return Stretch(0, info.frames, info.frames)
    energy = _energy_a_second(truth, info.sample_rate)
    if not energy.any():
        energy = _energy_a_second(mixture, info.sample_rate)
    sums = np.convolve(energy, np.ones(round(EXCERPT_SECONDS)), mode="valid")
    return Stretch(int(np.argmax(sums)) * info.sample_rate, length, info.frames)


def make_clips(paths: Mapping[str, Path], stretch: Stretch, reference: str) -> dict[str, Clip]:
    """The clips of one track by name; scales are set by the clip called `reference` (the mixture).

    Raises InputError for a file that cannot be read or ends before the stretch does.
    """
    sounds = {name: audio.read(path, stretch.start, stretch.frames)[0] for name, path in paths.items()}
    peaks = {name: float(np.max(np.abs(sound), initial=0.0)) for name, sound in sounds.items()}
    gain = min(1.0, HEADROOM / max([1e-9, *peaks.values()]))
    scale = max(peaks[reference], 1e-3)
    spectrograms = {name: spectrogram_db(sound) for name, sound in sounds.items()}
    top = float(spectrograms[reference].max())
    # Encoding takes most of the time and holds no lock.
    with ThreadPoolExecutor() as pool:
        made = pool.map(lambda name: _clip(sounds[name], spectrograms[name], scale, top, gain), sounds)
        return dict(zip(sounds, made, strict=True))


def encode_mp3(sound: Audio, sample_rate: int = SAMPLE_RATE) -> bytes:
    """`sound (channels, frames)` as MP3, variable bit rate of about 120 kbit/s: what every browser plays."""
    file = io.BytesIO()
    soundfile.write(
        file,
        np.clip(sound, -1.0, 1.0).T,
        sample_rate,
        format="MP3",
        subtype="MPEG_LAYER_III",
        bitrate_mode="VARIABLE",
        compression_level=0.55,
    )
    return file.getvalue()


def data_uri(content: bytes, kind: str) -> str:
    """Bytes as a URI that a page can hold."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def _clip(sound: Audio, spectrogram: Picture, scale: float, top: float, gain: float) -> Clip:
    return Clip(
        wave=_wave_path(sound, scale),
        spectrogram=data_uri(spectrogram_png(spectrogram, top), "image/png"),
        sound=data_uri(encode_mp3(gain * sound), "audio/mpeg"),
    )


def _wave_path(sound: Audio, scale: float) -> str:
    """The outline of a waveform as an SVG path, 480 by 100 units, `scale` being full height."""
    low, high = (np.clip(edge / scale, -1.0, 1.0) for edge in envelope(sound, WAVE_WIDTH))
    middle = WAVE_HEIGHT / 2
    # At least a hair line, or silence would look like a missing picture.
    upper = np.round(middle - np.maximum(high * middle, 0.4), 1)
    lower = np.round(middle - np.minimum(low * middle, -0.4), 1)
    there = [f"{x} {y:g}" for x, y in enumerate(upper)]
    back = [f"{x} {y:g}" for x, y in reversed(list(enumerate(lower)))]
    return f"M{'L'.join(there + back)}Z"


def _energy_a_second(path: Path, sample_rate: int) -> Picture:
    sound, _ = audio.read(path)
    whole = sound[:, : sound.shape[1] // sample_rate * sample_rate].reshape(len(sound), -1, sample_rate)
    return np.einsum("csf,csf->s", whole, whole).astype(np.float64)
