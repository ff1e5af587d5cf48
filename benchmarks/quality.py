"""Candidates after the same time of training: who separates better, how sure that is, and by how much.

`python -m benchmarks.quality --work DIR [--minutes M] [--seeds N] [--candidates A,B,C] [--reference A]`. Every
candidate is trained N times, each time for M minutes of wall-clock time on the same cores, by the same trainer on the
same data, and scored on the held-out tracks. The minutes run from the first step on and include validation. Seeds come
outermost, so that a slow spell of the machine falls on all candidates alike. A run that was interrupted goes on with
what is missing.

Without `--storage`, the demo corpus is prepared in the work folder.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.intervals import Interval, Scores, interval
from benchmarks.reporting import arguments, tell
from data.command import run_command
from data.errors import InputError
from models.candidate import Candidate

OWN = ("aps360", "bandsplit")  # networks that are not a peer's
HEADER = (
    "candidate",
    "parameters",
    "steps",
    "validation uSDR, dB",
    "held-out uSDR, dB",
    "mean [95 %]",
    "against {reference} [95 %]",
)


@dataclass(frozen=True)
class Outcome:
    """A candidate's trainings: what each came to, and uSDR in dB `(seeds, tracks)` on the held-out tracks."""

    candidate: Candidate
    parameters: int
    trainings: Sequence[Mapping[str, Any]]
    scores: Scores

    @property
    def validation(self) -> float:
        """Mean uSDR on the validation tracks, dB."""
        return float(np.mean([training["validation_usdr_db"] for training in self.trainings]))

    @property
    def own(self) -> bool:
        """Whether the network is this project's, not a peer's."""
        return self.candidate.network.name in OWN

    def over(self, reference: Outcome) -> Interval:
        """By how much it is better than `reference`, paired by seed and track."""
        return interval(self.scores - reference.scores)


def usdr_table(scores: Sequence[pd.DataFrame]) -> Scores:
    """Scores of the same tracks after trainings with different seeds, as uSDR in dB `(seeds, tracks)`.

    Tracks without vocals have no uSDR and are left out. Raises InputError where none is left.
    """
    table = np.stack([frame.sort_values("track_id")["usdr_db"].to_numpy(dtype=float) for frame in scores])
    sung: Scores = table[:, np.isfinite(table).all(axis=0)]
    if not sung.size:
        raise InputError(
            "held-out tracks",
            expected="at least one with vocals",
            found=f"{table.shape[1]} without",
            remedy="give a storage root whose test or reserved tracks are sung",
        )
    return sung


def summary(outcomes: Sequence[Outcome], reference: Outcome, minutes: float) -> tuple[list[tuple[str, ...]], str]:
    """The rows of the table, best first, and the verdict on the best own candidate."""
    rows: list[tuple[str, ...]] = []
    for outcome in sorted(outcomes, key=lambda outcome: -outcome.scores.mean()):
        rows.append(
            (
                outcome.candidate.name,
                f"{outcome.parameters:,}",
                _listed([training["steps"] for training in outcome.trainings], "d"),
                _listed([training["validation_usdr_db"] for training in outcome.trainings]),
                _listed(outcome.scores.mean(axis=1)),
                str(interval(outcome.scores)),
                "-" if outcome is reference else f"{outcome.over(reference)}",
            )
        )
    own = [outcome for outcome in outcomes if outcome.own and outcome is not reference]
    seeds, tracks = reference.scores.shape
    over = f"{seeds} seeds, {tracks} tracks, {minutes:g} min each"
    if not own:
        return rows, f"ratio: none, for no own candidate stands beside {reference.candidate.name} ({over})"
    # Not the best of the held-out scores: that choice would flatter the one that was chosen.
    best = max(own, key=lambda outcome: outcome.validation)
    gain = best.over(reference)
    return rows, (
        f"ratio: {best.candidate.name}, of the own candidates the best on the validation tracks, is at "
        f"{gain.mean:+.2f} dB [{gain.low:+.2f}, {gain.high:+.2f}] against {reference.candidate.name} ({over})"
    )


def main(given: Sequence[str] | None = None) -> int:
    """Run the comparison; returns 0, or 2 for bad input."""
    return run_command(lambda: _compare(_parser().parse_args(given)))


