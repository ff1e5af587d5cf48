"""`python -m models.validate CHECKPOINT`: a checkpoint's uSDR on validation tracks, in a process of its own.

Measured by the same function as during training, with the context that the checkpoint names, so that the numbers may
stand beside those that trainings leave.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from data.audio import SAMPLE_RATE
from data.chunks import rows_of
from data.command import run_command
from data.loopback import PAIRS
from data.tables import read_table
from models.contest import VALIDATION
from models.job import ValidateJob
from models.measuring import Log, measure


def validate_checkpoint(checkpoint: Path, pairs: pd.DataFrame, audio_root: Path, device: str) -> pd.DataFrame:
    """The uSDR of a checkpoint on every validation track of `pairs` (schema PAIRS): a table VALIDATION.

    Raises InputError where the checkpoint, the device or the audio cannot be used, and for an empty validation set.
    """
    from models.checkpoint import load_separator
    from models.training.validation import Validation, validate

    separator = load_separator(checkpoint, device)
    training, loss = separator.candidate.training, separator.candidate.loss.build()
    frames, rows = round(training.chunk_seconds * SAMPLE_RATE), rows_of(pairs, "validation", audio_root)
    tracks = validate(separator, loss, rows, frames, training.batch_size)
    return Validation(tuple(tracks)).table


def main(arguments: Iterable[str] | None = None) -> int:
    """Validate as the command line says; returns the exit code: 0, or 2 for bad input."""
    return run_command(lambda: _run(ValidateJob.parse(arguments)))


def _run(job: ValidateJob) -> int:
    def work(log: Log) -> None:
        frame = validate_checkpoint(job.checkpoint, read_table(job.tracks, PAIRS), job.audio_root, job.device)
        VALIDATION.write(job.output, frame)
        log(f"measured on {len(frame)} validation tracks: {frame['usdr_db'].mean():.2f} dB uSDR")

    return measure(job, work)


if __name__ == "__main__":
    sys.exit(main())
