"""The one reader and the one writer of audio files, and the one way to decode anything ffmpeg knows.

Shapes: `(channels, frames)` float32, nominal range -1..1. `info`, `read` and `blocks` are for files whose header tells
the truth about their length, as those do that are written here; `as_wav` makes such a file of any that somebody gave.
What a particular dataset does with the samples does not belong here.
"""

from __future__ import annotations

import logging
import os
import shutil
import struct
import uuid
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import numpy.typing as npt
import soundfile

from data import ffmpeg
from data.errors import InputError, os_error
from data.ffmpeg import Stream as Stream
from data.ffmpeg import audio_streams as audio_streams
from data.ffmpeg import require_program as require_program
from data.files import PARTIAL, publish
from data.text import plain
from data.transfer import amount
from data.wav import LARGEST, WavHeader, is_placeholder, true_length, wav_header

SAMPLE_RATE = 44100  # Hz, of everything after the `normalised` stage
CHANNELS = 2
BLOCK = SAMPLE_RATE  # frames that are in memory at a time where audio is streamed: one second
RATES = (4000, 768_000)  # Hz, lowest and highest of what is taken for music

_PADDING = 4096  # frames by which a lossy format may miss its length: encoder delay and the filling of packets
_WHOLE_PACKETS = ("alac",)  # lossless, but in a caf the length is that of whole packets
_LEAST_FRAME = 4  # bytes, of the narrowest that is decoded to: 16 bit, stereo
_NO_LENGTH = 2**62  # libsndfile's word for a flac that does not tell its length
_WIDTHS = {"PCM_U8": 1, "PCM_16": 2, "PCM_24": 3, "PCM_32": 4, "FLOAT": 4, "DOUBLE": 8}  # bytes a sample
_OGG_PAGE = 2**16 + 512  # bytes of the largest page there can be, and more
_CAF_CHUNKS = 1000  # more than any program writes
_FLAC = b"fLaC\0\0\0\x22"  # how a flac begins: its mark, and a first block of 34 bytes
_FLAC_BLOCK = 2**20  # bytes
_HEADER = 1024  # bytes in which the header that libsndfile writes has room
_CODECS = {"PCM_16": "pcm_s16le", "PCM_24": "pcm_s24le", "FLOAT": "pcm_f32le"}  # ffmpeg's names
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
        if not 0 <= start <= sound.frames:
            raise _ends_early(path, start, wanted, 0)
        try:
            sound.seek(start)
        except soundfile.LibsndfileError as error:
            raise _undecodable(sound, path, start, wanted, error) from error
        return _next(sound, path, wanted), sound.samplerate


def blocks(path: Path | str, frames: int = BLOCK) -> Iterator[Audio]:
    """The whole file in pieces of `frames` frames, the last one possibly shorter: memory does not grow with it.

    Yields `(channels, frames)` float32. Raises InputError as `read` does.
    """
    with _opened(path) as sound:
        yield from _pieces(sound, path, frames)


def _pieces(sound: soundfile.SoundFile, path: Path | str, frames: int) -> Iterator[Audio]:
    left = sound.frames
    while left:
        piece = _next(sound, path, min(frames, left))
        left -= piece.shape[1]
        yield piece


def _next(sound: soundfile.SoundFile, path: Path | str, wanted: int) -> Audio:
    start = sound.tell()
    try:
        samples = sound.read(wanted, dtype="float32", always_2d=True)
    except (soundfile.LibsndfileError, MemoryError) as error:
        raise _undecodable(sound, path, start, wanted, error) from error
    if len(samples) != wanted:
        raise _ends_early(path, start, wanted, len(samples))
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


def _undecodable(sound: soundfile.SoundFile, path: Path | str, start: int, wanted: int, error: Exception) -> InputError:
    return InputError(
        "audio file",
        file=path,
        expected=f"{wanted} frames from frame {start} on",
        found=f"a file of {sound.frames} frames that cannot be decoded there ({error})",
        remedy="replace the file by an undamaged copy",
    )


