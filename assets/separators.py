"""Trained separators: one checkpoint per candidate, trained in a process of its own.

CUDA never starts inside a Dagster process; progress comes back through Dagster Pipes.
"""

import sys
from pathlib import Path
from typing import Any

import dagster as dg

from assets.partitions import CANDIDATES
from assets.recording import OWNERS, Metadata, folder_of, markdown_table, materialise, picture, upstream
from assets.training_set import LOOPBACK, MANIFEST
from data.loopback import PAIRS_FILE
from data.manifest import MANIFEST_FILE
from data.settings import Settings
from data.tables import read_table
from models.candidate import candidate_path, load_candidate

GROUP = "separators"
CHECKPOINT = dg.AssetKey([GROUP, "checkpoint"])
CHECKPOINT_FILE = "checkpoint.pt"
CURVES_FILE = "curves.parquet"
CURVES_PICTURE = "curves.png"
PROJECT = Path(__file__).resolve().parent.parent


@dg.asset(
    key=CHECKPOINT,
    group_name=GROUP,
    owners=OWNERS,
    deps=[LOOPBACK],
    partitions_def=CANDIDATES,
    description="A trained separator with its curves; one partition per candidate, which is one YAML file in "
    "models/candidates.",
    kinds={"pytorch"},
    code_version="1",
    pool="gpu",
)
def checkpoint(
    context: dg.AssetExecutionContext,
    settings: dg.ResourceParam[Settings],
    process: dg.PipesSubprocessClient,
) -> dg.MaterializeResult[Any]:
    root, name = settings.root, context.partition_key
    file = candidate_path(name, settings.candidates)
    candidate = load_candidate(file)
    # Described in prose, a candidate is still the same candidate.
    parameters = candidate.model_dump(mode="json", exclude={"description"})
    inputs = {"loopback": upstream(root, LOOPBACK).version}

    def work(folder: Path) -> dict[str, Any]:
        manifest = read_table(folder_of(root, MANIFEST) / MANIFEST_FILE)
        pairs = folder_of(root, LOOPBACK) / PAIRS_FILE
        command = [sys.executable, "-m", "models.train", str(file), "--pairs", str(pairs)]
        command += ["--audio-root", str(root), "--output", str(folder), "--device", settings.device]
        extras = {"fingerprints": inputs, "licences": sorted(manifest["licence"].unique())}
        process.run(context=context.op_execution_context, command=command, cwd=str(PROJECT), extras=extras)
        # Kept with the checkpoint: the YAML may change before somebody asks what these weights were trained with.
        return {"settings": parameters, **best_epoch(folder)}

    return materialise(context, root, parameters=parameters, inputs=inputs, work=work, show=_show)


def best_epoch(folder: Path) -> dict[str, Any]:
    """Measurements of the epoch whose weights the checkpoint in `folder` holds, as plain values."""
    curves = read_table(folder / CURVES_FILE)
    best = curves.loc[curves["validation_loss"].idxmin()]
    return {
        "epochs": len(curves),
        "steps": int(curves["step"].max()),
        "training_seconds": round(float(curves["seconds"].max()), 1),
        "best_epoch": int(best["epoch"]),
        "best_validation_loss": float(best["validation_loss"]),
        "best_validation_usdr_db": float(best["validation_usdr_db"]),
    }


def _show(folder: Path) -> Metadata:
    curves = read_table(folder / CURVES_FILE)
    return {
        "curves": picture((folder / CURVES_PICTURE).read_bytes(), "loss curves"),
        "epochs_table": dg.MetadataValue.md(markdown_table(curves)),
        "checkpoint": dg.MetadataValue.path(str(folder / CHECKPOINT_FILE)),
    }


ASSETS = [checkpoint]
