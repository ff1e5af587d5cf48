"""The leaderboard: whatever may stand side by side, and the check that nobody on it was trained on what it shows."""

from functools import partial
from pathlib import Path
from typing import Any

import dagster as dg

from assets.evaluation import GROUP, ICA_BASELINE, SCORED, SCORES, fair_scores, known_to
from assets.recording import Metadata, materialise, table_metadata, with_metadata
from assets.training_recipes import SPLITS
from assets.training_set import read_splits, sharing
from data.demo.licence import is_generated
from data.layout import Layout
from data.recipe import Recipe
from data.settings import Settings
from models.evaluate import BASELINES, coverage, summarise
from models.evaluate import SCORES as SCORES_TABLE
from models.fairness import FairScores, trained_on_scored
from models.measures import USDR, ranking

LEADERBOARD = dg.AssetKey([GROUP, "leaderboard"])
_CODE_VERSION = "4"


@dg.asset(
    key=LEADERBOARD,
    deps=[SCORES, ICA_BASELINE, SPLITS],
    description="All candidates, baselines and published separators side by side; every measure in a column of its "
    "own, with the data each number stands for. Own numbers stand over the tracks that all have in common.",
    kinds={"parquet"},
    code_version=_CODE_VERSION,
)
def leaderboard(context: dg.AssetExecutionContext, settings: dg.ResourceParam[Settings]) -> dg.MaterializeResult[Any]:
    fair = fair_scores(settings)
    for sentence in fair.sentences:
        context.log.info(sentence)

    def work(folder: Path) -> dict[str, Any]:
        from models.leaderboard import board_table, load_peers, own_data
        from models.leaderboard import leaderboard as rank

        rank_by = ranking(settings.rank_by)
        generated = sum(is_generated(licence) for licence in fair.sung["licence"])
        datasets = ", ".join(f"{count} {name}" for name, count in fair.sung["dataset"].value_counts().items())
        scored_on = own_data(len(fair.sung), generated, datasets)
        summary, peers = summarise(fair.table, rank_by), load_peers()
        board = rank(summary, peers, scored_on=scored_on, generated=generated, rank_by=rank_by)
        board_table(rank_by).write(folder, board)
        SCORES_TABLE.write(folder, fair.table)
        return {"candidates": len(fair.candidates), "tracks": len(fair.tracks), "problems": coverage(fair.table)}

    show, recipe = partial(_show_leaderboard, settings), board_recipe(settings, fair)
    result = materialise(context, settings.root, recipe=recipe, work=work, show=show)
    return with_metadata(
        result, {"left_out_tracks": len(fair.left_out), "left_out": "\n".join(fair.sentences) or "none"}
    )


@dg.asset_check(
    asset=LEADERBOARD,
    additional_deps=[SCORES],
    name="never_trained_on",
    blocking=True,
    description="No separator on the board is scored on a track that it was trained on or chosen by: by its id, its "
    "audio, as a copy, or by its artist, going by what its own checkpoint has heard. Artists that training and test "
    "share because there are too few of them are named instead.",
)
def never_trained_on(settings: dg.ResourceParam[Settings]) -> dg.AssetCheckResult:
    board = SCORES_TABLE.read(Layout(settings.root).leaderboard)
    candidates = sorted(set(board["method"]) - set(BASELINES))
    problems = trained_on_scored(board, {name: known_to(settings, name) for name in candidates})
    return dg.AssetCheckResult(
        passed=not problems,
        metadata={
            "candidates": len(candidates),
            "problems": "\n".join(problems) or "none",
            "shared_artists": sharing(read_splits(settings.root)),
        },
    )


def board_recipe(settings: Settings, fair: FairScores | None = None) -> Recipe:
    """What the leaderboard is made of: the scores that stand on it, and what is said of those that do not.

    `fair` are today's, for whoever has gathered them.
    """
    fair = fair or fair_scores(settings)
    words = Recipe("", {"sentences": fair.sentences}, {})
    inputs = {"scores": SCORES_TABLE.version(fair.table), "tracks": SCORED.version(fair.tracks)}
    return Recipe(_CODE_VERSION, chosen(settings), inputs | {"left_out": words.fingerprint})


def chosen(settings: Settings) -> dict[str, Any]:
    """The settings that the leaderboard goes by, as parameters of its recipe: none while it is ranked by uSDR."""
    rank_by = ranking(settings.rank_by)
    return {} if rank_by is USDR else {"rank_by": rank_by.stem}


def _show_leaderboard(settings: Settings, folder: Path) -> Metadata:
    from models.leaderboard import board_table, ranked_by

    rank_by = ranking(settings.rank_by)
    table = board_table(rank_by)
    return {"ranked_by": ranked_by(rank_by)} | table_metadata(table.read(folder), table)


ASSETS = [leaderboard]
PARAMETERS = {LEADERBOARD: chosen}
CHECKS = [never_trained_on]