def _ends_early(path: Path | str, start: int, wanted: int, found: int) -> InputError:
    return InputError(
        "audio file",
        file=path,
        expected=f"{wanted} frames from frame {start} on, as the header says",
        found=f"{found} frames: the file is cut short",
        remedy="replace the file by an undamaged copy",
    )


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
        with Writer(partial, sample_rate, chosen, audio.shape[0], frames=audio.shape[1]) as wav:
            wav.write(audio)


class Writer:
    """A wav that grows block by block where it lies: inside a folder, or under a name, that is published later.

    `frames` is how many will come, at most. Where a plain wav cannot count so many bytes (4 GB) the file is an RF64.
    """

    def __init__(
        self, path: Path | str, sample_rate: int, subtype: str, channels: int = CHANNELS, *, frames: int
    ) -> None:
        self._path, self._subtype, self._left = path, subtype, frames
        form = "WAV" if frames * channels * _WIDTHS[subtype] <= LARGEST else "RF64"
        # By descriptor: libsndfile takes a name for what it is not ("-"), and soundfile only names in UTF-8.
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o666)
        try:
            self._sound = soundfile.SoundFile(descriptor, "w", sample_rate, channels, subtype, format=form)
        except soundfile.LibsndfileError as error:
            raise self._refused(error) from error
        _leave_out_time(self._sound)

    def write(self, block: Audio) -> None:
        """Append `block (channels, frames)`. Raises `ClippingError` where an integer format would clip it."""
        self._left -= block.shape[1]
        if self._left < 0:
            raise ValueError(f"{self._path}: {-self._left} frames more than were announced")
        if self._subtype.startswith("PCM") and (peak := float(np.max(np.abs(block), initial=0.0))) > 1.0:
            raise ClippingError(f"{self._path}: {self._subtype} would clip a peak of {peak:.3f}; use FLOAT")
        try:
            self._sound.write(block.T)
        except (soundfile.LibsndfileError, AssertionError) as error:  # soundfile asserts that all was written
            raise self._refused(error) from error

    def _refused(self, error: Exception) -> InputError:
        parents = Path(self._path).absolute().parents
        folder = next(folder for folder in parents if not folder.name.startswith(PARTIAL))
        said = getattr(error, "error_string", "").rstrip(".") or "it takes no more"
        return InputError(
            "space on the disk",
            file=folder,
            expected="a folder that audio can be written to",
            found=f"{amount(shutil.disk_usage(folder).free)} free, and a file that could not be written on ({said})",
            remedy="free space, or choose a place on a larger disk; then try again",
        )

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, *_: object) -> None:
        self._sound.close()
        if self._sound.format == "RF64":
            _forget_time(self._path)


def _forget_time(path: Path | str) -> None:
    """Set the time in the PEAK chunk of a finished file to zero: in an RF64 libsndfile always writes that chunk."""
    with open(path, "r+b") as file:
        at = file.read(_HEADER).partition(b"data")[0].find(b"PEAK")
        if at >= 0:
            file.seek(at + 12)  # behind name, size and version
            file.write(bytes(4))


def _leave_out_time(sound: soundfile.SoundFile) -> None:
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


def as_wav(source: Path, scratch: Path | str) -> Path:
    """A wav of one or two channels whose header tells its length: `source` itself, or a copy in folder `scratch`.

    Lengths come from decoding: of compressed files a header tells an estimate, or nothing, or what was true before the
    file was cut or joined to another. The copy has the rate and channels of the source and loses nothing: it is 16 or
    24 bit where the source is lossless and no wider, else 32-bit float.

    Raises InputError, about the source, where there is no audio, no frame, more than two channels, a rate outside
    `RATES`; where it ends before its header says, or is damaged in a way that can be noticed; and for samples that are
    not finite.
    """
    header = _header(source)
    if header is not None and header.contradiction:
        raise _contradictory(source, header)
    if header is not None and header.plain and true_length(source, header) == header.claimed:
        wav = source
    else:
        wav = Path(scratch) / f"{uuid.uuid4().hex}.wav"
        _copy(source, header, wav)
    form = info(wav)
    _refuse_form(source, form.channels, form.sample_rate)
    if form.frames == 0:
        raise _without_audio(source, "no sample")
    return wav


