"""A storage root that holds a tiny training set and nothing else: what the tests of trained separators share."""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import yaml
from tiny import tiny_pairs, tiny_settings

from data import cache
from data.duplicates import DUPLICATES
from data.layout import Layout
from data.loopback import PAIRS
from data.manifest import MANIFEST
from data.recipe import Recipe
from data.tables import Table

PAIRS_RECIPE = Recipe("pairs", {}, {})


def write_training_root(root: Path) -> Path:
    """Write training pairs with their audio, manifest, splits and duplicates, as the assets would have left them."""
    pairs = tiny_pairs(root)

    def write_pairs(folder: Path) -> dict[str, Any]:
        PAIRS.write(folder, pairs)
        return {"original": len(pairs)}

    cache.make(Layout(root).loopback, PAIRS_RECIPE, write_pairs, version=PAIRS.version_in)
    write_manifest(root, pairs)
    return root


def write_manifest(root: Path, pairs: pd.DataFrame, **columns: Any) -> None:
    """Write the manifest of these pairs, whose artists are the tracks themselves, and tables without duplicates."""
    rows = pairs.drop_duplicates("track_id")
    known = {"licence": "CC BY 4.0", "artist": rows["track_id"], "dataset": "demo", **columns}
    frame = rows.assign(**known).reindex(columns=MANIFEST.names).astype(object)
    frame = frame.where(frame.notna(), None)
    none = pd.DataFrame(columns=DUPLICATES.names)
    for folder, table, content in (
        (Layout(root).manifest, MANIFEST, frame),
        (Layout(root).duplicates, DUPLICATES, none),
    ):
        shutil.rmtree(folder, ignore_errors=True)
        cache.make(folder, Recipe(table.version(content), {}, {}), partial(_write, table, content))


def _write(table: Table, content: pd.DataFrame, folder: Path) -> dict[str, Any]:
    table.write(folder, content)
    return {}


def write_candidate(folder: Path, name: str, **training: Any) -> Path:
    """Write the tiny candidate under a name, with some of its training settings changed."""
    settings = tiny_settings()
    settings["training"] |= training
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(settings))
    return path
