"""`python -m models.score CHECKPOINT`: separate and score the held-out tracks in a process of its own.

Also the scoring of the baselines, which need no network. What a score is stands in `models.evaluate`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from data import audio
from data.command import run_command
from data.tables import read_table
from models.evaluate import ICA, IDEAL_MASK, MIXTURE, SCORES, score_track, scores_frame
from models.ica import separate_ica
from models.job import ScoreJob
from models.masks import ideal_ratio_mask
from models.measures import MEASURES
from models.measuring import Log, measure

AUDIO_FOLDER = "audio"

Rows = list[dict[str, object]]


def audio_file(folder: Path, track_id: str) -> Path:
    """Where the separated vocals of a track lie in a folder of scores."""
    return folder / AUDIO_FOLDER / f"{track_id.replace('/', '--')}.wav"


def score_baselines(held_out: pd.DataFrame, root: Path, folder: Path, log: Log) -> pd.DataFrame:
    """Score the mixture itself, ICA, and the ideal ratio mask on every held-out track (schema SCORES).

    `held_out` has track_id, split, mixture_path, vocals_path (relative to `root`). Scores are written to
    `folder`, ICA's estimates of the reserved tracks to `folder/audio/`.
    """

    def methods(row: Any, mixture: audio.Audio, vocals: audio.Audio) -> Rows:
        about = {"track_id": row.track_id, "split": row.split, "mixture": mixture, "vocals": vocals}
        ica = separate_ica(mixture, vocals)
        if ica.estimate is not None:
            _keep(folder, row, ica.estimate)
        return [
            score_track(method=MIXTURE, estimate=mixture, **about),
            score_track(method=ICA, estimate=ica.estimate, note=ica.reason or ica.note, **about),
            score_track(method=IDEAL_MASK, estimate=ideal_ratio_mask(mixture, vocals), **about),
        ]

    return _score(held_out, root, folder, methods, log)


def score_checkpoint(
    checkpoint: Path, held_out: pd.DataFrame, root: Path, folder: Path, device: str, log: Log
) -> pd.DataFrame:
    """Separate every held-out track with a checkpoint and score it; files as `score_baselines` writes them.

    Raises InputError where checkpoint or device cannot be used.
    """
    # Torch takes seconds to load; the baselines do without.
    from models.checkpoint import load_separator
    from models.separate import separate

    separator = load_separator(checkpoint, device)

    def method(row: Any, mixture: audio.Audio, vocals: audio.Audio) -> Rows:
        estimate = separate(separator, mixture)
        _keep(folder, row, estimate)
        return [
            score_track(
                method=separator.candidate.name,
                track_id=row.track_id,
                split=row.split,
                mixture=mixture,
                vocals=vocals,
                estimate=estimate,
            )
        ]

    return _score(held_out, root, folder, method, log)


def _score(
    held_out: pd.DataFrame,
    root: Path,
    folder: Path,
    methods: Callable[[Any, audio.Audio, audio.Audio], Rows],
    log: Log,
) -> pd.DataFrame:
    rows: Rows = []
    for number, row in enumerate(held_out.itertuples(), start=1):
        mixture, _ = audio.read(root / str(row.mixture_path))
        vocals, _ = audio.read(root / str(row.vocals_path))
        rows += methods(row, mixture, vocals)
        log(f"scored {number} of {len(held_out)}: {row.track_id}: {_in_words(rows[-1])}")
    scores = scores_frame(rows)
    SCORES.write(folder, scores)
    return scores


def _in_words(row: dict[str, object]) -> str:
    first = MEASURES[0]
    value = row[first.column]
    told = f" {first.title} {value:.{first.digits}f} {first.unit}" if isinstance(value, float) else f": {row['note']}"
    return f"{row['method']}{told}"


def _keep(folder: Path, row: Any, estimate: audio.Audio) -> None:
    if row.split == "reserved":
        # An estimate may overshoot full scale; a floating-point file keeps what was scored.
        audio.write(audio_file(folder, row.track_id), estimate.astype(np.float32), subtype="FLOAT")


def main(arguments: Iterable[str] | None = None) -> int:
    """Score as the command line says; returns the exit code: 0, or 2 for bad input."""
    return run_command(lambda: _run(ScoreJob.parse(arguments)))


def _run(job: ScoreJob) -> int:
    def work(log: Log) -> None:
        score_checkpoint(job.checkpoint, read_table(job.tracks), job.audio_root, job.output, job.device, log)

    return measure(job, work)


if __name__ == "__main__":
    sys.exit(main())