def _copy(source: Path, header: WavHeader | None, wav: Path) -> None:
    """Decode what `as_wav` cannot use as it is."""
    length = None if header is None else true_length(source, header)
    streams = ffmpeg.audio_streams(source)
    if streams is None and _copied_by_libsndfile(source, wav):
        return
    stream = _first(source, streams)
    _refuse_form(source, stream.channels, stream.sample_rate)
    subtype = "FLOAT" if not 0 < stream.bits <= 24 else "PCM_16" if stream.bits <= 16 else "PCM_24"
    # Checksums of frames are looked at in lossless files alone: encoders of the others get them wrong.
    checked = ["-err_detect", "crccheck"] if stream.bits else []
    said = _decode(source, wav, stream, ["-c:a", _CODECS[subtype]], header, length, checked)
    found = _whole(source, wav)
    promised = _promised(stream, header, length)
    exact = stream.bits and stream.codec not in _WHOLE_PACKETS
    if found.frames < promised - (0 if exact else _PADDING):
        raise _cut_short(source, promised, found.frames)
    if (missing := _missing_of_caf(source)) > 0:
        raise InputError(
            "audio file",
            file=source,
            expected=f"{missing} bytes of samples more, as the header says",
            found=f"{found.frames} frames: the file is cut short",
            remedy="replace the file by an undamaged copy",
        )
    if stream.codec == "flac" and found.frames > promised > 0 and _is_joined_flac(source):
        raise InputError(
            "audio file",
            file=source,
            expected="one flac",
            found="several, one behind the other: at the seams samples would be lost",
            remedy="decode each and join what comes out, or export the file again from its source",
        )
    heard = [line for line in said.splitlines() if f"[{stream.codec} @" in line or "while decoding" in line]
    if heard and stream.bits:  # what else it says is of pictures and tags
        raise InputError(
            "audio file",
            file=source,
            expected="lossless audio without damage",
            found=f"damage that ffmpeg stepped over ({ffmpeg.reason(heard[-1], source)})",
            remedy="replace the file by an undamaged copy",
        )
    if _is_unfinished_ogg(source):
        _log.warning("%s does not say where it ends: it may be cut short", plain(source))
    _tell_of_damage(source, said)


def _is_unfinished_ogg(path: Path) -> bool:
    """Whether the last page of an Ogg file is not marked as the last: nothing else tells that it was cut."""
    with open(path, "rb") as file:
        if file.read(4) != b"OggS":
            return False
        file.seek(-min(_OGG_PAGE, path.stat().st_size), os.SEEK_END)
        tail = file.read()
    return not tail[tail.rfind(b"OggS") :][5:6] or not tail[tail.rfind(b"OggS") + 5] & 4


def _missing_of_caf(path: Path) -> int:
    """How many bytes of its samples a CAF file lacks: ffmpeg goes by what is there. 0 of any other file."""
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        if file.read(8)[:4] != b"caff":
            return 0
        for _ in range(_CAF_CHUNKS):
            head = file.read(12)
            if len(head) < 12:
                break
            (length,) = struct.unpack(">q", head[4:])
            if head[:4] == b"data":
                return max(0, file.tell() + length - size)  # -1 of a file that was written to a pipe: to its end
            if not 0 <= length < size:
                break
            file.seek(length, os.SEEK_CUR)
    return 0


def _is_joined_flac(path: Path) -> bool:
    """Whether another flac begins within a flac. ffmpeg leaves out what lies before the seam, without a word."""
    with open(path, "rb") as file:
        before = file.read(len(_FLAC))[1:]
        while block := file.read(_FLAC_BLOCK):
            if _FLAC in before + block:
                return True
            before = block[-len(_FLAC) + 1 :]
    return False


def _contradictory(source: Path, header: WavHeader) -> InputError:
    return InputError(
        "audio file",
        file=source,
        expected="a header that agrees with itself",
        found=f"{header.channels} channel(s) of {header.bits} bits in frames of {header.block} bytes",
        remedy="export the file again from its source",
    )


