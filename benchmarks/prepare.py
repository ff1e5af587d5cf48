"""MUSDB18's stem.mp4 to stored mixture and vocals: this project against a plain musdb loop, and against ffmpeg alone.

`python -m benchmarks.prepare --work DIR [--tracks 20] [--seconds 240]`. The loop is what a user would write; ffmpeg
alone decodes the same two streams with as many processes as this project has workers and checks, hashes and records
nothing. Memory is measured in a process of its own for each length, its ffmpeg included.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from benchmarks.corpora import stem_mp4_tracks
from benchmarks.processes import children_watched, peak_megabytes
from benchmarks.reporting import arguments, ratio, rounds, tell
from data.audio import require_program
from data.datasets.musdb18 import Musdb18
from data.engine import ExecutorEngine, cores
from data.preparation import NORMALISED, STEMS, TrackJob, prepare_track
from data.tracks import RawFile


def jobs(source: Path, storage: Path, steps: tuple[str, ...]) -> list[TrackJob]:
    """A job for every track of the dataset in `source`; the checksums belong to another stage and are left out."""
    import pandas as pd

    shutil.rmtree(storage, ignore_errors=True)
    dataset = Musdb18()
    found = []
    for track in dataset.discover(source):
        row = replace(track, indexed=tuple(RawFile.found(path, sha256="-") for path in track.files))
        found.append(TrackJob(storage, dataset, row, pd.DataFrame(), steps))
    return found


def this_project(source: Path, storage: Path, steps: tuple[str, ...] = (STEMS,), workers: int | None = None) -> None:
    for result in ExecutorEngine(workers).as_completed(prepare_track, jobs(source, storage, steps)):
        if result.problem:
            raise result.problem


def musdb_loop(source: Path, storage: Path) -> None:
    import musdb
    import stempeg

    shutil.rmtree(storage, ignore_errors=True)
    for track in musdb.DB(root=str(source), subsets="train"):
        folder = storage / track.name
        folder.mkdir(parents=True)
        stempeg.write_audio(str(folder / "mixture.wav"), track.audio, sample_rate=track.rate)
        stempeg.write_audio(str(folder / "vocals.wav"), track.targets["vocals"].audio, sample_rate=track.rate)


def plain_ffmpeg(source: Path, storage: Path) -> None:
    shutil.rmtree(storage, ignore_errors=True)
    storage.mkdir(parents=True)

    def decode(path: Path) -> None:
        outputs = ["-map", "0:a:0", storage / f"{path.stem}-mixture.wav", "-map", "0:a:4"]
        command = [require_program("ffmpeg"), "-v", "error", "-nostdin", "-i", path, *outputs]
        subprocess.run([*map(str, command), str(storage / f"{path.stem}-vocals.wav")], check=True)

    with ThreadPoolExecutor(cores()) as pool:
        list(pool.map(decode, sorted((source / "train").iterdir())))


def memory_of(source: Path, storage: Path) -> float:
    """Peak memory in MB of one worker in a process of its own, with the largest of its ffmpeg processes."""
    command = [sys.executable, "-m", "benchmarks.prepare", "--work", str(storage), "--peak", str(source)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--tracks", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=240.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--memory", default="60,240,960", help="lengths of tracks to measure memory with, seconds")
    parser.add_argument("--peak", type=Path, help="only measure the memory that this dataset takes")
    options = parser.parse_args()
    work: Path = options.work
    if options.peak:
        with children_watched(os.getpid()) as children:
            this_project(options.peak, work / "storage", (STEMS, NORMALISED), workers=1)
        print(peak_megabytes(os.getpid()) + children[-1])
        return
    source = stem_mp4_tracks(work / f"musdb18-{options.tracks}x{options.seconds:g}", options.tracks, options.seconds)
    loop, alone, ours = "musdb loop", "ffmpeg alone", "this project"
    times = rounds(
        {
            loop: lambda: musdb_loop(source, work / "loop"),
            alone: lambda: plain_ffmpeg(source, work / "alone"),
            ours: lambda: this_project(source, work / "storage"),
        },
        options.rounds,
    )
    both = rounds({"both": lambda: this_project(source, work / "storage", (STEMS, NORMALISED))}, 1)["both"][0]
    rows = [
        (name, ", ".join(f"{value:.1f}" for value in values), f"{min(values) / options.tracks:.2f}")
        for name, values in times.items()
    ]
    rows.append((f"{ours}, normalised and measured too", f"{both:.1f}", f"{both / options.tracks:.2f}"))
    memory = {
        length: memory_of(stem_mp4_tracks(work / f"musdb18-1x{length}", 1, length), work / "peak")
        for length in map(int, options.memory.split(","))
    }
    rows += [(f"memory of a worker, track of {length} s", f"{value:.0f} MB", "") for length, value in memory.items()]
    faster, beside = ratio(times, loop, ours), ratio(times, ours, alone)
    tell(
        f"stem.mp4 to mixture and vocals, {options.tracks} tracks of {options.seconds:g} s",
        ("side", "seconds, each round", "seconds a track"),
        rows,
        f"ratio: {faster:.2f} times as fast as the musdb loop; {beside:.2f} times the time of ffmpeg alone",
        {"seconds": times, "faster_than_loop": faster, "times_ffmpeg": beside, "memory_mb": memory},
        options.json,
    )


if __name__ == "__main__":
    main()
