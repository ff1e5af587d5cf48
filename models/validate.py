"""`python -m models.validate CHECKPOINT`: a checkpoint's uSDR on validation tracks, in a process of its own.

Measured exactly as during training, so that the numbers may stand beside those that trainings leave.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from data.audio import SAMPLE_RATE
from data.chunks import rows_of
from data.errors import InputError
from data.loopback import PAIRS
from data.tables import read_table, write_table
from models.contest import VALIDATION, VALIDATION_FILE
from models.reporters import open_launcher
from models.train import BAD_INPUT


def validate_checkpoint(checkpoint: Path, pairs: pd.DataFrame, audio_root: Path, device: str) -> pd.DataFrame:
    """The uSDR of a checkpoint on every validation track of `pairs` (schema PAIRS): a table VALIDATION.

    Raises InputError where the checkpoint, the device or the audio cannot be used, and for an empty validation set.
    """
    from models.checkpoint import load_separator
    from models.losses import build_loss
    from models.training.validation import Validation, validate

    separator = load_separator(checkpoint, device)
    training, loss = separator.candidate.training, build_loss(separator.candidate)
    frames, rows = round(training.chunk_seconds * SAMPLE_RATE), rows_of(pairs, "validation", audio_root)
    tracks = validate(separator.network, loss, rows, frames, training.batch_size, separator.device)
    return Validation(tuple(tracks)).table


def main(arguments: Iterable[str] | None = None) -> int:
    """Validate as the command line says; returns the exit code: 0, or 2 for bad input."""
    parser = argparse.ArgumentParser(prog="python -m models.validate", description="Validate a checkpoint.")
    parser.add_argument("checkpoint", type=Path, metavar="CHECKPOINT")
    parser.add_argument("--pairs", type=Path, required=True, metavar="PARQUET", help="the training pairs")
    parser.add_argument("--audio-root", type=Path, required=True, metavar="DIR", help="where their paths start from")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="where the table is written")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps")
    options = parser.parse_args(None if arguments is None else list(arguments))
    try:
        pairs = read_table(options.pairs, PAIRS)
        with open_launcher() as (launcher, _):
            frame = validate_checkpoint(options.checkpoint, pairs, options.audio_root, options.device)
            write_table(options.output / VALIDATION_FILE, frame, VALIDATION)
            launcher.log(f"measured on {len(frame)} validation tracks: {frame['usdr_db'].mean():.2f} dB uSDR")
    except InputError as error:
        sys.stderr.write(f"{error}\n")
        return BAD_INPUT
    return 0


if __name__ == "__main__":
    sys.exit(main())
