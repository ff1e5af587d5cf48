"""Loss curves: one table row an epoch, and the picture of them."""

from __future__ import annotations

import io

import pandas as pd
import pyarrow as pa
from matplotlib.figure import Figure

# train_loss: mean over the epoch's steps; skipped: its steps without a finite gradient, which were left out;
# seconds: of training so far; kept: the epoch whose weights are in the checkpoint.
CURVES = pa.schema(
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
)


def draw_curves(curves: pd.DataFrame, title: str) -> bytes:
    """A PNG of losses (left axis) and validation uSDR in dB (right axis) against steps; the kept epoch is marked."""
    figure = Figure(figsize=(7, 4), dpi=110, layout="constrained")
    losses = figure.subplots()
    best = curves.loc[curves["kept"].idxmax()]
    losses.plot(curves["step"], curves["train_loss"], color="tab:blue", marker=".", label="training loss")
    losses.plot(curves["step"], curves["validation_loss"], color="tab:orange", marker=".", label="validation loss")
    losses.plot(
        best["step"], best["validation_loss"], "o", color="tab:orange", markersize=10, fillstyle="none", label="kept"
    )
    losses.set(xlabel="step", ylabel="loss", title=title)
    decibels = losses.twinx()
    decibels.plot(
        curves["step"], curves["validation_usdr_db"], color="tab:green", linestyle="--", label="validation uSDR"
    )
    decibels.set_ylabel("uSDR, dB")
    handles = [*losses.get_legend_handles_labels()[0], *decibels.get_legend_handles_labels()[0]]
    losses.legend(handles=handles, loc="center right", fontsize="small")
    losses.grid(alpha=0.3)
    picture = io.BytesIO()
    figure.savefig(picture, format="png")
    return picture.getvalue()
