"""The one reader and the one writer of audio files, and the one way to decode anything ffmpeg knows.

Shapes: `(channels, frames)` float32, nominal range -1..1. What a particular dataset does with the samples does not
belong here.
"""

from __future__ import annotations

import json
import logging
import shutil
import struct
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile

from data.errors import InputError
from data.files import publish

SAMPLE_RATE = 44100  # Hz, of everything after the `normalised` stage
CHANNELS = 2
BLOCK = SAMPLE_RATE  # frames that are in memory at a time where audio is streamed: one second

_SET_ADD_PEAK_CHUNK = 0x1050  # SFC_SET_ADD_PEAK_CHUNK of libsndfile's sndfile.h

_log = logging.getLogger(__name__)

Audio = npt.NDArray[np.float32]


@dataclass(frozen=True)
class AudioInfo:
    """What the header of an audio file says: frames, sample rate in Hz, channels, sample format."""

    frames: int
    sample_rate: int
    channels: int
    subtype: str

    @property
    def seconds(self) -> float:
        return self.frames / self.sample_rate


def info(path: Path | str) -> AudioInfo:
    """Read the header of an audio file libsndfile knows. Raises InputError if there is none to read."""
    with _opened(path) as sound:
        return AudioInfo(sound.frames, sound.samplerate, sound.channels, sound.subtype)


def read(path: Path | str, start: int = 0, frames: int = -1) -> tuple[Audio, int]:
    """Read `frames` frames from `start` on (-1: to the end) without decoding the rest.

    Returns `(audio (channels, frames) float32, sample_rate)`. Raises InputError for a missing file, a file that is
    not audio, one that ends before its header says, and for samples that are not finite.
    """
    with _opened(path) as sound:
        wanted = sound.frames - start if frames < 0 else frames
        sound.seek(start)
        return _next(sound, path, wanted), sound.samplerate


def blocks(path: Path | str, frames: int = BLOCK) -> Iterator[Audio]:
    """The whole file in pieces of `frames` frames, the last one possibly shorter: memory does not grow with it.

    Yields `(channels, frames)` float32. Raises InputError as `read` does.
    """
    with _opened(path) as sound:
        left = sound.frames
        while left:
            piece = _next(sound, path, min(frames, left))
            left -= piece.shape[1]
            yield piece


def _next(sound: soundfile.SoundFile, path: Path | str, wanted: int) -> Audio:
    start = sound.tell()
    try:
        samples = sound.read(wanted, dtype="float32", always_2d=True)
    except soundfile.LibsndfileError as error:
        raise InputError(
            "audio file",
            file=path,
            expected=f"{wanted} frames from frame {start} on",
            found=f"a file of {sound.frames} frames that cannot be decoded there ({error})",
            remedy="replace the file by an undamaged copy",
        ) from error
    if len(samples) != wanted:
        raise InputError(
            "audio file",
            file=path,
            expected=f"{wanted} frames from frame {start} on, as the header says",
            found=f"{len(samples)} frames: the file is cut short",
            remedy="replace the file by an undamaged copy",
        )
    # Integers are finite; the others have to be looked at.
    bad = 0 if sound.subtype.startswith("PCM") else np.count_nonzero(~np.isfinite(samples))
    if bad:
        raise InputError(
            "audio file",
            file=path,
            expected="finite samples",
            found=f"{bad} samples that are NaN or infinite",
            remedy="export the file again from its source",
        )
    return np.ascontiguousarray(samples.T)


def lossless_subtype(audio: Audio) -> str:
    """The smallest wav sample format that holds float32 `audio` without changing a sample or clipping one."""
    peak = float(np.max(np.abs(audio), initial=0.0))
    for subtype, scale in (("PCM_16", 2.0**15), ("PCM_24", 2.0**23)):
        scaled = audio.astype(np.float64) * scale
        if peak < 1.0 and np.array_equal(scaled, np.round(scaled)):
            return subtype
    return "FLOAT"


def write(path: Path | str, audio: Audio, sample_rate: int = SAMPLE_RATE, subtype: str | None = None) -> None:
    """Write `audio (channels, frames)` as wav, whole or not at all.

    `subtype` is libsndfile's name of the sample format; None picks the smallest lossless one. Raises `ClippingError`
    where an integer format would clip.
    """
    chosen = subtype or lossless_subtype(audio)
    with publish(Path(path)) as partial:
        with Writer(partial, sample_rate, chosen, audio.shape[0]) as wav:
            wav.write(audio)


class Writer:
    """A wav that grows block by block where it lies: inside a folder, or under a name, that is published later."""

    def __init__(self, path: Path | str, sample_rate: int, subtype: str, channels: int = CHANNELS) -> None:
        self._path, self._integers = path, subtype.startswith("PCM")
        self._sound = soundfile.SoundFile(path, "w", sample_rate, channels, subtype, format="WAV")
        leave_out_time(self._sound)

    def write(self, block: Audio) -> None:
        """Append `block (channels, frames)`. Raises `ClippingError` where an integer format would clip it."""
        if self._integers and (peak := float(np.max(np.abs(block), initial=0.0))) > 1.0:
            raise ClippingError(f"{self._path}: {self._sound.subtype} would clip a peak of {peak:.3f}; use FLOAT")
        self._sound.write(block.T)

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, *_: object) -> None:
        self._sound.close()


