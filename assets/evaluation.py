"""Scores of candidates and baselines on the held-out tracks, side by side.

A candidate is scored on the tracks that are held out today and that its checkpoint does not know from training, by what
that checkpoint has heard itself. Numbers stand side by side only over tracks that all have in common.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import pandas as pd
import pyarrow as pa

from assets.launcher import Launcher
from assets.partitions import CANDIDATES
from assets.recording import (
    OWNERS,
    Metadata,
    markdown_table,
    materialise,
    picture,
    table_metadata,
    upstream,
    with_metadata,
)
from assets.separators import CHECKPOINT, heard_by_checkpoint
from assets.training_set import DUPLICATES, MANIFEST, SPLITS, artist_keys, read_manifest, read_splits, same_recordings
from data import cache
from data.demo.licence import is_generated
from data.errors import InputError
from data.heard import seen_tracks
from data.layout import CHECKPOINT_FILE, Layout
from data.manifest import MANIFEST as MANIFEST_TABLE
from data.recipe import Recipe, listing
from data.settings import Settings
from data.splits import held_out
from data.tables import Table, column
from models.evaluate import BASELINES, coverage, summarise
from models.evaluate import SCORES as SCORES_TABLE
from models.fairness import common_tracks, known_scores, told, trained_on_scored
from models.job import ScoreJob

GROUP = "evaluation"
ICA_BASELINE = dg.AssetKey([GROUP, "ica_baseline"])
SCORES = dg.AssetKey([GROUP, "scores"])
LEADERBOARD = dg.AssetKey([GROUP, "leaderboard"])
_SCORES_CODE, _BASELINE_CODE, _BOARD_CODE = "3", "3", "4"

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
    group_name=GROUP,
    owners=OWNERS,
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

    recipe = Recipe(_BASELINE_CODE, {}, {"held_out": SCORED.version(tracks)})
    return materialise(context, settings.root, recipe=recipe, work=work, show=_show_scores)


@dg.asset(
    key=SCORES,
    group_name=GROUP,
    owners=OWNERS,
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
    every, seen = held_out_tracks(root), known_to(settings, name)
    tracks = every[~every["track_id"].isin(list(seen))].reset_index(drop=True)
    left_out = told([(name, track, why) for track, why in seen.items()])
    for sentence in left_out:
        context.log.warning(f"left out of the scores: {sentence}")
    if tracks.empty:
        raise InputError(
            f"evaluation/scores [{name}]",
            expected="a held-out track that the separator does not know from training",
            found=f"none of {len(every)}: {'; '.join(left_out)}",
            remedy="train it again on today's training set, or add tracks of other artists",
        )

    def work(folder: Path) -> dict[str, Any]:
        SCORED.write(folder, tracks)
        checkpoint = Layout(root).checkpoint(name) / CHECKPOINT_FILE
        job = ScoreJob(checkpoint, SCORED.path(folder), root, folder, settings.device)
        launcher.launch(context, job, settings, what=f"scoring of {name}")
        return {"held_out_tracks": len(tracks)}

    result = materialise(context, root, recipe=scores_recipe(settings, name), work=work, show=_show_scores)
    return with_metadata(result, {"left_out_tracks": len(seen), "left_out": "\n".join(left_out) or "none"})


@dg.asset(
    key=LEADERBOARD,
    group_name=GROUP,
    owners=OWNERS,
    deps=[SCORES, ICA_BASELINE, SPLITS],
    description="All candidates, baselines and published separators side by side; uSDR and cSDR in columns of their "
    "own, with the data each number stands for. Own numbers stand over the tracks that all have in common.",
    kinds={"parquet"},
    code_version=_BOARD_CODE,
)
def leaderboard(context: dg.AssetExecutionContext, settings: dg.ResourceParam[Settings]) -> dg.MaterializeResult[Any]:
    fair = fair_scores(settings)
    for sentence in fair.sentences:
        context.log.info(sentence)

    def work(folder: Path) -> dict[str, Any]:
        from models.leaderboard import LEADERBOARD as BOARD
        from models.leaderboard import leaderboard as rank
        from models.leaderboard import load_peers, own_data

        generated = sum(is_generated(licence) for licence in fair.sung["licence"])
        datasets = ", ".join(f"{count} {name}" for name, count in fair.sung["dataset"].value_counts().items())
        scored_on = own_data(len(fair.sung), generated, datasets)
        BOARD.write(folder, rank(summarise(fair.table), load_peers(), scored_on=scored_on, generated=generated))
        SCORES_TABLE.write(folder, fair.table)
        return {"candidates": len(fair.candidates), "tracks": len(fair.tracks), "problems": coverage(fair.table)}

    result = materialise(context, settings.root, recipe=board_recipe(fair), work=work, show=_show_leaderboard)
    return with_metadata(
        result, {"left_out_tracks": len(fair.left_out), "left_out": "\n".join(fair.sentences) or "none"}
    )


@dg.asset_check(
    asset=LEADERBOARD,
    additional_deps=[SCORES],
    name="never_trained_on",
    blocking=True,
    description="No separator on the board is scored on a track that it was trained on or chosen by: by its id, its "
    "audio, as a copy, or by its artist, going by what its own checkpoint has heard.",
)
def never_trained_on(settings: dg.ResourceParam[Settings]) -> dg.AssetCheckResult:
    board = SCORES_TABLE.read(Layout(settings.root).leaderboard)
    candidates = sorted(set(board["method"]) - set(BASELINES))
    problems = trained_on_scored(board, {name: known_to(settings, name) for name in candidates})
    return dg.AssetCheckResult(
        passed=not problems,
        metadata={"candidates": len(candidates), "problems": "\n".join(problems) or "none"},
    )


@dataclass(frozen=True)
class FairScores:
    """Scores that may stand side by side.

    `table` (SCORES) holds baselines and `candidates` over the tracks that all have in common, `tracks` (SCORED) are
    these; `left_out` names tracks that a candidate knows from training (candidate, track, why), `unscored` those that
    some candidate was not scored on yet, `absent` the candidates that cannot be compared, with the reason.
    """

    table: pd.DataFrame
    tracks: pd.DataFrame
    candidates: tuple[str, ...]
    left_out: tuple[tuple[str, str, str], ...]
    unscored: tuple[str, ...]
    absent: Mapping[str, str]

    @property
    def sung(self) -> pd.DataFrame:
        """The tracks with vocals, over which SDRs stand; the others have a leakage only."""
        measured = self.table.loc[self.table["usdr_db"].notna(), "track_id"]
        return self.tracks[self.tracks["track_id"].isin(measured)]

    @property
    def sentences(self) -> list[str]:
        """What is left out, in words."""
        found = [f"left out: {sentence}" for sentence in told(self.left_out)]
        if self.unscored:
            found.append(f"left out: not every candidate was scored on {listing(self.unscored)}")
        return found + [f"{name} is not compared: {why}" for name, why in sorted(self.absent.items())]


def fair_scores(settings: Settings) -> FairScores:
    """The scores of the baselines and of every candidate, as far as they may stand side by side today.

    Candidates that were not scored again since a track came stay, over the tracks that are common. Raises InputError
    where there are no held-out tracks, or no baseline yet.
    """
    layout, today = Layout(settings.root), held_out_tracks(settings.root)
    upstream(settings.root, ICA_BASELINE)
    tables, absent, left_out = {}, {}, []
    bounds = known_scores(SCORES_TABLE.read(layout.ica_baseline), SCORED.read(layout.ica_baseline), today)
    for name in CANDIDATES.get_partition_keys():
        if not layout.checkpoint(name).is_dir():
            continue
        if why := why_not_scored(settings.root, name):
            absent[name] = why
            continue
        folder, seen = layout.scores(name), known_to(settings, name)
        rows = known_scores(SCORES_TABLE.read(folder), SCORED.read(folder), today)
        tables[name] = rows[~rows["track_id"].isin(list(seen))]
        left_out += [(name, track, why) for track, why in seen.items()]
    common = common_tracks({name: set(rows["track_id"]) for name, rows in tables.items()}, set(bounds["track_id"]))
    parts = [bounds, *(tables[name] for name in common.methods)]
    table = pd.concat([part[part["track_id"].isin(common.tracks)] for part in parts], ignore_index=True)
    told_of = tuple(part for part in left_out if part[0] in common.methods)
    unscored = set(today["track_id"]) - common.tracks - {track for _, track, _ in told_of}
    tracks = today[today["track_id"].isin(common.tracks)].reset_index(drop=True)
    return FairScores(table, tracks, common.methods, told_of, tuple(sorted(unscored)), {**absent, **common.absent})


def why_not_scored(root: Path, name: str) -> str | None:
    """Why the scores of a candidate, and its audio, do not stand for its checkpoint; None where they do."""
    trained, scored = cache.recall(Layout(root).checkpoint(name)), cache.recall(Layout(root).scores(name))
    if trained is None:
        return "its checkpoint is damaged"
    if scored is None:
        return "it has not been scored"
    if scored.recipe is None or scored.recipe.code_version != _SCORES_CODE:
        return "it was scored by an earlier version"
    if scored.recipe.inputs["checkpoint"] != trained.version:
        return "it was trained again since it was scored"
    return None


def known_to(settings: Settings, name: str) -> dict[str, str]:
    """The held-out tracks of today that a candidate's checkpoint knows from its training, with the reason.

    Of a checkpoint from before it was kept what it has heard, all of them, unless it was trained on today's pairs.
    """
    root, tracks = settings.root, held_out_tracks(settings.root)
    heard = heard_by_checkpoint(root, Layout(root).checkpoint(name))
    if heard is None:
        return dict.fromkeys(tracks["track_id"], "may know it: what it was trained on is not recorded")
    return seen_tracks(tracks, heard, same_recordings(root), artist_keys(settings))


def scores_recipe(settings: Settings, name: str) -> Recipe:
    """What a candidate's scores are made of: its checkpoint, and the held-out tracks that it does not know."""
    tracks = held_out_tracks(settings.root)
    fair = tracks[~tracks["track_id"].isin(list(known_to(settings, name)))].reset_index(drop=True)
    inputs = {"held_out": SCORED.version(fair), "checkpoint": upstream(settings.root, CHECKPOINT, name).version}
    return Recipe(_SCORES_CODE, {}, inputs)


