"""Scores of candidates and baselines on the held-out tracks, side by side.

A candidate is scored on the tracks that are held out today and that its checkpoint does not know from training, by what
that checkpoint has heard itself. Numbers stand side by side only over tracks that all have in common.
"""

from pathlib import Path
from typing import Any

import dagster as dg
import pandas as pd
import pyarrow as pa

from assets.launcher import Launcher
from assets.partitions import CANDIDATES
from assets.recording import (
    Metadata,
    markdown_table,
    materialise,
    picture,
    table_metadata,
    upstream,
    with_metadata,
)
from assets.separators import CHECKPOINT, heard_by_checkpoint
from assets.training_recipes import DUPLICATES, MANIFEST, SPLITS
from assets.training_set import artist_keys, read_manifest, read_splits, same_recordings
from data import cache
from data.errors import InputError
from data.heard import seen_tracks
from data.layout import CHECKPOINT_FILE, Layout
from data.manifest import MANIFEST as MANIFEST_TABLE
from data.recipe import Recipe
from data.settings import Settings
from data.splits import held_out, shared_artists
from data.tables import Table, column
from models.candidate import candidate_names
from models.evaluate import SCORES as SCORES_TABLE
from models.evaluate import summarise
from models.fairness import FairScores, Scored, side_by_side, told, why_outdated
from models.job import ScoreJob
from models.measures import added

GROUP = "evaluation"
ICA_BASELINE = dg.AssetKey([GROUP, "ica_baseline"])
SCORES = dg.AssetKey([GROUP, "scores"])
_SCORES_CODE, _BASELINE_CODE = "3", "3"

# The tracks that were scored, as they were then.
SCORED = Table(
    "held_out.parquet",
    pa.schema(
        [
            *(MANIFEST_TABLE.schema.field(name) for name in ("track_id", "dataset", "title", "artist", "licence")),
            column("split", pa.string(), "test or reserved"),
            *(
                MANIFEST_TABLE.schema.field(f"{kind}_{part}")
                for kind in ("mixture", "vocals")
                for part in ("path", "sha256")
            ),
        ]
    ),
)


@dg.asset(
    key=ICA_BASELINE,
    deps=[SPLITS, MANIFEST],
    description="The report's baseline, FastICA on the stereo channels, scored like every candidate; with the mixture "
    "itself as the floor and the ideal ratio mask as the ceiling of masking.",
    kinds={"numpy", "parquet"},
    code_version=_BASELINE_CODE,
)
def ica_baseline(context: dg.AssetExecutionContext, settings: dg.ResourceParam[Settings]) -> dg.MaterializeResult[Any]:
    tracks = held_out_tracks(settings.root)

    def work(folder: Path) -> dict[str, Any]:
        from models.score import score_baselines

        SCORED.write(folder, tracks)
        score_baselines(tracks, settings.root, folder, context.log.info)
        return {"held_out_tracks": len(tracks)}

    return materialise(context, settings.root, recipe=ica_recipe(settings, tracks), work=work, show=_show_scores)


@dg.asset(
    key=SCORES,
    deps=[CHECKPOINT, SPLITS, MANIFEST, DUPLICATES],
    partitions_def=CANDIDATES,
    description="Per-track scores of a candidate on the held-out tracks (test and reserved) that it does not know from "
    "training, and its separated audio of the reserved tracks.",
    kinds={"pytorch", "parquet"},
    code_version=_SCORES_CODE,
    pool="gpu",
)
def scores(
    context: dg.AssetExecutionContext,
    settings: dg.ResourceParam[Settings],
    launcher: dg.ResourceParam[Launcher],
) -> dg.MaterializeResult[Any]:
    root, name = settings.root, context.partition_key
    upstream(root, CHECKPOINT, name)
    tracks, seen = fair_tracks(settings, name)
    left_out = told([(name, track, why) for track, why in seen.items()])
    for sentence in left_out:
        context.log.warning(f"left out of the scores: {sentence}")
    if tracks.empty:
        raise InputError(
            f"evaluation/scores [{name}]",
            expected="a held-out track that the separator does not know from training",
            found=f"none of {len(seen)}: {'; '.join(left_out)}",
            remedy="train it again on today's training set, or add tracks of other artists",
        )

    def work(folder: Path) -> dict[str, Any]:
        SCORED.write(folder, tracks)
        checkpoint = Layout(root).checkpoint(name) / CHECKPOINT_FILE
        job = ScoreJob(checkpoint, SCORED.path(folder), root, folder, settings.device)
        launcher.launch(context, job, settings, what=f"scoring of {name}")
        return {"held_out_tracks": len(tracks)}

    result = materialise(context, root, recipe=scores_recipe(settings, name, tracks), work=work, show=_show_scores)
    return with_metadata(result, {"left_out_tracks": len(seen), "left_out": "\n".join(left_out) or "none"})