def _compare(options: argparse.Namespace) -> int:
    if hasattr(os, "sched_setaffinity"):
        # Before torch is loaded, which counts the cores; the processes that are started inherit it.
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options.cores])

    # These load Dagster: after the command line was understood.
    from benchmarks import quality_runs as runs

    candidates = runs.known_candidates([name.strip() for name in options.candidates.split(",") if name.strip()])
    names = [candidate.name for candidate in candidates]
    if options.reference not in names:
        raise InputError(
            f"reference {options.reference}",
            expected=f"one of the candidates that are compared: {', '.join(names) or 'none'}",
            found=options.reference,
            remedy="add it to --candidates, or name another with --reference",
        )
    work: Path = options.work.absolute()
    corpus = runs.corpus_of(options.storage.absolute()) if options.storage else runs.demo_corpus(work / "storage")
    speeds = {c.name: runs.measured_speed(c, work / "speed" / f"{c.name}.json") for c in candidates}

    trainings: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    scores: dict[str, list[pd.DataFrame]] = {name: [] for name in names}
    for seed in range(options.seeds):
        for candidate in candidates if seed % 2 == 0 else reversed(candidates):
            speed = speeds[candidate.name]
            settings = runs.timed_settings(candidate, seed, options.minutes, speed.steps_an_epoch(options.minutes))
            folder = work / "runs" / f"seed-{seed}" / candidate.name
            training, scored = runs.trained_and_scored(candidate, settings, corpus, folder)
            trainings[candidate.name].append({"seed": seed, **training})
            scores[candidate.name].append(scored)
            print(
                f"seed {seed}, {candidate.name}: {training['steps']} steps in {training['training_seconds']:.0f} s, "
                f"held-out uSDR {usdr_table([scored]).mean():.2f} dB",
                flush=True,
            )
    outcomes = [
        Outcome(c, speeds[c.name].parameters, trainings[c.name], usdr_table(scores[c.name])) for c in candidates
    ]
    _tell(outcomes, options)
    return 0


def _tell(outcomes: Sequence[Outcome], options: argparse.Namespace) -> None:
    reference = next(outcome for outcome in outcomes if outcome.candidate.name == options.reference)
    header = [name.format(reference=options.reference) for name in HEADER]
    rows, verdict = summary(outcomes, reference, options.minutes)
    title = f"{options.minutes:g} minutes of training, {options.seeds} seeds"
    result = {
        "minutes": options.minutes,
        "reference": options.reference,
        "verdict": verdict,
        "candidates": {
            outcome.candidate.name: {
                "parameters": outcome.parameters,
                "trainings": list(outcome.trainings),
                "usdr_db": outcome.scores.tolist(),
                "mean": vars(interval(outcome.scores)),
                "against_reference": vars(outcome.over(reference)),
            }
            for outcome in outcomes
        },
    }
    tell(title, header, rows, verdict, result, options.json)
    if options.markdown:
        options.markdown.parent.mkdir(parents=True, exist_ok=True)
        lines = ["| " + " | ".join(cells) + " |" for cells in (header, ["---"] * len(header), *rows)]
        options.markdown.write_text("\n".join([*lines, "", verdict, ""]), encoding="utf-8")


def _listed(values: Sequence[float], form: str = ".2f") -> str:
    return ", ".join(format(value, form) for value in values)


def _parser() -> argparse.ArgumentParser:
    parser = arguments(__doc__ or "")
    parser.add_argument("--minutes", type=_positive, default=4.0, help="of each training (default: %(default)g)")
    parser.add_argument("--seeds", type=_count, default=3, help="trainings of each candidate (default: %(default)s)")
    parser.add_argument("--candidates", default="bandsplit,openunmix,toy", metavar="A,B", help="(default: %(default)s)")
    parser.add_argument("--reference", default="openunmix", help="who the others are compared with (%(default)s)")
    parser.add_argument("--cores", type=_count, default=2, help="that all trainings may use (default: %(default)s)")
    parser.add_argument("--storage", type=Path, help="a storage root with training pairs; without it, the demo's")
    parser.add_argument("--markdown", type=Path, help="file for the table")
    return parser


def _positive(text: str) -> float:
    value = float(text)
    if not (math.isfinite(value) and value > 0):
        raise argparse.ArgumentTypeError(f"{text} is not a positive number")
    return value


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a count from 1 on")
    return value


if __name__ == "__main__":
    sys.exit(main())
