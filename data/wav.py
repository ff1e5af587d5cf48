"""How long a wav truly is: what its header says, held against the bytes that are there.

Programs that write to a pipe cannot know the length and leave a placeholder; sizes beyond 4 GB wrap around; a copy may
end early. Decoding samples does not belong here.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from data.errors import InputError

LARGEST = 2**32 - 2**20  # bytes of samples that a plain wav can count, with room for what else is in the file

_PCM, _FLOAT, _EXTENSIBLE = 0x0001, 0x0003, 0xFFFE
_WIDTHS = {_PCM: (8, 16, 24, 32), _FLOAT: (32, 64)}
_LIMITS = (0x7F000000, 2**31, 2**32, 2**63, 2**64)  # what programs take for endless
_CHUNKS = 10_000  # more than any program writes before or behind the samples
_TAIL = 2**16  # bytes at the end of a file in which chunks behind the samples are looked for
_BEHIND = (b"LIST", b"id3 ", b"ID3 ", b"bext", b"iXML", b"cue ", b"smpl", b"fact", b"PEAK", b"_PMX")


@dataclass(frozen=True)
class WavHeader:
    """What the header of a wav says, sizes in bytes; `start` is where the samples begin, `there` what follows."""

    tag: int
    bits: int
    channels: int
    sample_rate: int
    block: int  # a frame
    start: int
    claimed: int  # of samples
    riff: int  # of the whole, as it is said near its beginning
    there: int
    wide: bool  # RF64: sizes have 64 bits

    @property
    def plain(self) -> bool:
        """Whether the samples are uncompressed, and the header agrees with itself."""
        width = self.bits in _WIDTHS.get(self.tag, ()) and self.block == self.channels * self.bits // 8
        return width and self.channels > 0 and self.sample_rate > 0

    @property
    def contradiction(self) -> bool:
        """Whether samples that are uncompressed cannot lie as the header says: as another decoder reads it, at another
        speed."""
        fits = self.channels * ((self.bits + 7) // 8)
        return self.tag in _WIDTHS and self.block not in (0, fits) and self.bits > 0 and self.channels > 0


def wav_header(path: Path) -> WavHeader | None:
    """The header of a wav (RIFF or RF64); None for any other file and for a wav without format or samples."""
    with open(path, "rb") as file:
        kind, riff, form = struct.unpack("<4sI4s", file.read(12).ljust(12, b"\0"))
        if kind not in (b"RIFF", b"RF64") or form != b"WAVE":
            return None
        there, wide, format_ = os.fstat(file.fileno()).st_size, kind == b"RF64", b""
        long_riff = long_data = 0
        for _ in range(_CHUNKS):
            head = file.read(8)
            if len(head) < 8:
                return None
            name, length = struct.unpack("<4sI", head)
            if name == b"data":
                break
            content = file.read(min(length, 40)) if name in (b"fmt ", b"ds64") else b""
            if name == b"fmt ":
                format_ = content
            elif name == b"ds64" and wide and len(content) >= 16:
                long_riff, long_data = struct.unpack("<QQ", content[:16])
            file.seek(length + length % 2 - len(content), os.SEEK_CUR)
        if name != b"data" or len(format_) < 16:
            return None
        tag, channels, rate, _, block, bits = struct.unpack("<HHIIHH", format_[:16])
        if tag == _EXTENSIBLE and len(format_) >= 26:
            tag = struct.unpack("<H", format_[24:26])[0]
        if wide:
            riff, length = long_riff, long_data if length == 0xFFFFFFFF else length
        start = file.tell()
        return WavHeader(tag, bits, channels, rate, block, start, length, riff, there - start, wide)


def true_length(path: Path, header: WavHeader) -> int:
    """The bytes of samples in a wav: what its header says where that can be, else what the file holds.

    Raises InputError for a file that is cut short, and for one that goes on behind its samples with something else.
    """
    more = header.there - header.claimed
    if 0 <= more < 8:  # less than a chunk: nearly every file
        return header.claimed
    placeholder = is_placeholder(header.claimed)
    if not placeholder and not header.wide and more >= 2**32:
        return header.claimed + (more >> 32 << 32)
    if more < 0:
        if placeholder or is_placeholder(header.riff):
            return _without_chunks_behind(path, header)
        raise InputError(
            "audio file",
            file=path,
            expected=f"{header.claimed} bytes of samples, as the header says",
            found=f"{header.there} bytes: the file is cut short",
            remedy="replace the file by an undamaged copy",
        )
    if _chunks_follow(path, header.start + header.claimed):
        return header.claimed
    if placeholder:
        return _without_chunks_behind(path, header)
    if more > header.block * header.sample_rate:
        raise InputError(
            "audio file",
            file=path,
            expected=f"{header.claimed} bytes of samples, as the header says, and nothing unknown behind them",
            found=f"{more} bytes more: the header was not finished, or something else was appended",
            remedy="export the file again from its source",
        )
    return header.claimed


def is_placeholder(size: int) -> bool:
    """Whether a program that knows the size would not have written it: nothing, a limit of integers, a round number."""
    near = any(abs(size - limit) <= 2**16 for limit in _LIMITS)
    return size == 0 or near or (size >= 10**9 and size % 10**8 == 0)


def _chunks_follow(path: Path, position: int) -> bool:
    """Whether from `position` on there is nothing but whole chunks, with or without a byte of padding before them."""
    with open(path, "rb") as file:
        return _only_chunks(file, position + position % 2) or (position % 2 == 1 and _only_chunks(file, position))


def _only_chunks(file: BinaryIO, position: int) -> bool:
    size = os.fstat(file.fileno()).st_size
    for _ in range(_CHUNKS):
        if position + 8 > size:
            return True
        file.seek(position)
        name, length = struct.unpack("<4sI", file.read(8))
        if not all(0x20 <= byte < 0x7F for byte in name):
            return False
        position += 8 + length
        if position > size:
            return False
        position += length % 2
    return False


def _without_chunks_behind(path: Path, header: WavHeader) -> int:
    """The bytes from the first sample to the end of the file, less the chunks that lie there."""
    with open(path, "rb") as file:
        at = header.start + max(0, header.there - _TAIL)
        file.seek(at)
        tail = file.read(_TAIL)
        found = [tail.find(name) for name in _BEHIND]
        chunks = [at + place for place in found if place >= 0 and _only_chunks(file, at + place)]
    return min(chunks, default=header.start + header.there) - header.start
