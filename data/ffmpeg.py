"""ffmpeg and ffprobe, called so that they open one local file and nothing else, come to an end, and fill no disk.

A name is never taken for a protocol, an option or a pattern, and a file that is a playlist is not followed: files of
strangers are read here. What is made of the decoded samples does not belong here.
"""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data.errors import InputError, os_error
from data.text import one_line

STALLED = 120.0  # seconds without a byte written after which a program is given up
_SAID = 2**16  # bytes that are kept of what a program says
# Every kind of file that holds sound by itself. Left out is what names other files or addresses (hls, concat, dash,
# sdp, ...), reads devices, or guesses at raw bytes and numbered pictures.
_FORMATS = (
    "aac,ac3,aiff,amr,ape,asf,au,avi,caf,dsf,dts,dtshd,dv,eac3,flac,flv,gxf,iff,ircam,loas,matroska,webm,mlp,mov,mp4,"
    "m4a,3gp,3g2,mj2,mp3,mpc,mpc8,mpeg,mpegts,mxf,nistsphere,nut,ogg,oma,rm,shn,sox,tak,truehd,tta,voc,vqf,w64,wav,"
    "wsaud,wtv,wv,xwma"
)
_LARGEST_BLOCK = 2**29  # bytes that a program may ask for at once
_LOSSLESS = ("flac", "alac", "wavpack", "tta", "ape", "tak", "mlp", "truehd", "shorten")
_LOGARITHMIC = ("pcm_alaw", "pcm_mulaw", "pcm_vidc")
# Where the end tells the time, a file that was cut tells a shorter one: that is no promise.
_LENGTH_AT_THE_END = ("ogg", "mpegts", "mpeg", "aac", "loas")
# Where the length of the whole file stands in its header, and none of its streams.
_LENGTH_OF_THE_WHOLE = ("matroska", "webm")
_UNSURE = 0.1  # seconds by which such a length, made of rounded times of packets, may miss the samples
_GUESSED = "Estimating duration"


@dataclass(frozen=True)
class Stream:
    """An audio stream as its container describes it.

    `frames` is the length that it promises, 0 where it promises none; sample rate in Hz; `bits` is the width of samples
    that are integers and decode to exactly these, 0 of all others.
    """

    frames: int
    sample_rate: int
    channels: int
    codec: str = ""
    bits: int = 0


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


def place(path: Path | str) -> str:
    """A path as an argument for ffmpeg, which takes `Live:Song.mp3` for an address and `-x.mp3` for an option."""
    return f"file:{Path(path).absolute()}"


def audio_streams(path: Path | str) -> list[Stream] | None:
    """The audio streams of any file that ffprobe can read, pictures and video left out; None where it cannot.

    Raises InputError where ffprobe comes to no end.
    """
    entries = "stream=codec_name,sample_fmt,sample_rate,channels,duration,bits_per_raw_sample,bits_per_sample"
    entries += ":format=format_name,nb_streams,duration"
    shown = ["-select_streams", "a", "-show_entries", entries, "-print_format", "json"]
    command = [require_program("ffprobe"), "-v", "warning", *_limits(), *_reading(), *shown, place(path)]
    try:
        done = subprocess.run(command, capture_output=True, check=False, stdin=subprocess.DEVNULL, timeout=STALLED)
        found = json.loads(done.stdout) if done.returncode == 0 else {}
    except subprocess.TimeoutExpired as error:
        raise _no_end(path) from error
    except ValueError:
        return None
    if "streams" not in found:
        return None
    whole = found.get("format", {})
    kinds = set(str(whole.get("format_name", "")).split(","))
    promises = _GUESSED.encode() not in done.stderr and not kinds & set(_LENGTH_AT_THE_END)
    alone = whole.get("nb_streams") == 1 and kinds & set(_LENGTH_OF_THE_WHOLE)
    seconds = max(0.0, _number(whole.get("duration")) - _UNSURE) if alone else 0.0
    return [_stream(stream, promises, seconds) for stream in found["streams"]]


