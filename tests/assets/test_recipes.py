"""Who asks what an output of evaluation would be made of today is told what it was made of, where nothing changed."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from pipelines_site import PROJECT, Site

from data import cache
from data.recipe import Recipe

# In a process of its own, for candidates are partitions: they are looked up once, when the code location loads.
ASK = """
import json
from assets import ballot, championship, evaluation, leaderboard, promotion, reporting
from data.settings import load_settings

settings = load_settings()
recipes = {
    "ica_baseline": evaluation.ica_recipe(settings),
    "scores/tiny": evaluation.scores_recipe(settings, "tiny"),
    "leaderboard": leaderboard.board_recipe(settings),
    "listening_test": ballot.ballot_recipe(settings),
    "champion_validation": championship.champion_validation_recipe(settings),
    "challenger": promotion.challenger_recipe(settings),
    "champion": promotion.champion_recipe(settings),
    "report": reporting.report_recipe(settings),
}
print(json.dumps({name: recipe.content for name, recipe in recipes.items()}))
"""
# Code version, parameters and inputs that every release so far has made these outputs by: other ones make all again.
MADE_OF = {
    "ica_baseline": ("3", set(), {"held_out"}),
    "scores/tiny": ("3", set(), {"held_out", "checkpoint"}),
    "leaderboard": ("4", set(), {"scores", "tracks", "left_out"}),
    "listening_test": ("4", {"seed", "voters", "tracks"}, {"tiny"}),
    "champion_validation": ("3", set(), {"champion", "validation"}),
    "challenger": ("2", {"votes", "by_hand"}, {"challenger", "champion", "champion_validation"}),
    "champion": ("3", set(), {"challenger"}),
    "report": ("4", set(), {"leaderboard", "ica_baseline", "manifest", "champion", "promotion"}),
}


@pytest.fixture(scope="module")
def asked(finished: Site) -> dict[str, Recipe]:
    done = subprocess.run(
        [sys.executable, "-c", ASK], cwd=PROJECT, env=finished.environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return {name: Recipe(**content) for name, content in json.loads(done.stdout).items()}


@pytest.mark.parametrize("name", MADE_OF)
def test_the_recipe_that_is_asked_for_is_the_one_that_the_output_was_made_by(
    finished: Site, asked: dict[str, Recipe], name: str
) -> None:
    record = cache.require(finished.storage / "evaluation" / name, name)
    assert record.recipe is not None
    assert asked[name].differs(record.recipe) == []
    assert asked[name].fingerprint == record.fingerprint


@pytest.mark.parametrize("name", MADE_OF)
def test_outputs_of_earlier_releases_stand_for_they_were_made_of_the_same_things(
    asked: dict[str, Recipe], name: str
) -> None:
    recipe = asked[name]
    assert (recipe.code_version, set(recipe.parameters), set(recipe.inputs)) == MADE_OF[name]