def _copied_by_libsndfile(source: Path, wav: Path) -> bool:
    """Copy what libsndfile can read and ffmpeg cannot (aiff and w64 from a pipe); whether that was so."""
    try:
        with _opened(source) as sound:
            subtype = widest_subtype([sound.subtype])
            with Writer(wav, sound.samplerate, subtype, sound.channels, frames=sound.frames) as copy:
                for piece in _pieces(sound, source, BLOCK):
                    copy.write(piece)
    except _NotAudio:
        return False
    return True


def decode_to(source: Path | str, path: Path) -> int:
    """Decode the first audio stream of any file ffmpeg can read into the wav `path`; returns its frames.

    The wav is stereo (mono becomes dual mono), 44100 Hz, 32-bit float: nothing clips. Raises InputError, about the
    source, for a missing file, one without audio or with samples that are not finite, where ffmpeg gives up, and where
    the disk has no room for it. Damage that ffmpeg can step over, and an end before the one that the file promises, are
    logged as warnings.
    """
    source = Path(source)
    header, length = _header(source), None
    if header is not None:
        try:
            length = true_length(source, header)
        except InputError as error:
            _log.warning("%s", error)
    if length == 0:
        raise _without_audio(source, "no sample")
    streams = ffmpeg.audio_streams(source)
    if streams is None:
        with TemporaryDirectory(dir=path.parent) as room:
            if _copied_by_libsndfile(source, copy := Path(room) / "copy.wav"):
                return decode_to(copy, path)
    stream = _first(source, streams)
    _refuse_rate(source, stream.sample_rate)
    with publish(path) as partial:
        form = f"-ac {CHANNELS} -ar {SAMPLE_RATE} -c:a pcm_f32le".split()
        said = _decode(source, partial, stream, form, header, length)
        frames = _whole(source, partial).frames
        if frames == 0:
            raise _without_audio(source, "no sample")
    promised = round(_promised(stream, header, length) * SAMPLE_RATE / stream.sample_rate)
    if frames < promised - _PADDING:
        _log.warning("%s", _cut_short(source, promised, frames))
    _tell_of_damage(source, said)
    return frames


