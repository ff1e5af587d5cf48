"""The facts of the championship, gathered from files; what they come to is decided in `models.championship`.

One of them is an asset: how good the standing champion is on today's validation tracks.
"""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import dagster as dg
import pandas as pd

from assets.ballot import LISTENING_TEST, vote_decision, voted_on
from assets.evaluation import GROUP
from assets.launcher import Launcher
from assets.recording import Metadata, markdown_table, materialise, upstream
from assets.separators import CHECKPOINT, heard_by_checkpoint, trained_on
from assets.separators import CODE_VERSION as TRAINING_CODE
from assets.training_recipes import LOOPBACK
from assets.training_set import artist_keys, read_manifest, same_recordings
from data import cache
from data.errors import InputError, os_error
from data.heard import heard_tracks, seen_tracks
from data.layout import CHAMPION_FILE, CHECKPOINT_FILE, Layout
from data.loopback import PAIRS
from data.recipe import Recipe
from data.settings import Settings
from data.text import one_line
from models.candidate import candidate_names
from models.championship import Facts, Measured, Trained, Training, Verdict, challenger, contested, decide, opponent
from models.contest import VALIDATION, same_validation, validation_frame
from models.job import ValidateJob

CHAMPION_VALIDATION = dg.AssetKey([GROUP, "champion_validation"])
CHAMPION = dg.AssetKey([GROUP, "champion"])
_CODE_VERSION = "3"


@dg.asset(
    key=CHAMPION_VALIDATION,
    deps=[LOOPBACK, CHECKPOINT, LISTENING_TEST],
    description="uSDR of the standing champion on today's validation tracks: its own from training where these are "
    "the same audio, else measured again with its checkpoint. Empty where it has no challenger.",
    kinds={"pytorch", "parquet"},
    code_version=_CODE_VERSION,
    pool="gpu",
)
def champion_validation(
    context: dg.AssetExecutionContext,
    settings: dg.ResourceParam[Settings],
    launcher: dg.ResourceParam[Launcher],
) -> dg.MaterializeResult[Any]:
    root, facts = settings.root, gather_facts(settings)
    best, standing = challenger(facts), facts.standing

    def work(folder: Path) -> dict[str, Any]:
        if standing is None or (best and best.fingerprint == standing.fingerprint):
            VALIDATION.write(folder, validation_frame({}))
            return {"champion": "", "fingerprint": "", "how": "nobody has to be compared with a champion"}
        measured, own = {"champion": standing.name, "fingerprint": standing.fingerprint}, Layout(root).champion
        if _measured_alike(root):
            shutil.copyfile(VALIDATION.path(own), VALIDATION.path(folder))
            return measured | {"how": "from its training, on the same tracks"}
        job = ValidateJob(own / CHECKPOINT_FILE, PAIRS.path(Layout(root).loopback), root, folder, settings.device)
        launcher.launch(context, job, settings, what="validation of the champion")
        return measured | {"how": "measured again, on today's tracks"}

    recipe = champion_validation_recipe(settings, facts)
    return materialise(context, root, recipe=recipe, work=work, show=_show_validation)


def champion_validation_recipe(settings: Settings, facts: Facts | None = None) -> Recipe:
    """What the champion's scores are made of: the champion, where it has a challenger, and the validation tracks.

    `facts` are those of the championship, for whoever has gathered them.
    """
    pairs = _pairs(settings.root)
    rows = pairs[pairs["split"] == "validation"].sort_values("track_id", ignore_index=True)
    inputs = {"champion": opponent(facts or gather_facts(settings)), "validation": PAIRS.version(rows)}
    return Recipe(_CODE_VERSION, {}, inputs)


def verdict(settings: Settings, facts: Facts | None = None) -> Verdict | None:
    """Who ought to be champion: `models.championship.decide` of `facts`, those of today where they are left out.

    Raises InputError where the champion was not measured on today's validation tracks although it has to be.
    """
    facts = facts or gather_facts(settings)
    return decide(replace(facts, measured=_measured(settings)) if contested(facts) else facts)


