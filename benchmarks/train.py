"""Training: waiting for data, memory, what a GPU does, and speed against open-unmix's own pipeline.

`python -m benchmarks.train --work DIR [--part data] [--part memory] [--part gpu] [--part openunmix]`; all four where
none is named. Every training runs in a process of its own, kept to `--cores` cores.

- data: the share of a step spent waiting for data, from a corpus on disk that the operating system has forgotten.
- memory: the peak memory of a training process with a tenth, a third and all of that corpus' tracks.
- gpu: how busy a CUDA device is, its share in LSTM kernels, and a training set in its memory against one that is read
  from disk. Without such a device, the CPU's share in LSTMs only.
- openunmix: examples per second against the package openunmix (see `benchmarks.peer_openunmix`), which reads the same
  audio in both of MUSDB18's layouts, wav and stem.mp4. Chunks, batches and hidden size are the same on both sides.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.corpora import forget, stem_mp4_tracks, training_corpus, wav_tracks, write_pairs
from benchmarks.peer_openunmix import VERSION, require_package
from benchmarks.prepare import this_project
from benchmarks.reporting import arguments, save, show
from data.command import run_command
from data.engine import cores
from data.loopback import PAIRS
from data.preparation import NORMALISED, STEMS
from models.candidate import load_candidate

Found = dict[str, Any]


def measured(module: str, *command: object) -> Found:
    """What a process of its own found, told as JSON in its last line."""
    # What limits the threads of this process is no limit on what is measured: its cores are.
    surroundings = {name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")}
    line = [sys.executable, "-m", f"benchmarks.{module}", *map(str, command)]
    done = subprocess.run(line, env=surroundings, stdout=subprocess.PIPE, text=True, check=True)
    found: Found = json.loads(done.stdout.splitlines()[-1])
    return found


def training(candidate: str, pairs: Path, options: argparse.Namespace, *more: object) -> Found:
    """A training by this project; with `--batch` and `--chunk` where they were given."""
    sizes = [f"--{name}={getattr(options, name)}" for name in ("batch", "chunk") if getattr(options, name)]
    fixed = ["--pairs", pairs, "--output", options.work / "output", "--cores", options.cores]
    return measured("training_run", candidate, *fixed, *sizes, *more)


def part_data(options: argparse.Namespace) -> Found:
    pairs = corpus(options)
    found = {}
    for name in options.candidates.split(","):
        forget(pairs.parent)
        found[name] = training(name, pairs, options, "--steps", options.steps)
    shares = [run["waiting_share"] for run in found.values()]
    worst = None if None in shares else max(shares)
    show(
        f"waiting for data, {options.tracks} tracks of {options.seconds:g} s on disk, {options.steps} steps",
        ("candidate", "examples a second", "share of a step spent waiting"),
        [(name, speed(run), percent(run["waiting_share"])) for name, run in found.items()],
        "ratio: none, for a training took too few seconds to tell"
        if worst is None
        else f"ratio: {worst:.1%} of a step is spent waiting for data at most",
    )
    return {"trainings": found, "waiting_share": worst}


def part_memory(options: argparse.Namespace) -> Found:
    pairs, name = corpus(options), options.candidates.split(",")[0]
    counts = sorted({max(1, round(options.tracks * share)) for share in (0.1, 0.3, 1.0)})
    found = {
        count: training(name, pairs, options, "--steps", options.memory_steps, "--tracks", count) for count in counts
    }
    peaks = {count: run["peak_mb"] for count, run in found.items()}
    growth = peaks[counts[-1]] / peaks[counts[0]]
    show(
        f"memory of the training process ({name}, {options.memory_steps} steps, tracks of {options.seconds:g} s)",
        ("tracks", "peak memory, MB"),
        [(count, f"{peak:.0f}") for count, peak in peaks.items()],
        f"ratio: {counts[-1] / counts[0]:.0f} times the tracks take {growth:.2f} times the memory",
    )
    return {"peak_mb": peaks, "growth": growth}


def part_gpu(options: argparse.Namespace) -> Found:
    import torch

    pairs, cuda = corpus(options), torch.cuda.is_available()
    name = options.gpu_candidate or ("bandsplit-large" if cuda else "bandsplit")
    profiled = ["--profiled", options.profiled, "--steps", options.gpu_steps or (1000 if cuda else 24)]
    if not cuda:
        run = training(name, pairs, options, *profiled)
        show(
            f"where a step's time goes ({name})",
            ("device", "examples a second", "in LSTMs"),
            [("CPU", speed(run), percent(run["lstm_share"]))],
            "ratio: none, for there is no CUDA device here: how busy one is and a training set in its memory "
            "were not measured",
        )
        return {"cpu": run}
    everything = ["--device", "cuda", "--precision", "bfloat16", "--threads", cores(), "--cores", cores()]
    found = {
        place: training(name, pairs, options, *everything, *profiled, "--data", place)
        for place in ("stream", "resident")
    }
    faster = found["stream"]["seconds_an_example"] / found["resident"]["seconds_an_example"]
    show(
        f"training of {name} on {torch.cuda.get_device_name()} in bfloat16",
        ("training set", "examples a second", "waiting", "GPU busy", "in LSTM kernels"),
        [
            (
                {"stream": "read from disk", "resident": "in the device's memory"}[place],
                speed(run),
                *(percent(run[share]) for share in ("waiting_share", "busy_share", "lstm_share")),
            )
            for place, run in found.items()
        ],
        f"ratio: {faster:.2f} times the examples a second with the training set in the device's memory",
    )
    return {"trainings": found, "resident_faster": faster}


def part_openunmix(options: argparse.Namespace) -> Found:
    candidate = load_candidate("openunmix")
    batch, chunk = options.batch or candidate.training.batch_size, options.chunk or candidate.training.chunk_seconds
    hidden = options.hidden or candidate.network.hidden
    stems, wavs, pairs = both_layouts(options.work / "openunmix", options.openunmix_tracks, options.longest)
    sizes = ["--batch", batch, "--chunk", chunk, "--hidden", hidden, "--cores", options.cores]
    ours = "this project"
    sides: dict[str, Callable[[], Found]] = {}
    layouts = {"wav": wavs, "stems": stems}
    for layout, root in layouts.items():
        for workers in options.workers.split(","):
            # The workers start during the first steps.
            more = ["--root", root, "--layout", layout, "--workers", workers, "--warm", int(workers) + 1]
            more += ["--steps", options.openunmix_steps]
            sides[f"open-unmix, {layout}, {workers} workers"] = lambda more=more: measured(
                "peer_openunmix", *more, *sizes
            )
    output = options.work / "output"
    # More steps than on the other side, for one of them takes less time.
    sides[ours] = lambda: measured(
        "training_run",
        "openunmix",
        "--pairs",
        pairs,
        "--output",
        output,
        *sizes,
        "--steps",
        4 * options.openunmix_steps,
    )
    runs: dict[str, list[Found]] = {name: [] for name in sides}
    for number in range(options.rounds):
        for name in list(sides) if number % 2 == 0 else list(reversed(sides)):
            runs[name].append(sides[name]())
    faster = {layout: faster_than(runs, f"open-unmix, {layout},", ours) for layout in layouts}
    show(
        f"training against openunmix {VERSION}: batches of {batch} chunks of {chunk:g} s, hidden size {hidden}, "
        f"{options.cores} cores",
        ("side", "examples a second, each round", "share of a step spent waiting"),
        [
            (name, ", ".join(map(speed, each)), ", ".join(percent(run["waiting_share"]) for run in each))
            for name, each in runs.items()
        ],
        f"ratio: {faster['wav']:.2f} times as fast as open-unmix reading wav, {faster['stems']:.2f} times reading "
        "stem.mp4, with the number of workers that suits it best",
    )
    return {"rounds": runs, "faster_than_wav": faster["wav"], "faster_than_stems": faster["stems"]}


def faster_than(runs: dict[str, list[Found]], others: str, ours: str) -> float:
    """Median over the rounds of how many times faster `ours` was than the fastest of the sides named `others`."""
    fastest = zip(*(each for name, each in runs.items() if name.startswith(others)), strict=True)
    return statistics.median(
        min(run["seconds_an_example"] for run in theirs) / own["seconds_an_example"]
        for theirs, own in zip(fastest, runs[ours], strict=True)
    )


def corpus(options: argparse.Namespace) -> Path:
    folder = options.work / f"training-{options.tracks}x{options.seconds:g}"
    return training_corpus(folder, options.tracks, options.seconds)


def both_layouts(root: Path, count: int, longest_s: float) -> tuple[Path, Path, Path]:
    """The same tracks as stem.mp4, as wav, and as normalised pairs; of four lengths up to `longest_s`."""
    folder = root / f"{count}x{longest_s:g}"
    lengths = [longest_s * share for share in (0.25, 0.5, 0.75, 1.0)]
    stems = stem_mp4_tracks(folder / "stems", count, lengths)
    wavs = wav_tracks(folder / "wav", stems)
    pairs = folder / "normalised" / PAIRS.file
    if not pairs.exists():
        this_project(stems, pairs.parent, (STEMS, NORMALISED))
        # The shortest comes last: it is the one for validation.
        found = sorted(pairs.parent.glob("musdb18/normalised/*/mixture.wav"), key=lambda path: -path.stat().st_size)
        write_pairs(pairs, [path.parent for path in found])
    return stems, wavs, pairs


def speed(run: Found) -> str:
    return f"{1 / run['seconds_an_example']:.2f}"


def percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.1%}"


PARTS = {"data": part_data, "memory": part_memory, "gpu": part_gpu, "openunmix": part_openunmix}


def main() -> int:
    return run_command(_run)


def _run() -> int:
    parser = arguments(__doc__ or "")
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--part", choices=PARTS, action="append", help="only this part; may be given several times")
    parser.add_argument("--cores", type=int, default=min(2, cores()), help="cores for each training on a CPU")
    parser.add_argument("--batch", type=int, help="instead of the candidate's own")
    parser.add_argument("--chunk", type=float, help="seconds, instead of the candidate's own")
    parser.add_argument("--tracks", type=int, default=100, help="tracks of data, memory and gpu")
    parser.add_argument("--seconds", type=float, default=240.0, help="length of each of them")
    parser.add_argument("--candidates", default="toy,bandsplit", help="of data; memory takes the first")
    parser.add_argument("--steps", type=int, default=100, help="of each training of data")
    parser.add_argument("--memory-steps", type=int, default=36)
    parser.add_argument("--gpu-candidate", help="default: bandsplit-large, or bandsplit on a CPU")
    parser.add_argument("--gpu-steps", type=int, help="default: 1000, or 24 on a CPU")
    parser.add_argument("--profiled", type=int, default=3, help="about how many seconds a profile covers")
    parser.add_argument("--openunmix-tracks", type=int, default=12)
    parser.add_argument("--longest", type=float, default=240.0, help="longest of these tracks, in seconds")
    parser.add_argument("--openunmix-steps", type=int, default=6, help="of each training")
    parser.add_argument("--hidden", type=int, help="hidden size, instead of the candidate's own")
    parser.add_argument("--workers", default="2", help="of open-unmix's DataLoader; of several (1,2) each is tried")
    parser.add_argument("--rounds", type=int, default=2)
    options = parser.parse_args()
    parts = options.part or list(PARTS)
    if "openunmix" in parts:
        require_package()
    found = {name: PARTS[name](options) for name in PARTS if name in parts}
    if options.json:
        save("training", found, options.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