def fair_scores(settings: Settings) -> FairScores:
    """The scores of the baselines and of every candidate, as far as they may stand side by side today.

    Raises InputError where there are no held-out tracks, or no baseline yet.
    """
    root, layout = settings.root, Layout(settings.root)
    today = held_out_tracks(root)
    upstream(root, ICA_BASELINE)
    trained = [name for name in candidate_names(settings.candidates) if layout.checkpoint(name).is_dir()]
    why = {name: why_not_scored(root, name) for name in trained}
    candidates = {name: _scored(layout.scores(name)) for name in trained if why[name] is None}
    known = {name: known_to(settings, name) for name in candidates}
    absent = {name: reason for name, reason in why.items() if reason is not None}
    shared = shared_artists(read_splits(root))
    return side_by_side(today, _scored(layout.ica_baseline), candidates, known, absent, shared)


def why_not_scored(root: Path, name: str) -> str | None:
    """Why the scores of a candidate, and its audio, do not stand for its checkpoint; None where they do."""
    layout = Layout(root)
    return why_outdated(cache.recall(layout.checkpoint(name)), cache.recall(layout.scores(name)), _SCORES_CODE)


def _scored(folder: Path) -> Scored:
    return Scored(SCORES_TABLE.read(folder), SCORED.read(folder))


def known_to(settings: Settings, name: str) -> dict[str, str]:
    """The held-out tracks of today that a candidate's checkpoint knows from its training, with the reason.

    Of a checkpoint from before it was kept what it has heard, all of them, unless it was trained on today's pairs.
    """
    root, tracks = settings.root, held_out_tracks(settings.root)
    heard = heard_by_checkpoint(root, Layout(root).checkpoint(name))
    if heard is None:
        return dict.fromkeys(tracks["track_id"], "may know it: what it was trained on is not recorded")
    return seen_tracks(tracks, heard, same_recordings(root), artist_keys(settings))


def fair_tracks(settings: Settings, name: str) -> tuple[pd.DataFrame, dict[str, str]]:
    """The held-out tracks that a candidate does not know (table SCORED), and those that it knows, with the reason."""
    tracks, seen = held_out_tracks(settings.root), known_to(settings, name)
    return tracks[~tracks["track_id"].isin(list(seen))].reset_index(drop=True), seen


def ica_recipe(settings: Settings, tracks: pd.DataFrame | None = None) -> Recipe:
    """What the baselines' scores are made of. `tracks` are the held-out ones, for whoever has read them."""
    scored = held_out_tracks(settings.root) if tracks is None else tracks
    return Recipe(_BASELINE_CODE, added(), {"held_out": SCORED.version(scored)})


def scores_recipe(settings: Settings, name: str, tracks: pd.DataFrame | None = None) -> Recipe:
    """What a candidate's scores are made of: its checkpoint, and the held-out tracks that it does not know.

    `tracks` are these, for whoever has looked (`fair_tracks`).
    """
    scored = fair_tracks(settings, name)[0] if tracks is None else tracks
    inputs = {"held_out": SCORED.version(scored), "checkpoint": upstream(settings.root, CHECKPOINT, name).version}
    return Recipe(_SCORES_CODE, added(), inputs)


def held_out_tracks(root: Path) -> pd.DataFrame:
    """The tracks that separators are scored on (table SCORED). Raises InputError where there are none."""
    tracks = held_out(read_manifest(root), read_splits(root))
    if tracks.empty:
        raise InputError(
            "evaluation",
            expected="at least one test or reserved track",
            found="none in training_set/splits",
            remedy="add tracks, of more artists where ISOLATION_SPLIT_BY=artist, or raise ISOLATION_TEST_SHARE",
        )
    return tracks[SCORED.names]


def _show_scores(folder: Path) -> Metadata:
    from models.report.figures import scores_figure

    table = SCORES_TABLE.read(folder)
    summary = dg.MetadataValue.md(markdown_table(summarise(table)))
    return {"summary": summary, "scores": picture(scores_figure(table), "scores")} | table_metadata(table, SCORES_TABLE)


ASSETS = [ica_baseline, scores]
PARAMETERS = {key: lambda _: added() for key in (ICA_BASELINE, SCORES)}