def gather_facts(settings: Settings) -> Facts:
    """What a verdict goes by, without scores of the champion, which only a contest asks for (`contested`).

    Raises InputError where training pairs are missing, or something that is there cannot be read.
    """
    root, layout, pairs = settings.root, Layout(settings.root), upstream(settings.root, LOOPBACK).version
    ballot, today = voted_on(root), candidate_names(settings.candidates)
    trained = {}
    for name in dict.fromkeys([*today, *ballot, *([settings.champion] if settings.champion else [])]):
        folder = layout.checkpoint(name)
        if record := cache.recall(folder):
            validation = VALIDATION.read(folder) if VALIDATION.file in record.files else None
            contends = name in today and validation is not None and trained_on(record, pairs)
            trained[name] = Training(record.fingerprint, validation, contends)
    return Facts(trained, standing_champion(root), vote_decision(settings), ballot, settings.champion)


def standing_champion(root: Path) -> Trained | None:
    """The champion as its files stand; None where there is none, or where its files are no longer whole."""
    folder = Layout(root).champion
    if cache.recall(folder) is None:
        return None
    try:
        content = json.loads((folder / CHAMPION_FILE).read_text(encoding="utf-8"))
        told = [content["candidate"], content["fingerprint"], content["reason"], content.get("predecessor", "")]
        if not all(isinstance(text, str) for text in told):
            raise TypeError("values that are no text")
    except OSError as error:
        raise os_error(error, "champion", file=folder / CHAMPION_FILE) from error
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        raise InputError(
            "champion",
            file=folder / CHAMPION_FILE,
            expected="what evaluation/champion wrote",
            found=f"a damaged file ({one_line(error)[:80]})",
            remedy=f"remove the folder {folder} and materialise evaluation/champion again",
        ) from error
    return Trained(*told)


def _measured(settings: Settings) -> Measured:
    """The scores that stand in evaluation/champion_validation. Raises InputError where there are none."""
    folder, measured = Layout(settings.root).champion_validation, upstream(settings.root, CHAMPION_VALIDATION).measured
    seen = _seen_by_champion(settings)
    return Measured(measured["champion"], measured["fingerprint"], VALIDATION.read(folder), folder, seen)


def _seen_by_champion(settings: Settings) -> dict[str, str]:
    """Today's validation tracks that the champion was trained on, with the reason.

    Where nobody knows what it was trained on, it keeps its scores: they can only flatter it.
    """
    root, own = settings.root, Layout(settings.root).champion
    heard = heard_by_checkpoint(root, own)
    if heard is None and PAIRS.path(own).is_file():
        heard = heard_tracks(PAIRS.read(own), read_manifest(root))
    if heard is None:
        return {}
    today = _pairs(root)
    tracks = today[today["split"] == "validation"].merge(read_manifest(root)[["track_id", "artist"]], on="track_id")
    # Both separators were chosen by tracks that they were validated on: that is no one's advantage.
    return seen_tracks(tracks, heard[heard["split"] == "train"], same_recordings(root), artist_keys(settings))


def _measured_alike(root: Path) -> bool:
    """Whether the champion's own scores from its training are what measuring it today would give."""
    own = Layout(root).champion
    # Another version of the training code may have measured otherwise than today's candidates are.
    alike = upstream(root, CHAMPION).measured.get("training_code") == TRAINING_CODE
    kept = alike and all(table.path(own).is_file() for table in (VALIDATION, PAIRS))
    return kept and same_validation(_pairs(root), PAIRS.read(own))


def _pairs(root: Path) -> pd.DataFrame:
    upstream(root, LOOPBACK)
    return PAIRS.read(Layout(root).loopback)


def _show_validation(folder: Path) -> Metadata:
    table = VALIDATION.read(folder)
    return {"tracks": dg.MetadataValue.md(markdown_table(table) if len(table) else "none")}


ASSETS = [champion_validation]
