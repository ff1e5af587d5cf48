"""The demo corpus on disk, in the true formats: MUSDB18's stem.mp4 files, MedleyDB's folders and YAML.

Only files and names belong here; the music is made by `mixing`. All samples follow from the seed.
"""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from data import audio
from data.audio import SAMPLE_RATE, Audio
from data.demo import names
from data.demo.mixing import Recording, record
from data.demo.voice import draw_singer
from data.errors import InputError
from data.files import publish_folder

# Raised when the same seed would give other files.
VERSION = "1"  # of MUSDB18's part
MEDLEYDB_VERSION = "2"

_SOURCES = ("drums", "bass", "other", "vocals")
_BITRATE = 256000
_FADER_DB = 6.0  # by which a stem of MedleyDB's format may be off its level in the mix
_TEST_SHARE = 5 / 16
_MOST_TRACKS = 40  # each part of the corpus has that many names to itself
_EXCERPT = "The Easton Ellises - Falcon 69"

Progress = Callable[[str], None]


@dataclass(frozen=True)
class _Plan:
    """One song to make: its own seed, who sings it, and where it goes."""

    seed: tuple[int, ...]
    artist: int
    song: int
    seconds: float
    folder: Path
    harmonies: tuple[int, ...] = ()
    sung: bool = True
    metadata: Path | None = None
    subtype: str = "PCM_16"
    mono_stem: bool = False
    labelled_instrumental: bool | None = None


def write_musdb18(
    root: Path,
    *,
    seed: int = 0,
    tracks: int = 16,
    seconds: float = 24.0,
    workers: int | None = None,
    progress: Progress | None = None,
) -> None:
    """Write a corpus in MUSDB18's layout: `root/train` and `root/test` with stem.mp4 files of five AAC streams.

    `tracks` songs of `seconds` each, about a third of them for testing, at least one in each part; every third artist
    has two songs, both in the same part. To them comes the real excerpt (a MUSDB18 test track, CC BY-NC-SA) that ships
    with stempeg. The folder appears whole or not at all. Raises InputError where ffmpeg cannot encode, ValueError for
    a number of tracks that the demo has no names or no two parts for.
    """
    _check_tracks(tracks, 2)
    audio.require_program("ffmpeg")
    test = max(1, round(tracks * _TEST_SHARE))
    with publish_folder(root) as partial:
        plans = []
        for subset, count, first in (("train", tracks - test, 0), ("test", test, 40)):
            (partial / subset).mkdir()
            for number in range(count):
                # 0 0 1 2 3 3 4 5 6 6 ...: every third artist sings twice.
                artist = first + number - (number + 3) // 4
                harmonies = (2,) if number % 4 == 1 else ()
                plans.append(
                    _Plan((seed, 0, first + number), artist, first + number, seconds, partial / subset, harmonies)
                )
        _make_all(_musdb18_track, plans, "MUSDB18", workers, progress)
        shutil.copyfile(_excerpt(), partial / "test" / f"{_EXCERPT}.stem.mp4")


def write_medleydb(
    root: Path,
    metadata: Path,
    *,
    seed: int = 0,
    tracks: int = 8,
    seconds: float = 24.0,
    workers: int | None = None,
    progress: Progress | None = None,
) -> None:
    """Write a corpus in MedleyDB's layout below `root`, and its YAML files into `metadata`.

    Of every eight tracks two have no vocal stem (one of them labelled as if it had, which happens in the real data),
    two have one, three have two, one has four; 16 and 24 bit, a mono stem now and then. As in the real data, stems are
    not as loud as in the mix. Each folder appears whole or not at all, the audio after the metadata. Raises ValueError
    for a number of tracks that the demo has no names for.
    """
    _check_tracks(tracks, 1)
    with publish_folder(root) as partial, publish_folder(metadata) as partial_metadata:
        plans = []
        for number in range(tracks):
            kind = number % 8
            plans.append(
                _Plan(
                    (seed, 1, number),
                    artist=80 + number - (number + 3) // 4,
                    song=80 + number,
                    seconds=seconds,
                    folder=partial,
                    metadata=partial_metadata,
                    harmonies={0: (2,), 3: (2, 4, -3), 4: (2,), 6: (4,)}.get(kind, ()),
                    sung=kind not in (1, 5),
                    subtype="PCM_24" if number % 2 else "PCM_16",
                    mono_stem=kind in (2, 6),
                    labelled_instrumental=False if kind == 5 else None,
                )
            )
        _make_all(_medleydb_track, plans, "MedleyDB", workers, progress)


def _check_tracks(tracks: int, least: int) -> None:
    if not least <= tracks <= _MOST_TRACKS:
        raise ValueError(f"the demo has {least} to {_MOST_TRACKS} tracks, not {tracks}")


def _make_all(
    make: Callable[[_Plan], str], plans: Sequence[_Plan], title: str, workers: int | None, progress: Progress | None
) -> None:
    """Make every planned track, in several processes; tell `progress` of each."""
    # Spawned, not forked: the caller may hold threads and locks.
    count, context = workers or os.cpu_count(), get_context("spawn")
    with ProcessPoolExecutor(count, mp_context=context, initializer=_leave_interrupts) as pool:
        try:
            with _one_blas_thread():
                futures = [pool.submit(make, plan) for plan in plans]
            for done, future in enumerate(as_completed(futures), start=1):
                name = future.result()
                if progress:
                    progress(f"{title} demo, {done} of {len(plans)}: {name}")
        finally:
            # Whoever interrupts, or whose track failed, does not wait for songs that nobody will hear.
            pool.shutdown(cancel_futures=True)


