"""The trainings of `benchmarks.quality`: equal time for each, in a process of its own, scored on the held-out tracks.

A training that is finished is not done again, as long as settings, audio and cores are those it was done with.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import pandas as pd
import yaml

from assets.evaluation import SCORED, held_out_tracks
from assets.recording import folder_of
from assets.training_recipes import LOOPBACK
from data.engine import cores
from data.files import publish
from data.loopback import PAIRS
from data.settings import load_settings
from data.tables import read_table
from models.candidate import Candidate, candidate_path, load_candidate
from models.evaluate import SCORES
from models.job import ScoreJob, TrainJob
from models.launch import launch_command

PROJECT = Path(__file__).resolve().parent.parent
VALIDATIONS = 10  # in the time of a training, about
ENDLESS = 1000  # times as many epochs as the time will do for
PROBED_STEPS = 5


@dataclass(frozen=True)
class Corpus:
    """A storage root with training pairs, and the tracks that separators are scored on."""

    root: Path
    pairs: Path
    held_out: pd.DataFrame

    @property
    def identity(self) -> dict[str, str]:
        """Which audio is trained and scored on, as checksums."""
        return {"pairs": PAIRS.version_in(self.pairs.parent), "held_out": SCORED.version(self.held_out)}


def corpus_of(root: Path) -> Corpus:
    """The corpus under a storage root. Raises InputError where it is not prepared as far as pairs and splits."""
    pairs = folder_of(root, LOOPBACK) / PAIRS.file
    read_table(pairs, PAIRS)
    return Corpus(root, pairs, held_out_tracks(root))


def demo_corpus(root: Path) -> Corpus:
    """The demo corpus, prepared by the chain's own jobs under `root`; what is there already stays."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("ISOLATION_", "DAGSTER_"))}
    sources = {"ISOLATION_MUSDB18": "demo", "ISOLATION_MEDLEYDB": "demo", "ISOLATION_OWN": "off"}
    # Without a candidate the chain ends with the training pairs.
    command = [sys.executable, "-m", "pipelines.run", "--candidates", ""]
    _run(command, root.parent / "prepare.log", inherited | sources | {"ISOLATION_STORAGE": str(root)})
    return corpus_of(root)


def known_candidates(names: list[str]) -> list[Candidate]:
    """The candidates of these names. Raises InputError for one that is unknown, or whose file is bad."""
    folder = load_settings().candidates
    return [load_candidate(candidate_path(name, folder)) for name in names]


@dataclass(frozen=True)
class Speed:
    """What tells how many steps a candidate will do in a time."""

    parameters: int
    seconds_a_step: float

    def steps_an_epoch(self, minutes: float) -> int:
        """As many as validate all candidates about equally often, however fast they are."""
        return max(1, round(minutes * 60 / VALIDATIONS / self.seconds_a_step))


def measured_speed(candidate: Candidate, file: Path) -> Speed:
    """How fast a candidate's steps are on this machine; kept in `file`, so that a later call plans the same."""
    about = {"settings": _settings(candidate), "cores": cores()}
    known = _read(file)
    if known.get("about") != about:
        speed = _timed_steps(candidate)
        known = {"about": about, "parameters": speed.parameters, "seconds_a_step": speed.seconds_a_step}
        _write(file, known)
    return Speed(known["parameters"], known["seconds_a_step"])


def timed_settings(candidate: Candidate, seed: int, minutes: float, steps_an_epoch: int) -> dict[str, Any]:
    """The content of a candidate's file that trains it for `minutes` and nothing less.

    The candidate's other settings stand; a schedule goes by the share of the time that is spent.
    """
    settings = candidate.model_dump(mode="json", exclude={"name"})
    settings["training"] |= {
        "seed": seed,
        "minutes": minutes,
        "epochs": ENDLESS * VALIDATIONS,
        "steps_per_epoch": steps_an_epoch,
        "early_stopping_epochs": None,
    }
    return settings


