"""Trained separators: one checkpoint per candidate, trained in a process of its own.

A training goes on in a folder that outlives a killed run, `separators/unfinished/<candidate>/<fingerprint>`, and
earlier checkpoints of a candidate stay in `separators/earlier/<candidate>/<fingerprint>`.
"""

import os
import shutil
from pathlib import Path
from typing import Any

import dagster as dg

from assets.launcher import Launcher
from assets.partitions import CANDIDATES
from assets.recording import Metadata, markdown_table, materialise, picture, upstream
from assets.training_recipes import LOOPBACK
from assets.training_set import read_manifest
from data import cache
from data.errors import InputError
from data.files import PARTIAL, discard, publish, publish_folder, sha256_of
from data.heard import HEARD, heard_by, heard_tracks
from data.layout import CHECKPOINT_FILE, CURVES_PICTURE_FILE, STATE_FILE, Layout
from data.loopback import PAIRS
from data.recipe import Recipe
from data.settings import Settings
from models.candidate import Candidate, candidate_names, candidate_path, load_candidate, write_candidate
from models.curves import CURVES
from models.job import TrainJob

GROUP = "separators"
CHECKPOINT = dg.AssetKey([GROUP, "checkpoint"])
CODE_VERSION = "3"
SHORT = 16  # characters of a fingerprint that name a folder


@dg.asset(
    key=CHECKPOINT,
    deps=[LOOPBACK],
    partitions_def=CANDIDATES,
    description="A trained separator with its curves; one partition per candidate, which is one YAML file in "
    "models/candidates.",
    kinds={"pytorch"},
    code_version=CODE_VERSION,
    pool="gpu",
)
def checkpoint(
    context: dg.AssetExecutionContext,
    settings: dg.ResourceParam[Settings],
    launcher: dg.ResourceParam[Launcher],
) -> dg.MaterializeResult[Any]:
    name = context.partition_key
    candidate = _candidate(settings, name)
    recipe = _recipe(settings, candidate)

    def work(folder: Path) -> dict[str, Any]:
        measured = _trained_before(context, settings, recipe, folder)
        if measured is None:
            measured = _train(context, settings, launcher, candidate, recipe, folder)
        keep_earlier(settings.root, name, settings.earlier_checkpoints)
        return measured

    result = materialise(context, settings.root, recipe=recipe, work=work, show=_show)
    # Only now: a run killed before this line finds its finished training again.
    discard(Layout(settings.root).unfinished(name))
    return result


def _trained_before(
    context: dg.AssetExecutionContext, settings: Settings, recipe: Recipe, folder: Path
) -> dict[str, Any] | None:
    """Fill `folder` from the earlier checkpoints, if one of them is of this recipe; what was measured of it."""
    layout = Layout(settings.root)
    earlier = layout.earlier(context.partition_key) / recipe.fingerprint[:SHORT]
    again = cache.recall(earlier, recipe.fingerprint)
    if again is None:
        return None
    context.log.info("trained before under the same settings and data: taken from the earlier checkpoints")
    _link(earlier, folder)
    if not HEARD.path(folder).is_file():  # from a version that did not keep it
        HEARD.write(folder, heard_tracks(PAIRS.read(layout.loopback), read_manifest(layout.root)))
    return again.measured


def _train(
    context: dg.AssetExecutionContext,
    settings: Settings,
    launcher: Launcher,
    candidate: Candidate,
    recipe: Recipe,
    folder: Path,
) -> dict[str, Any]:
    """Train, or go on where a training ended, and fill `folder`; what was measured."""
    root, name = settings.root, context.partition_key
    unfinished = Layout(root).unfinished(name) / recipe.fingerprint[:SHORT]
    pairs = _own_pairs(Layout(root), unfinished, recipe)
    # As it was when the recipe was made: the YAML may change before the training reads it.
    config = write_candidate(unfinished, candidate)
    job = TrainJob(str(config), pairs, root, unfinished, device=settings.device)
    licences = sorted(read_manifest(root)["licence"].unique())
    extras = {"fingerprints": dict(recipe.inputs), "licences": licences}
    launcher.launch(context, job, settings, what=f"training of {name}", extras=extras)
    _link(unfinished, folder)
    for file in (STATE_FILE, config.name):
        (folder / file).unlink()
    # Kept with the checkpoint: the YAML may change before somebody asks what these weights were trained with.
    return {"run": _run_name(folder), "settings": dict(recipe.parameters), **best_epoch(folder)}


def checkpoint_recipe(settings: Settings, name: str) -> Recipe:
    """What a candidate's checkpoint is made of: its settings as its YAML has them now, and today's training pairs.

    Raises InputError where the candidate cannot be read, or the pairs are missing or damaged.
    """
    return _recipe(settings, _candidate(settings, name))


