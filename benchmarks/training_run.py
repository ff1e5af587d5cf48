"""One training measured in a process of its own, for `benchmarks.train`: prints what it found as a line of JSON.

`python -m benchmarks.training_run CANDIDATE --pairs FILE --output DIR --steps N ...`
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
from pathlib import Path
from typing import Any

from benchmarks.processes import peak_megabytes
from data.loopback import PAIRS
from data.tables import read_table
from models.candidate import Candidate, load_candidate


def keep_to(cores: int) -> None:
    """Let this process and those it starts use only so many cores; before torch is loaded, which counts them."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])


def adapted(candidate: Candidate, options: argparse.Namespace) -> Candidate:
    """The candidate with the steps that are asked for in two epochs, and other sizes where they are given."""
    training = {"epochs": 2, "steps_per_epoch": -(-options.steps // 2)}
    asked = {
        "batch_size": options.batch,
        "chunk_seconds": options.chunk,
        "loader_threads": options.threads,
        "precision": options.precision,
    }
    training |= {name: value for name, value in asked.items() if value is not None}
    content: dict[str, Any] = candidate.model_dump()
    content["training"] |= training
    if options.hidden is not None:
        content["network"]["hidden"] = options.hidden
    return Candidate.model_validate(content)


def main() -> None:
    options = _parser().parse_args()
    keep_to(options.cores)
    candidate = adapted(load_candidate(options.candidate), options)
    pairs = read_table(options.pairs, PAIRS)
    trained = pairs[pairs["split"] == "train"].iloc[: options.tracks]
    pairs = pairs[(pairs["split"] == "validation") | pairs.index.isin(trained.index)]

    from benchmarks.meters import Meter
    from models.memory import keep_freed_memory
    from models.training import train

    # As `models.train` does.
    keep_freed_memory()
    shutil.rmtree(options.output, ignore_errors=True)
    options.output.mkdir(parents=True)
    meter = Meter(options.warm, options.profiled, options.device.startswith("cuda"))
    train(candidate, pairs, options.pairs.parent, options.output, meter, options.device, place=options.data)
    meter.close()
    result = {
        "seconds_an_example": meter.seconds_a_step() / candidate.training.batch_size,
        "waiting_share": meter.waiting_share(),
        "busy_share": meter.busy_share,
        "lstm_share": meter.lstm_share,
        "peak_mb": peak_megabytes(os.getpid()),
    }
    print(json.dumps(result))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("candidate")
    parser.add_argument("--pairs", type=Path, required=True, help="the training pairs, in the folder of their paths")
    parser.add_argument("--output", type=Path, required=True, help="folder of the training's files, emptied before")
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--warm", type=int, default=3, help="steps before anything is measured")
    parser.add_argument("--tracks", type=int, help="train on so many tracks only")
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--batch", type=int)
    parser.add_argument("--chunk", type=float, help="seconds")
    parser.add_argument("--hidden", type=int, help="of Open-Unmix's network")
    parser.add_argument("--threads", type=int, help="that read")
    parser.add_argument("--precision")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--data", default="auto", help="auto, stream or resident")
    parser.add_argument("--profiled", type=int, default=0, help="about how many seconds a profile covers")
    return parser


if __name__ == "__main__":
    main()
