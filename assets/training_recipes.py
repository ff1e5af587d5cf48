"""What the tables of the training set are made of: settings, code, and each other.

Assets are made by these recipes, and whoever asks whether a table would be made again asks them too.
"""

from pathlib import Path
from typing import Any

import dagster as dg

from assets.recording import upstream
from data.artists import artist_files, read_artists
from data.datasets import DATASETS
from data.duplicates import CODE_VERSION as DUPLICATES_CODE
from data.errata import load_errata
from data.loopback import CODE_VERSION as LOOPBACK_CODE
from data.manifest import CODE_VERSION as MANIFEST_CODE
from data.manifest import Corpus, look_at_tracks, sources_version
from data.placements import Placements, placements_version, read_placements
from data.recipe import Recipe
from data.settings import Settings
from data.splits import CODE_VERSION as SPLITS_CODE

GROUP = "training_set"
MANIFEST = dg.AssetKey([GROUP, "manifest"])
DUPLICATES = dg.AssetKey([GROUP, "duplicates"])
SPLITS = dg.AssetKey([GROUP, "splits"])
LOOPBACK = dg.AssetKey([GROUP, "loopback"])
MADE_OF = {DUPLICATES: (MANIFEST,), SPLITS: (MANIFEST, DUPLICATES), LOOPBACK: (MANIFEST, SPLITS)}


def manifest_recipe(settings: Settings, corpus: Corpus | None = None) -> Recipe:
    """What the manifest is made of: settings, the data version of each prepared track, and what sources say of them."""
    tracks = (corpus or look_at_tracks(settings, DATASETS.values())).prepared
    versions = {track_id: track.normalised.version for track_id, track in tracks.items()}
    words = {"sources": sources_version(settings.root, DATASETS)}
    return Recipe(MANIFEST_CODE, manifest_parameters(settings) | words, versions)


def duplicates_recipe(settings: Settings) -> Recipe:
    """What the duplicates are made of. Raises InputError, like the next two, where an input is missing or damaged."""
    return Recipe(DUPLICATES_CODE, {}, _inputs(settings.root, DUPLICATES))


def splits_recipe(settings: Settings) -> Recipe:
    """What the splits are made of; where tracks were placed before only keeps what they come to as it was."""
    return Recipe(SPLITS_CODE, split_parameters(settings), _inputs(settings.root, SPLITS))


def loopback_recipe(settings: Settings) -> Recipe:
    """What the training pairs are made of."""
    return Recipe(LOOPBACK_CODE, loopback_parameters(settings), _inputs(settings.root, LOOPBACK))


def _inputs(root: Path, key: dg.AssetKey) -> dict[str, str]:
    return {name.path[-1]: upstream(root, name).version for name in MADE_OF[key]}


def manifest_parameters(settings: Settings) -> dict[str, Any]:
    """The settings that the manifest goes by."""
    errata = {track_id: erratum.model_dump() for track_id, erratum in load_errata(settings.errata).items()}
    return {"quality": settings.quality.model_dump(), "errata": errata}


def draw_parameters(settings: Settings) -> dict[str, Any]:
    """The settings by which artists, or their tracks, are drawn that were never placed."""
    return {
        "seed": settings.seed,
        "reserved_tracks": settings.reserved_tracks,
        "validation_share": settings.validation_share,
        "test_share": settings.test_share,
        "bleed": settings.bleed,
        # Left out while it says nothing, as before there was a choice.
        **({} if settings.split_by == "auto" else {"split_by": settings.split_by}),
    }


def split_parameters(settings: Settings) -> dict[str, Any]:
    """The settings that the splits go by."""
    # Read, and not only hashed: a name that is mistyped must not pass for no name at all.
    read = given_splits(settings)
    given = {"given": placements_version(read)} if read is not None else {}
    artists = [entry.model_dump(mode="json") for path in artist_files(settings.artists) for entry in read_artists(path)]
    return draw_parameters(settings) | given | {"artists": Recipe("", {"artists": artists}, {}).fingerprint}


def loopback_parameters(settings: Settings) -> dict[str, Any]:
    """The settings that the loopback goes by."""
    return {
        "seed": settings.seed,
        "vocal_share": settings.loopback_vocal,
        "instrumental_share": settings.loopback_instrumental,
    }


def given_splits(settings: Settings) -> Placements | None:
    """The splits that ISOLATION_SPLITS names, if it does. Raises InputError where these cannot be read."""
    return read_placements(settings.splits, what="setting ISOLATION_SPLITS") if settings.splits else None


PARAMETERS = {MANIFEST: manifest_parameters, SPLITS: split_parameters, LOOPBACK: loopback_parameters}
RECIPES = {
    MANIFEST: manifest_recipe,
    DUPLICATES: duplicates_recipe,
    SPLITS: splits_recipe,
    LOOPBACK: loopback_recipe,
}
