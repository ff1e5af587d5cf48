"""The canonical form of a track: 44.1 kHz, stereo, equal lengths, additive; and what is measured of it.

Levels are left alone: a gain per file would break `accompaniment = mixture - vocals`, and samples beyond full scale
are kept in a floating-point wav instead of clipped. Audio is streamed: memory does not grow with the track.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import soxr

from data import audio
from data.errors import InputError
from data.files import link
from data.measure import TrackMeter
from data.recognition import Fingerprinter
from data.tempo import TempoMeter
from data.tracks import MIXTURE, RECORDING, VOCALS

CODE_VERSION = "3"

Pair = tuple[audio.Audio, audio.Audio]


def normalise_track(stems: Path, folder: Path) -> dict[str, Any]:
    """Bring `mixture.wav` and `vocals.wav` of folder `stems` into the canonical form, written into `folder`.

    Files that have it already are linked, not copied. Beside them lies `recording.npy`, by which the recording is
    known again. Returns the measurements (JSON values) that the manifest holds. Raises InputError for a file that
    cannot be read, is empty, or has more than two channels.
    """
    sources = [audio.info(stems / name) for name in (MIXTURE, VOCALS)]
    for name, source in zip((MIXTURE, VOCALS), sources, strict=True):
        if source.frames == 0 or source.channels > audio.CHANNELS:
            raise InputError(
                "audio file",
                file=stems / name,
                expected="one or two channels and at least one frame",
                found=f"{source.channels} channels and {source.frames} frames",
                remedy="mix it down to stereo, or remove the track",
            )
    forms = {(source.frames, source.sample_rate, source.channels) for source in sources}
    ready = forms == {(sources[0].frames, audio.SAMPLE_RATE, audio.CHANNELS)}
    if ready:
        for name in (MIXTURE, VOCALS):
            link(stems / name, folder / name)
    else:
        _write_canonical(stems, folder, sources)
    frames = audio.info(folder / MIXTURE).frames
    lengths = [round(source.frames * audio.SAMPLE_RATE / source.sample_rate) for source in sources]
    return {
        "frames": frames,
        "duration_s": frames / audio.SAMPLE_RATE,
        "source_rate": sources[0].sample_rate,
        "trimmed_frames": max(lengths) - min(lengths),
        **_measure(folder),
    }


def canonical_blocks(path: Path) -> Iterator[audio.Audio]:
    """The audio of `path` as blocks of `(2, 44100)` float32 at 44.1 kHz, the last one possibly shorter.

    Mono becomes dual mono; another rate is resampled by soxr at HQ.
    """
    source = audio.info(path)
    stereo = (np.repeat(piece, audio.CHANNELS // source.channels, axis=0) for piece in audio.blocks(path))
    if source.sample_rate == audio.SAMPLE_RATE:
        yield from stereo
    else:
        yield from _regrouped(_resampled(stereo, source.sample_rate, source.frames))


def _resampled(pieces: Iterator[audio.Audio], rate: int, frames: int) -> Iterator[audio.Audio]:
    stream = soxr.ResampleStream(rate, audio.SAMPLE_RATE, audio.CHANNELS, dtype="float32", quality="HQ")
    taken = 0
    for piece in pieces:
        taken += piece.shape[1]
        yield np.ascontiguousarray(stream.resample_chunk(piece.T, last=taken == frames).T)


def _regrouped(pieces: Iterator[audio.Audio]) -> Iterator[audio.Audio]:
    """The same frames in blocks of one second."""
    kept = np.empty((audio.CHANNELS, 0), np.float32)
    for piece in pieces:
        kept = np.concatenate([kept, piece], axis=1)
        while kept.shape[1] >= audio.BLOCK:
            yield np.ascontiguousarray(kept[:, : audio.BLOCK])
            kept = kept[:, audio.BLOCK :]
    if kept.shape[1]:
        yield np.ascontiguousarray(kept)


def _write_canonical(stems: Path, folder: Path, sources: list[audio.AudioInfo]) -> None:
    """Convert both files and cut them to the shorter one."""
    frames = min(
        source.frames
        if source.sample_rate == audio.SAMPLE_RATE
        else sum(piece.shape[1] for piece in canonical_blocks(stems / name))
        for name, source in zip((MIXTURE, VOCALS), sources, strict=True)
    )
    for name, source in zip((MIXTURE, VOCALS), sources, strict=True):
        # Resampled audio needs every bit of float32; other audio keeps what it has.
        same_rate = source.sample_rate == audio.SAMPLE_RATE
        subtype = audio.widest_subtype([source.subtype]) if same_rate else "FLOAT"
        with audio.Writer(folder / name, audio.SAMPLE_RATE, subtype, frames=frames) as wav:
            for piece in _first(canonical_blocks(stems / name), frames):
                wav.write(piece)


def _first(pieces: Iterator[audio.Audio], frames: int) -> Iterator[audio.Audio]:
    for piece in pieces:
        if frames <= 0:
            return
        yield piece[:, :frames]
        frames -= piece.shape[1]


def _measure(folder: Path) -> dict[str, Any]:
    meter, fingerprinter, tempo = TrackMeter(), Fingerprinter(), TempoMeter()
    for mixture, vocals in zip(audio.blocks(folder / MIXTURE), audio.blocks(folder / VOCALS), strict=True):
        meter.feed(mixture, vocals)
        fingerprinter.feed(mixture, vocals)
        tempo.feed(mixture)
    np.save(folder / RECORDING, fingerprinter.finish())
    return meter.finish() | {"tempo_bpm": tempo.finish()}
