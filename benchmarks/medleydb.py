"""Summing MedleyDB's stems: this project against only reading the same files and writing a result of the same size.

`python -m benchmarks.medleydb --work DIR [--tracks 4] [--stems 8] [--seconds 240]`, on as many workers either way.
"""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import soundfile

from benchmarks.corpora import RATE, medleydb_tracks
from benchmarks.reporting import arguments, ratio, rounds, tell
from data import medleydb_metadata
from data.datasets.medleydb import MedleyDB
from data.engine import ExecutorEngine
from data.preparation import STEMS, TrackJob, prepare_track
from data.tracks import RawFile


def jobs(source: Path, storage: Path) -> list[TrackJob]:
    shutil.rmtree(storage, ignore_errors=True)
    labels, _ = medleydb_metadata.read_folder(source / "metadata")
    found = []
    for track in MedleyDB().discover(source / "audio"):
        row = replace(track, indexed=tuple(RawFile.found(path, sha256="-") for path in track.files))
        found.append(TrackJob(storage, MedleyDB(), row, labels[labels["id"] == row.labelled_as], (STEMS,)))
    return found


def summing(source: Path, storage: Path) -> None:
    for result in ExecutorEngine().as_completed(prepare_track, jobs(source, storage)):
        if result.problem:
            raise result.problem


def read_and_write(job: TrackJob) -> None:
    """Read every file of a track a second at a time, and write two files of its length."""
    for file in job.row.files:
        for _ in soundfile.blocks(file, blocksize=RATE, dtype="float32", always_2d=True):
            pass
    frames = soundfile.info(job.row.files[0]).frames
    folder = job.root / job.row.slug
    folder.mkdir(parents=True)
    second = np.zeros((RATE, 2), np.float32)
    for name in ("mixture", "vocals"):
        with soundfile.SoundFile(folder / f"{name}.wav", "w", RATE, 2, "PCM_24") as wav:
            for start in range(0, frames, RATE):
                wav.write(second[: frames - start])


def reading(source: Path, storage: Path) -> None:
    for _ in ExecutorEngine().as_completed(read_and_write, jobs(source, storage)):
        pass


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--tracks", type=int, default=4)
    parser.add_argument("--stems", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=240.0)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    name = f"medleydb-{options.tracks}x{options.stems}x{options.seconds:g}"
    source = medleydb_tracks(options.work / name, options.tracks, options.seconds, options.stems)
    sides = {
        "read and write only": lambda: reading(source, options.work / "read"),
        "this project": lambda: summing(source, options.work / "storage"),
    }
    rounds(sides, 1)  # fills the cache of the file system for both
    times = rounds(sides, options.rounds)
    share = ratio(times, *sides)
    tell(
        f"summing MedleyDB stems, {options.tracks} tracks of {options.seconds:g} s with {options.stems} stems (24 bit)",
        ("side", "seconds, each round", "seconds a track"),
        [
            (side, ", ".join(f"{value:.1f}" for value in values), f"{min(values) / options.tracks:.2f}")
            for side, values in times.items()
        ],
        f"ratio: {share:.0%} of the speed at which the files are read and the result written",
        {"seconds": times, "share_of_read_and_write": share},
        options.json,
    )


if __name__ == "__main__":
    main()
