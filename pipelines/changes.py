"""What has changed since a candidate was trained: a look at records and settings that does none of the work.

Recipes are compared: of every table of the training set as it would be made now, and of the training itself. A table
that would be made again may come out the same; then the run that this look asks for finds nothing to train.
"""

from __future__ import annotations

from collections.abc import Mapping

import dagster as dg

from assets.recording import folder_of
from assets.separators import checkpoint_recipe
from assets.training_recipes import RECIPES
from data import cache
from data.errors import InputError
from data.layout import Layout
from data.recipe import Recipe
from data.settings import Settings
from models.candidate import candidate_path, load_candidate


def table_recipes(settings: Settings) -> dict[dg.AssetKey, Recipe | None]:
    """What the tables of the training set would be made of now; None for one that cannot be made yet."""
    return {key: _recipe(settings, key) for key in RECIPES}


def training_set_changes(settings: Settings, today: Mapping[dg.AssetKey, Recipe | None] | None = None) -> list[str]:
    """Why the training set would be made anew, a sentence for each of its tables; empty where it stands as it is.

    `today` is what `table_recipes` found, for whoever asks for more than this: it looks at every track.
    """
    found = []
    for key, recipe in (today or table_recipes(settings)).items():
        looked = cache.look(folder_of(settings.root, key))
        # Tables after one that changes are made of it: they need no sentence of their own.
        why = cache.differences(looked, recipe) if recipe is not None else [looked.trouble] * bool(looked.trouble)
        if why:
            found.append(f"{key.to_user_string()}: {'; '.join(why)}")
    return found


def candidate_changes(settings: Settings, name: str) -> list[str]:
    """Why a candidate would be trained again on the training set as it stands; empty where it would not.

    Raises InputError where the candidate cannot be read.
    """
    load_candidate(candidate_path(name, settings.candidates))
    found = cache.look(Layout(settings.root).checkpoint(name))
    if found.trouble:
        return [f"its checkpoint: {found.trouble}"]
    try:
        return cache.differences(found, checkpoint_recipe(settings, name))
    except InputError:
        return []  # the training pairs are not there: told as a change of the training set


def state(settings: Settings, name: str, today: Mapping[dg.AssetKey, Recipe | None]) -> str:
    """A short name of all that a training of the candidate would be made of now, for telling requests apart."""
    inputs = {key.to_user_string(): recipe.fingerprint if recipe else "" for key, recipe in today.items()}
    parameters = load_candidate(candidate_path(name, settings.candidates)).recorded
    return Recipe("", parameters, inputs).fingerprint[:8]


def _recipe(settings: Settings, key: dg.AssetKey) -> Recipe | None:
    """What a table of the training set would be made of now; None where it cannot be made yet."""
    try:
        return RECIPES[key](settings)
    except InputError:
        return None
