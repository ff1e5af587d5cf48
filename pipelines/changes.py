"""What has changed since a candidate was trained: a look at records and settings that does none of the work.

Fingerprints are compared: of every table of the training set as it would be made now, and of the training itself. A
table that would be made again may come out the same; then the run that this look asks for finds nothing to train.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import dagster as dg
import pandas as pd

from assets.recording import folder_of
from assets.separators import CHECKPOINT, training_fingerprint, training_parameters
from assets.training_set import LOOPBACK, MADE_OF, MANIFEST, PARAMETERS, manifest_inputs, prepared_tracks, table_inputs
from data import cache
from data.errors import InputError
from data.manifest import MANIFEST_FILE
from data.settings import Settings
from data.tables import read_table
from models.candidate import candidate_path, load_candidate

TABLES = (MANIFEST, *MADE_OF)
_MOST = 3  # names in a sentence


def training_set_changes(settings: Settings, code_versions: Mapping[dg.AssetKey, str]) -> list[str]:
    """Why the training set would be made anew, a sentence for each of its tables; empty where it stands as it is."""
    root, found = settings.root, []
    for key in TABLES:
        record = cache.recall(folder_of(root, key))
        if record is None:
            found.append(f"{key.to_user_string()} is missing, or its files were changed")
        elif record.fingerprint != _wanted(settings, key, code_versions[key]):
            # Tables after one that changes are made of it: they need no sentence of their own.
            why = _changed_tracks(root) if key == MANIFEST else ""
            found.append(f"{key.to_user_string()}: {why or 'settings, labels or code changed'}")
    return found


def candidate_changes(settings: Settings, name: str) -> list[str]:
    """Why a candidate would be trained again on the training set as it stands; empty where it would not.

    Raises InputError where the candidate cannot be read.
    """
    parameters = training_parameters(load_candidate(candidate_path(name, settings.candidates)))
    record = cache.recall(folder_of(settings.root, CHECKPOINT, name))
    pairs = cache.recall(folder_of(settings.root, LOOPBACK))
    if record is None:
        return ["its checkpoint is missing, or was changed"]
    if pairs is None or record.fingerprint == training_fingerprint(parameters, pairs.version):
        return []
    before, now = (_flat(content) for content in (record.measured["settings"], parameters))
    keys = sorted(key for key in before.keys() | now.keys() if before.get(key) != now.get(key))
    return [f"settings changed: {_listing(keys)}" if keys else "training pairs or training code changed"]


def state(settings: Settings, name: str, code_versions: Mapping[dg.AssetKey, str]) -> str:
    """A short name of all that a training of the candidate would be made of now, for telling requests apart."""
    tables = {key.to_user_string(): code_versions[key] for key in TABLES}
    manifest = _wanted(settings, MANIFEST, code_versions[MANIFEST])
    parameters = training_parameters(load_candidate(candidate_path(name, settings.candidates)))
    inputs = tables | {"manifest now": manifest or "", "training": training_fingerprint(parameters, "")}
    return cache.fingerprint(code_version="", parameters={}, inputs=inputs)[:8]


def _wanted(settings: Settings, key: dg.AssetKey, code_version: str) -> str | None:
    """The fingerprint of a table of the training set as it would be made now; None where it cannot be made yet."""
    chosen = PARAMETERS.get(key)
    try:
        inputs = (
            manifest_inputs(settings.root, prepared_tracks(settings.root))
            if key == MANIFEST
            else table_inputs(settings.root, key)
        )
    except InputError:
        return None
    return cache.fingerprint(code_version=code_version, parameters=chosen(settings) if chosen else {}, inputs=inputs)


def _changed_tracks(root: Path) -> str:
    """Which tracks the manifest does not hold as they are now, in words."""
    table: pd.DataFrame = read_table(folder_of(root, MANIFEST) / MANIFEST_FILE)
    before = dict(zip(table["track_id"], table["fingerprint"], strict=True))
    now = {track: record.fingerprint for track, record in prepared_tracks(root).items()}
    kinds = {
        "new": sorted(now.keys() - before.keys()),
        "gone": sorted(before.keys() - now.keys()),
        "changed": sorted(track for track in now.keys() & before.keys() if now[track] != before[track]),
    }
    return "; ".join(f"{len(tracks)} {kind} ({_listing(tracks)})" for kind, tracks in kinds.items() if tracks)


def _flat(content: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings as one dictionary with dotted keys."""
    flat: dict[str, Any] = {}
    for key, value in content.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return flat


def _listing(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MOST} more" if len(names) > _MOST else ""
    return ", ".join(names[:_MOST]) + more
