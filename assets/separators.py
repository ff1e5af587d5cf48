"""Trained separators: one checkpoint per candidate, trained in a process of its own.

CUDA never starts inside a Dagster process; progress comes back through Dagster Pipes. A training goes on in a folder
that outlives a killed run, `separators/unfinished/<candidate>/<fingerprint>`, and earlier checkpoints of a candidate
stay in `separators/earlier/<candidate>/<fingerprint>`.
"""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dagster as dg

from assets.partitions import CANDIDATES
from assets.recording import OWNERS, Metadata, folder_of, markdown_table, materialise, picture, upstream
from assets.training_set import LOOPBACK, MANIFEST
from data import cache
from data.files import PARTIAL, publish_folder
from data.loopback import PAIRS_FILE
from data.manifest import MANIFEST_FILE
from data.settings import Settings
from data.tables import read_table
from models.candidate import Candidate, candidate_path, load_candidate
from models.launch import launch_command

GROUP = "separators"
CHECKPOINT = dg.AssetKey([GROUP, "checkpoint"])
CHECKPOINT_FILE = "checkpoint.pt"
CURVES_FILE = "curves.parquet"
CURVES_PICTURE = "curves.png"
STATE_FILE = "state.pt"
UNFINISHED, EARLIER = "unfinished", "earlier"  # folders beside `checkpoint`
SHORT = 16  # characters of a fingerprint that name a folder
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
    code_version="3",
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
    parameters = training_parameters(candidate)
    inputs = {"loopback": upstream(root, LOOPBACK).version}
    fingerprint = training_fingerprint(parameters, inputs["loopback"])

    def work(folder: Path) -> dict[str, Any]:
        again = cache.recall(_earlier(root, name, fingerprint), fingerprint)
        if again is not None:
            context.log.info("trained before under the same settings and data: taken from the earlier checkpoints")
            _link(_earlier(root, name, fingerprint), folder)
            keep_earlier(root, name, settings.earlier_checkpoints)
            return again.measured
        unfinished = root / GROUP / UNFINISHED / name / fingerprint[:SHORT]
        manifest = read_table(folder_of(root, MANIFEST) / MANIFEST_FILE)
        pairs = folder_of(root, LOOPBACK) / PAIRS_FILE
        command = [*launch_command(settings.training_processes), "models.train", str(file), "--pairs", str(pairs)]
        command += ["--audio-root", str(root), "--output", str(unfinished), "--device", settings.device]
        extras = {
            "fingerprints": inputs,
            "licences": sorted(manifest["licence"].unique()),
            "launcher": os.getpid(),
        }
        process.run(context=context.op_execution_context, command=command, cwd=str(PROJECT), extras=extras)
        _link(unfinished, folder)
        (folder / STATE_FILE).unlink()
        keep_earlier(root, name, settings.earlier_checkpoints)
        # Kept with the checkpoint: the YAML may change before somebody asks what these weights were trained with.
        return {"run": _run_name(folder), "settings": parameters, **best_epoch(folder)}

    result = materialise(context, root, parameters=parameters, inputs=inputs, work=work, show=_show)
    # Only now: a run killed before this line finds its finished training again.
    shutil.rmtree(root / GROUP / UNFINISHED / name, ignore_errors=True)
    return result


def training_parameters(candidate: Candidate) -> dict[str, Any]:
    """The settings that a training goes by; described in other words, a candidate is still the same candidate."""
    return candidate.model_dump(mode="json", exclude={"description"})


def training_fingerprint(parameters: Mapping[str, Any], pairs: str) -> str:
    """The fingerprint of a training with these parameters on training pairs of the data version `pairs`."""
    code_version = checkpoint.code_versions_by_key[CHECKPOINT] or ""
    return cache.fingerprint(code_version=code_version, parameters=parameters, inputs={"loopback": pairs})


def trained_on(record: cache.Record, pairs: str) -> bool:
    """Whether the checkpoint of a record was trained on the pairs of that data version, with whatever settings."""
    return record.fingerprint == training_fingerprint(record.measured["settings"], pairs)


def best_epoch(folder: Path) -> dict[str, Any]:
    """Measurements of the epoch whose weights the checkpoint in `folder` holds, as plain values."""
    curves = read_table(folder / CURVES_FILE)
    best = curves.loc[curves["kept"].idxmax()]
    return {
        "epochs": len(curves),
        "steps": int(curves["step"].max()),
        "skipped_steps": int(curves["skipped"].sum()),
        "training_seconds": round(float(curves["seconds"].max()), 1),
        "best_epoch": int(best["epoch"]),
        "best_validation_loss": float(best["validation_loss"]),
        "best_validation_usdr_db": float(best["validation_usdr_db"]),
    }


def keep_earlier(root: Path, name: str, count: int) -> None:
    """Keep a candidate's present checkpoint under its fingerprint, and of all that are kept the `count` newest."""
    present = cache.recall(folder_of(root, CHECKPOINT, name))
    if present is not None and count:
        with publish_folder(_earlier(root, name, present.fingerprint)) as partial:
            _link(folder_of(root, CHECKPOINT, name), partial)
    kept = sorted((root / GROUP / EARLIER / name).glob("[!.]*"), key=lambda folder: folder.stat().st_mtime_ns)
    for folder in kept[: len(kept) - count]:
        shutil.rmtree(folder)


def _earlier(root: Path, name: str, fingerprint: str) -> Path:
    return root / GROUP / EARLIER / name / fingerprint[:SHORT]


def _link(source: Path, target: Path) -> None:
    """Give the files below `source` a second name below `target`: no audio, no weights are copied."""
    unwanted = shutil.ignore_patterns(f"{PARTIAL}*")
    shutil.copytree(source, target, copy_function=os.link, dirs_exist_ok=True, symlinks=True, ignore=unwanted)


def _run_name(folder: Path) -> str:
    """The readable name of the run that wrote `folder`, which is that of its TensorBoard folder."""
    return next((path.name for path in (folder / "tensorboard").glob("*")), "")


def _show(folder: Path) -> Metadata:
    curves = read_table(folder / CURVES_FILE)
    return {
        "curves": picture((folder / CURVES_PICTURE).read_bytes(), "loss curves"),
        "epochs_table": dg.MetadataValue.md(markdown_table(curves)),
        "checkpoint": dg.MetadataValue.path(str(folder / CHECKPOINT_FILE)),
    }


ASSETS = [checkpoint]
