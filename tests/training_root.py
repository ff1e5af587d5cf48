"""A storage root that holds a tiny training set and nothing else: what the tests of trained separators share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import yaml
from tiny import tiny_pairs, tiny_settings

from data import cache
from data.loopback import PAIRS, PAIRS_FILE
from data.manifest import MANIFEST_FILE
from data.tables import write_table


def write_training_root(root: Path) -> Path:
    """Write training pairs with their audio, and a manifest of one column, as the assets would have left them."""
    pairs = tiny_pairs(root)

    def write_pairs(folder: Path) -> dict[str, Any]:
        write_table(folder / PAIRS_FILE, pairs, PAIRS)
        return {"original": len(pairs)}

    def write_manifest(folder: Path) -> dict[str, Any]:
        pd.DataFrame({"licence": ["CC BY 4.0"] * 4}).to_parquet(folder / MANIFEST_FILE)
        return {"tracks": 4}

    cache.make(root / "training_set" / "loopback", "pairs", write_pairs)
    cache.make(root / "training_set" / "manifest", "manifest", write_manifest)
    return root


def write_candidate(folder: Path, name: str, **training: Any) -> Path:
    """Write the tiny candidate under a name, with some of its training settings changed."""
    settings = tiny_settings()
    settings["training"] |= training
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(settings))
    return path
