"""Loss curves: one table row an epoch. The picture of them stands in `models.report.figures`."""

from __future__ import annotations

import pyarrow as pa

from data.tables import Table

# train_loss: mean over the epoch's steps; skipped: its steps without a finite gradient, which were left out;
# seconds: of training so far; kept: the epoch whose weights are in the checkpoint.
CURVES = Table(
    "curves.parquet",
    pa.schema(
        [
            ("epoch", pa.int64()),
            ("step", pa.int64()),
            ("train_loss", pa.float64()),
            ("validation_loss", pa.float64()),
            ("validation_usdr_db", pa.float64()),
            ("learning_rate", pa.float64()),
            ("skipped", pa.int64()),
            ("seconds", pa.float64()),
            ("kept", pa.bool_()),
        ]
    ),
)
