"""A storage root in which candidates stand under former names: they are taken over under today's, once.

Nothing is trained or scored again, for fingerprints are of the former words (`models.former_names`). What says a name,
in a file or in a record, says today's afterwards; prose keeps the words of its time.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import dagster as dg

from assets.evaluation import SCORES
from assets.recording import latest_entry, track_event
from assets.separators import CHECKPOINT
from assets.training_set import LOOPBACK
from data import cache
from data.errors import InputError
from data.files import claim, discard, publish
from data.layout import CHAMPION_FILE, CHECKPOINT_FILE, KEY_FILE, Layout
from data.settings import Settings
from models.candidate import candidate_names
from models.evaluate import SCORES as SCORES_TABLE
from models.former_names import CANDIDATES

Names = Mapping[str, str]  # former name -> today's
Change = Callable[[Path, cache.Record], cache.Record]  # as `cache.revise` takes it


def take_over(settings: Settings, instance: dg.DagsterInstance) -> list[str]:
    """Give candidates' outputs today's names, tell Dagster of their new partitions, and return what was done, in words.

    An output that stands under today's name already is left alone; a candidate of somebody's own keeps its name,
    whatever it is. After a kill, the next start goes on.
    """
    present, layout = candidate_names(settings.candidates), Layout(settings.root)
    names = {former: name for former, name in CANDIDATES.items() if name in present and former not in present}
    if not _any_stands(layout, names):
        return []
    done = []
    with claim(layout.root / "separators" / "names"):
        # What is one for all candidates comes first: as long as an output has a former name, there is something to do.
        for folder in (layout.champion, layout.challenger, layout.champion_validation, layout.listening_test):
            record = cache.recall(folder)
            if record is not None and _says(record, names):
                cache.revise(folder, folder, lambda partial, record: _rename_all(partial, record, names))
        for former, name in names.items():
            _take_over_trainings(layout, former, name)
            scored = _move(layout.scores(former), layout.scores(name), _scores_of(name))
            trained = _move(layout.checkpoint(former), layout.checkpoint(name), _checkpoint_of(name))
            for key, folder, record in (
                (CHECKPOINT, layout.checkpoint(name), trained),
                (SCORES, layout.scores(name), scored),
            ):
                if record is not None:
                    _tell(instance, key, name, folder, record)
                    done.append(f"{key.to_user_string()}: {former} is called {name} now, and was taken over as it is")
    return done


def _any_stands(layout: Layout, names: Names) -> bool:
    places = (layout.checkpoint, layout.earlier, layout.unfinished, layout.scores)
    if any(os.path.lexists(place(former)) for former in names for place in places):
        return True
    champion = cache.recall(layout.champion)
    return champion is not None and _says(champion, names)


def _take_over_trainings(layout: Layout, former: str, name: str) -> None:
    """Unfinished trainings, which go on under the new name, and earlier checkpoints, the oldest first as they were."""
    for folder in _oldest_first(layout.unfinished(former)):
        target = layout.unfinished(name) / folder.name
        target.parent.mkdir(parents=True, exist_ok=True)
        if not os.path.lexists(target):
            os.rename(folder, target)
    for folder in _oldest_first(layout.earlier(former)):
        _move(folder, layout.earlier(name) / folder.name, _checkpoint_of(name))
    for emptied in (layout.unfinished(former), layout.earlier(former)):
        if emptied.is_dir() and not _oldest_first(emptied):
            discard(emptied)


def _oldest_first(folder: Path) -> list[Path]:
    return sorted(folder.glob("[!.]*"), key=lambda path: path.stat().st_mtime_ns)


def _move(folder: Path, target: Path, change: Change) -> cache.Record | None:
    """The record of an output that was moved; None where there is none, or another stands there."""
    if os.path.lexists(target):
        before, after = cache.recall(folder), cache.recall(target)
        if before is not None and after is not None and before.fingerprint == after.fingerprint:
            discard(folder)  # a kill came between
        return None
    return cache.revise(folder, target, change) if folder.is_dir() else None


def _checkpoint_of(name: str) -> Change:
    def change(partial: Path, record: cache.Record) -> cache.Record:
        _rename_checkpoint(partial / CHECKPOINT_FILE, name)
        return record

    return change


def _scores_of(name: str) -> Change:
    def change(partial: Path, record: cache.Record) -> cache.Record:
        SCORES_TABLE.write(partial, SCORES_TABLE.read(partial).assign(method=name))
        return record

    return change


def _says(record: cache.Record, names: Names) -> bool:
    """Whether an output that is one for all candidates names one by a former name: as measured, or as what it is of."""
    inputs = record.recipe.inputs if record.recipe else {}
    return any(value in names for value in record.measured.values() if isinstance(value, str)) or any(
        name in names for name in inputs
    )


def _rename_all(partial: Path, record: cache.Record, names: Names) -> cache.Record:
    """Champion, challenger, validation or ballot with today's names; the ballot's recipe has candidates as inputs."""

    def renamed(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: renamed(item) for key, item in value.items()}
        if isinstance(value, list):
            return [renamed(item) for item in value]
        return names.get(value, value) if isinstance(value, str) else value

    for file in (CHAMPION_FILE, KEY_FILE):
        if (partial / file).is_file():
            content = renamed(json.loads((partial / file).read_text(encoding="utf-8")))
            with publish(partial / file) as written:
                written.write_text(json.dumps(content, indent=1), encoding="utf-8")
    if (partial / CHAMPION_FILE).is_file():
        _rename_checkpoint(partial / CHECKPOINT_FILE, renamed(record.measured.get("candidate")))
    record = replace(record, measured=renamed(record.measured))
    if record.recipe is None or not record.recipe.inputs.keys() & names.keys():
        return record
    inputs = {names.get(candidate, candidate): version for candidate, version in record.recipe.inputs.items()}
    recipe = replace(record.recipe, inputs=inputs)
    return replace(record, recipe=recipe, fingerprint=recipe.fingerprint, version=recipe.fingerprint)


def _rename_checkpoint(file: Path, name: str) -> None:
    """Today's name in a checkpoint; one that cannot be read stays as it is, to be told of by whoever uses it."""
    from models.checkpoint import load_checkpoint, save_checkpoint

    try:
        stored = load_checkpoint(file)
    except InputError:
        return
    save_checkpoint(file, replace(stored, candidate=stored.candidate.model_copy(update={"name": name})))


def _tell(instance: dg.DagsterInstance, key: dg.AssetKey, name: str, folder: Path, record: cache.Record) -> None:
    inputs, recipe = {"loopback": LOOPBACK, "checkpoint": CHECKPOINT}, record.recipe
    known = {inputs[each]: version for each, version in (recipe.inputs if recipe else {}).items() if each in inputs}
    outcome, code = cache.Outcome(record, cached=True), recipe.code_version if recipe else ""
    event = track_event(key, name, folder, outcome, 0.0, code, known, latest_entry(instance))
    instance.report_runless_asset_event(event)