def board_recipe(fair: FairScores) -> Recipe:
    """What the leaderboard is made of: the scores that stand on it, and what is said of those that do not."""
    words = Recipe("", {"sentences": fair.sentences}, {})
    inputs = {"scores": SCORES_TABLE.version(fair.table), "tracks": SCORED.version(fair.tracks)}
    return Recipe(_BOARD_CODE, {}, inputs | {"left_out": words.fingerprint})


def held_out_tracks(root: Path) -> pd.DataFrame:
    """The tracks that separators are scored on (table SCORED). Raises InputError where there are none."""
    tracks = held_out(read_manifest(root), read_splits(root))
    if tracks.empty:
        raise InputError(
            "evaluation",
            expected="at least one test or reserved track",
            found="none in training_set/splits",
            remedy="add tracks of more artists, or raise ISOLATION_TEST_SHARE",
        )
    return tracks[SCORED.names]


def _show_scores(folder: Path) -> Metadata:
    from models.report.figures import scores_figure

    table = SCORES_TABLE.read(folder)
    summary = dg.MetadataValue.md(markdown_table(summarise(table)))
    return {"summary": summary, "scores": picture(scores_figure(table), "scores")} | table_metadata(table, SCORES_TABLE)


def _show_leaderboard(folder: Path) -> Metadata:
    from models.leaderboard import LEADERBOARD as BOARD

    return table_metadata(BOARD.read(folder), BOARD)


ASSETS = [ica_baseline, scores, leaderboard]
CHECKS = [never_trained_on]