def _candidate(settings: Settings, name: str) -> Candidate:
    return load_candidate(candidate_path(name, settings.candidates))


def _recipe(settings: Settings, candidate: Candidate) -> Recipe:
    return training_recipe(candidate.recorded, upstream(settings.root, LOOPBACK).version)


def candidate_versions(settings: Settings) -> dict[str, str]:
    """The settings of every candidate as its YAML has them now, a checksum each; words for one that cannot be read.

    They stand in the asset's code version, by which Dagster calls checkpoints stale: it has one for all partitions, so
    that all look stale when one candidate changed. Those that did not are found unchanged and trained no more.
    """
    versions = {}
    for name in candidate_names(settings.candidates):
        try:
            versions[name] = Recipe("", _candidate(settings, name).recorded, {}).fingerprint
        except InputError:
            versions[name] = "cannot be read"
    return versions


def training_recipe(parameters: dict[str, Any], pairs: str) -> Recipe:
    """What a training with these settings on training pairs of the data version `pairs` is made of."""
    return Recipe(CODE_VERSION, parameters, {"loopback": pairs})


def trained_on(record: cache.Record, pairs: str) -> bool:
    """Whether the checkpoint of a record was trained on the pairs of that data version, with whatever settings."""
    return record.fingerprint == training_recipe(record.measured["settings"], pairs).fingerprint


def heard_by_checkpoint(root: Path, folder: Path) -> Any:
    """What the checkpoint in `folder` has heard (table HEARD); None where nobody knows any more.

    Checkpoints from before this was kept were trained on today's pairs, or on what is gone.
    """
    heard = heard_by(folder)
    if heard is not None:
        return heard
    record, pairs = cache.recall(folder), cache.recall(Layout(root).loopback)
    of_today = record and pairs and "settings" in record.measured and trained_on(record, pairs.version)
    return heard_tracks(PAIRS.read(Layout(root).loopback), read_manifest(root)) if of_today else None


def best_epoch(folder: Path) -> dict[str, Any]:
    """Measurements of the epoch whose weights the checkpoint in `folder` holds, as plain values."""
    curves = CURVES.read(folder)
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
    layout = Layout(root)
    present = cache.recall(layout.checkpoint(name))
    if present is not None and count:
        with publish_folder(layout.earlier(name) / present.fingerprint[:SHORT]) as partial:
            _link(layout.checkpoint(name), partial)
    kept = sorted(layout.earlier(name).glob("[!.]*"), key=lambda folder: folder.stat().st_mtime_ns)
    for folder in kept[: len(kept) - count]:
        discard(folder)


def _own_pairs(layout: Layout, folder: Path, recipe: Recipe) -> Path:
    """The training pairs as a file of the training's own, for the training set may be made anew while it goes on.

    Beside it what the separator hears, and must never be scored on.
    """
    folder.mkdir(parents=True, exist_ok=True)
    record = upstream(layout.root, LOOPBACK)
    with publish(PAIRS.path(folder)) as partial:
        shutil.copyfile(PAIRS.path(layout.loopback), partial)
        if record.version != recipe.inputs["loopback"] or sha256_of(partial) != record.files[PAIRS.file].sha256:
            raise InputError(
                "training pairs",
                file=layout.loopback,
                expected="the pairs that stood when this training was asked for",
                found="others: training_set/loopback was made anew at this moment",
                remedy="start the training again",
            )
    HEARD.write(folder, heard_tracks(PAIRS.read(folder), read_manifest(layout.root)))
    return PAIRS.path(folder)


def _link(source: Path, target: Path) -> None:
    """Give the files below `source` a second name below `target`: no audio, no weights are copied."""
    unwanted = shutil.ignore_patterns(f"{PARTIAL}*")
    shutil.copytree(source, target, copy_function=os.link, dirs_exist_ok=True, symlinks=True, ignore=unwanted)


def _run_name(folder: Path) -> str:
    """The readable name of the run that wrote `folder`, which is that of its TensorBoard folder."""
    return next((path.name for path in (folder / "tensorboard").glob("*")), "")


def _show(folder: Path) -> Metadata:
    curves = CURVES.read(folder)
    return {
        "curves": picture((folder / CURVES_PICTURE_FILE).read_bytes(), "loss curves"),
        "epochs_table": dg.MetadataValue.md(markdown_table(curves)),
        "checkpoint": dg.MetadataValue.path(str(folder / CHECKPOINT_FILE)),
    }


ASSETS = [checkpoint]