def leave_out_time(sound: soundfile.SoundFile) -> None:
    """Have a floating-point wav that was just opened for writing not tell the second in which it was written.

    libsndfile writes a PEAK chunk into such files, which holds the time of day: equal samples would not be equal bytes,
    and everything that goes by a checksum would be made again. soundfile has no public name for this command.
    """
    soundfile._snd.sf_command(sound._file, _SET_ADD_PEAK_CHUNK, soundfile._ffi.NULL, 0)


class ClippingError(ValueError):
    """An integer sample format cannot hold these samples; soundfile would clip them silently."""


def widest_subtype(subtypes: Iterable[str]) -> str:
    """The wav sample format that holds audio of all these formats, as far as float32 does."""
    kinds = set(subtypes)
    if kinds <= {"PCM_16", "PCM_S8", "PCM_U8"}:
        return "PCM_16"
    return "PCM_24" if kinds <= {"PCM_16", "PCM_S8", "PCM_U8", "PCM_24"} else "FLOAT"


def decode_to(source: Path | str, path: Path) -> int:
    """Decode the first audio stream of any file ffmpeg can read into the wav `path`; returns its frames.

    The wav is stereo (mono becomes dual mono), 44100 Hz, 32-bit float: nothing clips. Raises InputError for a missing
    file, one without audio, and where ffmpeg gives up. Damage that ffmpeg can step over is logged as a warning.
    """
    if not Path(source).is_file():
        raise _missing(source)
    # RF64: a plain wav header cannot count beyond 4 GB, which is 3.4 hours.
    form = f"-ac {CHANNELS} -ar {SAMPLE_RATE} -c:a pcm_f32le -f wav -rf64 auto".split()
    command = [require_program("ffmpeg"), "-v", "error", "-nostdin", "-i", str(source), "-map", "0:a:0", *form]
    with publish(path) as partial:
        done = subprocess.run([*command, str(partial)], capture_output=True, check=False)
        said = done.stderr.decode(errors="replace").strip()
        frames = info(partial).frames if done.returncode == 0 else 0
        if frames == 0:
            raise InputError(
                "audio file",
                file=source,
                expected="a file with an audio stream that ffmpeg can decode",
                found=said.splitlines()[-1] if said else "no audio",
                remedy="check that the file plays, or convert it to wav",
            )
    if said:
        _log.warning("%s: ffmpeg stepped over damage: %s", source, said)
    return frames


@dataclass(frozen=True)
class Stream:
    """An audio stream as its container describes it: frames it promises, sample rate in Hz, channels."""

    frames: int
    sample_rate: int
    channels: int


def audio_streams(path: Path) -> list[Stream] | None:
    """The audio streams of any file that ffprobe can read, pictures and video left out; None where it cannot."""
    entries = ["-show_entries", "stream=sample_rate,channels,duration"]
    command = [require_program("ffprobe"), "-v", "error", "-select_streams", "a", "-print_format", "json", *entries]
    done = subprocess.run([*command, str(path)], capture_output=True, check=False)
    if done.returncode != 0:
        return None
    streams = []
    for stream in json.loads(done.stdout)["streams"]:
        rate = int(stream["sample_rate"])
        streams.append(Stream(round(float(stream.get("duration", 0)) * rate), rate, int(stream["channels"])))
    return streams


def require_program(name: str) -> str:
    """The full path of a command-line program (`ffmpeg`, `ffprobe`). Raises InputError where it is not installed."""
    found = shutil.which(name)
    if found is None:
        raise InputError(
            f"the program {name}",
            expected=f"{name} on the PATH",
            found="no such program",
            remedy="install ffmpeg (Debian, Ubuntu: apt-get install ffmpeg; macOS: brew install ffmpeg)",
        )
    return found


def _opened(path: Path | str) -> soundfile.SoundFile:
    if not Path(path).is_file():
        raise _missing(path)
    _refuse_cut_wav(Path(path))
    try:
        return soundfile.SoundFile(path)
    except soundfile.LibsndfileError as error:
        raise InputError(
            "audio file",
            file=path,
            expected="an audio file (wav, flac, ogg, mp3)",
            found=f"{Path(path).stat().st_size} bytes that are not audio ({error.error_string})",
            remedy="replace the file by an undamaged copy",
        ) from error


def _refuse_cut_wav(path: Path) -> None:
    """Raise InputError for a wav that is shorter than its header says: libsndfile reads it without a word."""
    size = path.stat().st_size
    with open(path, "rb") as file:
        kind, _, form = struct.unpack("<4sI4s", file.read(12).ljust(12, b"\0"))
        if kind != b"RIFF" or form != b"WAVE":
            return
        while len(head := file.read(8)) == 8:
            name, length = struct.unpack("<4sI", head)
            if name != b"data":
                file.seek(length + length % 2, 1)
                continue
            # Programs that write to a pipe cannot know the length and put all ones there.
            if length != 0xFFFFFFFF and file.tell() + length > size:
                raise InputError(
                    "audio file",
                    file=path,
                    expected=f"{length} bytes of samples, as the header says",
                    found=f"{size - file.tell()} bytes: the file is cut short",
                    remedy="replace the file by an undamaged copy",
                )
            return


def _missing(path: Path | str) -> InputError:
    return InputError(
        "audio file",
        file=path,
        expected="an audio file",
        found="no such file" if not Path(path).exists() else "a folder",
        remedy="check the path, or restore the file",
    )