def trained_and_scored(
    candidate: Candidate, settings: dict[str, Any], corpus: Corpus, folder: Path
) -> tuple[dict[str, Any], pd.DataFrame]:
    """Train a candidate with `settings` and score it; returns what the training came to, and the scores (SCORES).

    Everything lies in `folder`. Where that holds the same training, finished, nothing is done; one that was cut goes
    on; one of other settings, audio or cores is removed.
    """
    about = {"settings": settings, "cores": cores(), **corpus.identity}
    if _read(folder / "about.json") != about:
        shutil.rmtree(folder, ignore_errors=True)
        _write(folder / "about.json", about)
    result, scores, training = folder / "result.json", folder / "scores" / SCORES.file, folder / "training"
    if not result.is_file():
        config, tracks = folder / f"{candidate.name}.yaml", folder / "held_out.parquet"
        config.write_text(yaml.safe_dump(settings, sort_keys=False), encoding="utf-8")
        corpus.held_out.to_parquet(tracks)
        # What torch would otherwise decide by the machine, not by the cores that this process may use.
        environment = os.environ | {"OMP_NUM_THREADS": str(cores()), "MKL_NUM_THREADS": str(cores())}
        train = TrainJob(str(config), corpus.pairs, corpus.root, training, device="cpu")
        seconds = _run([*launch_command(1), *train.command], folder / "training.log", environment)
        score = ScoreJob(training / "checkpoint.pt", tracks, corpus.root, scores.parent, "cpu")
        _run([*launch_command(1), *score.command], folder / "scores.log", environment)
        _write(result, _outcome(training) | {"process_seconds": seconds})
    return _read(result), read_table(scores, SCORES)


def _outcome(training: Path) -> dict[str, Any]:
    from models.checkpoint import load_checkpoint

    curves, checkpoint = read_table(training / "curves.parquet"), load_checkpoint(training / "checkpoint.pt")
    return {
        "steps": int(curves["step"].max()),
        "kept_step": int(checkpoint.metrics["step"]),
        "validations": len(curves),
        "validation_usdr_db": float(checkpoint.metrics["validation_usdr_db"]),
        "training_seconds": float(curves["seconds"].max()),
        "git_commit": checkpoint.git_commit,
    }


def _timed_steps(candidate: Candidate) -> Speed:
    """The least time of a few forward and backward passes over noise: other work on the machine only adds to it."""
    import torch

    from data.audio import CHANNELS, SAMPLE_RATE
    from models.stft import Sound

    torch.set_num_threads(cores())
    training, noise = candidate.training, candidate.noise
    examples = training.batch_size * (1 + noise.profiles * len(noise.snrs_db))
    mixture = 0.1 * torch.randn(examples, CHANNELS, round(training.chunk_seconds * SAMPLE_RATE))
    network, loss = candidate.network.build(candidate.stft), candidate.loss.build()
    times = []
    for _ in range(PROBED_STEPS):
        started = perf_counter()
        X, Y = (Sound(network.stft, waveform=waveform) for waveform in (mixture, 0.5 * mixture))
        loss(network.estimate(X), Y, X).mean().backward()
        times.append(perf_counter() - started)
    return Speed(sum(parameter.numel() for parameter in network.parameters()), min(times))


def _run(command: list[str], log: Path, environment: dict[str, str]) -> float:
    """Run a command of the project, its output in `log`; returns the seconds it took."""
    log.parent.mkdir(parents=True, exist_ok=True)
    started = perf_counter()
    with open(log, "a", encoding="utf-8") as output:
        done = subprocess.run(command, cwd=PROJECT, env=environment, stdout=output, stderr=output, check=False)
    if done.returncode:
        last = log.read_text(encoding="utf-8", errors="replace")[-2000:]
        raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}:\n{last}")
    return perf_counter() - started


def _settings(candidate: Candidate) -> dict[str, Any]:
    # Described in other words, a candidate is still the same candidate.
    return candidate.model_dump(mode="json", exclude={"description"})


def _read(file: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(file.read_text()) if file.is_file() else {}
    return content


def _write(file: Path, content: dict[str, Any]) -> None:
    with publish(file) as partial:
        partial.write_text(json.dumps(content, indent=1) + "\n")