def _stream(found: dict[str, Any], promises: bool, whole: float) -> Stream:
    codec, rate = str(found.get("codec_name", "unknown")), _number(found.get("sample_rate"))
    exact = codec in _LOSSLESS or (codec.startswith("pcm_") and codec not in _LOGARITHMIC)
    integers = exact and str(found.get("sample_fmt")).startswith(("u8", "s16", "s32"))
    bits = _number(found.get("bits_per_raw_sample")) or _number(found.get("bits_per_sample")) or 32
    seconds = (_number(found.get("duration")) or whole) if promises else 0.0
    return Stream(
        frames=round(seconds * rate),
        sample_rate=int(rate),
        channels=int(_number(found.get("channels"))),
        codec=codec,
        bits=int(bits) if integers else 0,
    )


def _number(text: object) -> float:
    """A number of ffprobe's, which says N/A where it knows none."""
    try:
        value = float(str(text))
    except ValueError:
        return 0.0
    return value if 0 < value < 1e12 else 0.0


def decode(
    source: Path | str, outputs: Sequence[tuple[Sequence[str], Path]], reading: Sequence[str] = (), limit: int = 0
) -> str:
    """Have ffmpeg decode `source` into files, each with its options; returns what it said of damage, "" where nothing.

    `reading` are options for the source. Each output ends at `limit` bytes. Raises InputError, about the source, where
    ffmpeg gives up or writes nothing for two minutes, and about the disk where it is full.
    """
    command = [require_program("ffmpeg"), "-v", "error", "-nostdin", "-y", *_limits(), *_reading(), *reading]
    command += ["-i", place(source)]
    bound = ["-fs", str(limit)] if limit else []
    for options, path in outputs:
        # bitexact: the encoder's version would make other bytes of the same samples.
        command += [*options, "-bitexact", "-f", "wav", *bound, place(path)]
    written = [path for _, path in outputs]
    with tempfile.TemporaryFile() as errors:
        code = _run(command, errors.fileno(), written, source)
        errors.seek(0)
        said = errors.read(_SAID).decode(errors="replace").strip()
    if code == 0:
        return said
    if code < 0:
        raise _killed(-code, source)
    if os.strerror(errno.ENOSPC) in said:
        full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        raise os_error(full, "space on the disk for what is decoded", file=source)
    raise InputError(
        "audio file",
        file=source,
        expected="an audio stream that ffmpeg can decode",
        found=f"one that it gave up ({reason(said, source) or f'exit code {code}'})",
        remedy="check that the file plays, or convert it to wav",
    )


def reason(said: str, source: Path | str) -> str:
    """The last thing that ffmpeg said, without its addresses and with the file called by its own name."""
    lines = said.replace(place(source), Path(source).name).splitlines()
    last = re.sub(r"\[[^\]]* @ 0x[0-9a-f]+\] ", "", lines[-1]) if lines else ""
    return one_line(re.sub(r"file:/\S+", "the output", last))


def _run(command: list[str], errors: int, written: Sequence[Path], source: Path | str) -> int:
    """Run a program to its end, or until it has written nothing for as long as one that works would not."""
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=errors) as process:
        before = -1
        try:
            while True:
                try:
                    return process.wait(STALLED)
                except subprocess.TimeoutExpired:
                    now = sum(path.stat().st_size for path in written if path.exists())
                    if now == before:
                        raise _no_end(source) from None
                    before = now
        finally:
            process.kill()


def _killed(signum: int, source: Path | str) -> InputError:
    """What ended ffmpeg from outside, which says nothing of the file."""
    if signum == signal.SIGXFSZ:
        return os_error(OSError(errno.EFBIG, os.strerror(errno.EFBIG)), "space for what is decoded", file=source)
    return InputError(
        "program ffmpeg",
        file=source,
        expected="ffmpeg to decode the file to its end",
        found=f"it was ended by signal {signum} ({signal.strsignal(signum)})",
        remedy="where nobody ended it, the machine may be out of memory: close other programs; then try again",
    )


def _limits() -> list[str]:
    return ["-max_alloc", str(_LARGEST_BLOCK)]


def _reading() -> list[str]:
    return ["-protocol_whitelist", "file", "-format_whitelist", _FORMATS]


def _no_end(path: Path | str) -> InputError:
    return InputError(
        "audio file",
        file=path,
        expected="a file that can be decoded",
        found=f"one that keeps the decoder busy for {STALLED:.0f} seconds without a sample",
        remedy="check that the file plays, or convert it to wav",
    )