def _decode(
    source: Path,
    target: Path,
    stream: Stream,
    form: list[str],
    header: WavHeader | None,
    length: int | None,
    reading: Sequence[str] = (),
) -> str:
    """Have ffmpeg decode the first audio stream in a form; returns what it said of damage.

    The length of a wav is given, where its header does not tell it. Raises InputError where the disk has no room: a
    small file can hold days of silence.
    """
    free = shutil.disk_usage(target.parent).free
    if stream.bits and (needed := stream.frames * _LEAST_FRAME) > free:
        raise _no_room(source, needed, free)
    if header is not None and length is not None and length != header.claimed:
        reading = [*reading, "-f", "wav", "-ignore_length", "1"]
        if header.plain:
            form = ["-af", f"atrim=end_sample={length // header.block}", *form]
    # RF64: a plain wav header cannot count beyond 4 GB, which is 3.4 hours.
    form = ["-map", "0:a:0", *form, "-rf64", "auto"]
    said = ffmpeg.decode(source, [(form, target)], reading, limit=free // 2)
    if target.stat().st_size >= free // 2:
        raise _no_room(source, free, free)
    return said


def _promised(stream: Stream, header: WavHeader | None, length: int | None) -> int:
    """The frames that a file has by what it says of itself; 0 where it says nothing that can be relied on."""
    if header is not None and length != header.claimed:
        return length // header.block if length is not None and header.plain else 0
    sizes = [stream.frames, *([stream.frames * stream.channels * stream.bits // 8] if stream.bits else [])]
    return 0 if any(map(is_placeholder, sizes)) else stream.frames


def _first(source: Path, streams: list[Stream] | None) -> Stream:
    if streams:
        return streams[0]
    size = source.stat().st_size
    what = f"{size} bytes that are not audio, or of a kind that is not opened here (a playlist)"
    raise _without_audio(source, "no audio stream" if streams is not None else what if size else "an empty file")


def _whole(source: Path, wav: Path) -> AudioInfo:
    """The form of a decoded file, of which every sample was looked at. Raises InputError about its source."""
    try:
        found = info(wav)
        if not found.subtype.startswith("PCM"):
            for _ in blocks(wav):
                pass
    except InputError as error:
        raise InputError(
            error.what, file=source, expected=error.expected, found=error.found, remedy=error.remedy
        ) from error
    return found


def _no_room(source: Path, needed: int, free: int) -> InputError:
    return InputError(
        "space on the disk for what is decoded",
        file=source,
        expected=f"more than {amount(needed)}",
        found=f"{amount(free)} free",
        remedy="check that it is music of the length you expect; then free space, or choose a place on a larger disk",
    )


def _tell_of_damage(source: Path, said: str) -> None:
    if said:
        _log.warning("%s: ffmpeg stepped over damage: %s", plain(source), ffmpeg.reason(said, source))


def _cut_short(source: Path, promised: int, found: int) -> InputError:
    return InputError(
        "audio file",
        file=source,
        expected=f"{promised} frames, as the file says of itself",
        found=f"{found} frames: the file is cut short or damaged",
        remedy="replace the file by an undamaged copy",
    )


def _without_audio(source: Path, found: str) -> InputError:
    return InputError(
        "audio file",
        file=source,
        expected="a file with an audio stream that ffmpeg can decode",
        found=found,
        remedy="check that the file plays, or convert it to wav",
    )


def _refuse_form(source: Path, channels: int, rate: int) -> None:
    if not 1 <= channels <= CHANNELS:
        raise InputError(
            "audio file",
            file=source,
            expected="one or two channels",
            found=f"{channels} channels",
            remedy="mix it down to stereo",
        )
    _refuse_rate(source, rate)


def _refuse_rate(source: Path, rate: int) -> None:
    lowest, highest = RATES
    if not lowest <= rate <= highest:
        raise InputError(
            "audio file",
            file=source,
            expected=f"a sample rate between {lowest} and {highest} Hz",
            found=f"{rate} Hz",
            remedy="export the file again from its source",
        )


class _NotAudio(InputError):
    """A file that libsndfile does not know."""


def _opened(path: Path | str) -> soundfile.SoundFile:
    """A file as libsndfile reads it, its length being true. Raises InputError where there is none."""
    header = _header(path)
    if header is not None and true_length(Path(path), header) != header.claimed:
        raise _unknown_length(path, f"{header.claimed} bytes of samples in a header before {header.there} bytes")
    # By descriptor: libsndfile takes a name for what it is not ("-", *.raw), and soundfile only names in UTF-8.
    descriptor = os.open(path, os.O_RDONLY)
    try:
        sound = soundfile.SoundFile(descriptor)
    except soundfile.LibsndfileError as error:
        raise _NotAudio(
            "audio file",
            file=path,
            expected="an audio file (wav, flac, ogg, mp3)",
            found=f"{Path(path).stat().st_size} bytes that are not audio ({error.error_string})",
            remedy="replace the file by an undamaged copy",
        ) from error
    if sound.format == "MP3" or sound.frames >= _NO_LENGTH:
        sound.close()
        raise _unknown_length(path, "an estimate, or nothing")
    return sound


def _header(path: Path | str) -> WavHeader | None:
    """The header of a wav, None of another file. Raises InputError where there is no file that can be opened."""
    if not Path(path).is_file():
        raise _missing(path)
    try:
        return wav_header(Path(path))
    except OSError as error:
        raise os_error(error, "audio file", file=path) from error


def _unknown_length(path: Path | str, found: str) -> InputError:
    return InputError(
        "audio file",
        file=path,
        expected="a file whose header tells its length",
        found=found,
        remedy="convert it to wav or flac",
    )


def _missing(path: Path | str) -> InputError:
    there = "a folder" if Path(path).is_dir() else "something that is no file"
    return InputError(
        "audio file",
        file=path,
        expected="an audio file",
        found=there if Path(path).exists() else "no such file",
        remedy="check the path, or restore the file",
    )