def _leave_interrupts() -> None:
    """Ctrl-C reaches all processes of a terminal; what it ends is for the one to say that started this one."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


@contextmanager
def _one_blas_thread() -> Iterator[None]:
    """Processes started within the block multiply matrices on one thread each.

    There is a process for every core already, and OpenBLAS, which reads this variable when it is loaded, keeps idle
    threads spinning: they take half as much time again as the music.
    """
    name = "OPENBLAS_NUM_THREADS"
    before = os.environ.get(name)
    os.environ[name] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


def _recorded(plan: _Plan) -> Recording:
    """The music of a plan. An artist's voice is the same in all of their songs."""
    voice = np.random.default_rng([plan.seed[0], 7, plan.artist])
    female = plan.artist % 2 == 0
    singers = [draw_singer(voice, female=female), draw_singer(voice, female=not female)] if plan.sung else []
    return record(np.random.default_rng(plan.seed), plan.seconds, singers=singers, harmonies=plan.harmonies)


def _musdb18_track(plan: _Plan) -> str:
    # Importing stempeg fails where ffmpeg is missing, hence not at the top.
    import stempeg

    name = f"{names.artist(plan.artist)} - {names.title(plan.song)}"
    path = plan.folder / f"{name}.stem.mp4"
    recording = _recorded(plan)
    sources = [recording.source(group) for group in _SOURCES]
    stems = np.stack([np.sum(sources, axis=0, dtype=np.float32), *sources]).transpose(0, 2, 1)
    if np.abs(stems).max() > 1.0:
        raise ValueError(f"{name}: a stem peaks at {np.abs(stems).max():.2f} and would clip")
    writer = stempeg.StreamsWriter(codec="aac", bitrate=_BITRATE, stem_names=["mixture", *_SOURCES])
    stempeg.write_stems(str(path), stems, sample_rate=SAMPLE_RATE, writer=writer)
    # stempeg does not look at the exit code of ffmpeg where it writes the samples: a full disk makes a shorter file.
    file = stempeg.Info(str(path)) if path.is_file() else None
    streams = file.nb_audio_streams if file else 0
    shortest = min((float(file.duration(stream)) for stream in range(streams)), default=0.0) if file else 0.0
    seconds = stems.shape[1] / SAMPLE_RATE
    if streams != 1 + len(_SOURCES) or shortest < seconds - 0.01:
        raise InputError(
            f"demo track {name}",
            file=path,
            expected=f"{1 + len(_SOURCES)} AAC streams of {seconds:.2f} s, written by ffmpeg",
            found=f"{streams} streams, the shortest of {shortest:.2f} s",
            remedy="check that ffmpeg has an AAC encoder (ffmpeg -encoders) and that the disk is not full",
        )
    return name


def _medleydb_track(plan: _Plan) -> str:
    artist, title = (text.replace(" ", "") for text in (names.artist(plan.artist), names.title(plan.song)))
    name = f"{artist}_{title}"
    recording = _recorded(plan)
    folder = plan.folder / name
    stems_folder, raw_folder = folder / f"{name}_STEMS", folder / f"{name}_RAW"
    stems_folder.mkdir(parents=True)
    raw_folder.mkdir()
    described: dict[str, Any] = {}
    # Bounced before the faders were where the mix has them; a stem of its own draw, so that none follows from another.
    faders = np.random.default_rng([*plan.seed, 11])
    for number, (instrument, stem) in enumerate(zip(recording.instruments, recording.stems, strict=True), start=1):
        stem_file, raw_file = f"{name}_STEM_{number:02d}.wav", f"{name}_RAW_{number:02d}_01.wav"
        mono = plan.mono_stem and number == 2
        bounced = np.float32(min(10 ** (faders.uniform(-_FADER_DB, _FADER_DB) / 20), 0.99 / np.abs(stem).max()))
        _write(stems_folder / stem_file, bounced * (stem.mean(axis=0, keepdims=True) if mono else stem), plan.subtype)
        # What the microphone heard, before any fader: never part of a sum.
        _write(raw_folder / raw_file, stem * np.float32(0.5), plan.subtype)
        described[f"S{number:02d}"] = {
            "component": {"vocals": "melody", "bass": "bass"}.get(recording.groups[number - 1], ""),
            "filename": stem_file,
            "instrument": instrument,
            "raw": {"R01": {"filename": raw_file, "instrument": instrument}},
        }
    # Mastering: a little louder, with the peaks rounded off, so that the mix is close to a sum of its stems, not equal.
    _write(folder / f"{name}_MIX.wav", np.tanh(np.float32(1.1) * recording.mixture), plan.subtype)
    instrumental = not plan.sung if plan.labelled_instrumental is None else plan.labelled_instrumental
    content = {
        "album": "Demo",
        "artist": names.artist(plan.artist),
        "composer": names.artist(plan.artist),
        "excerpt": "no",
        "genre": "Pop",
        "has_bleed": "no",
        "instrumental": "yes" if instrumental else "no",
        "mix_filename": f"{name}_MIX.wav",
        "origin": "generated",
        "producer": "",
        "raw_dir": raw_folder.name,
        "stem_dir": stems_folder.name,
        "stems": described,
        "title": names.title(plan.song),
        "version": 1.2,
        "website": "",
    }
    assert plan.metadata is not None
    (plan.metadata / f"{name}_METADATA.yaml").write_text(yaml.safe_dump(content))
    return name


def _write(path: Path, samples: Audio, subtype: str) -> None:
    # Written where it lies: these folders are published as wholes.
    with audio.Writer(path, SAMPLE_RATE, subtype, samples.shape[0], frames=samples.shape[1]) as wav:
        wav.write(samples)


def _excerpt() -> Path:
    import stempeg

    return Path(stempeg.example_stem_path())
