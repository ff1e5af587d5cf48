"""Looks at an output and all that it was made of, down to the raw files, without making or writing anything.

What can be asked of which asset stands in `staleness`; whether what stands differs from what would be made now is said
by `data.cache.differences`, how it is shown by `data.lineage`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import dagster as dg

from assets.recording import folder_of
from data import cache
from data.datasets import Dataset
from data.errors import InputError
from data.lineage import CURRENT, KEPT, MISSING, STALE, UNKNOWN, Input, Node
from data.preparation import TrackJob, track_jobs
from data.recipe import Recipe
from data.settings import Settings

_CHECKSUM = re.compile("[0-9a-f]{64}|")  # or none, where nobody recorded it


class Place(NamedTuple):
    """An output: the name of its asset, and its partition where the asset has some."""

    asset: str
    partition: str | None = None

    def __str__(self) -> str:
        return f"{self.asset} {self.partition}" if self.partition else self.asset


Follow = Callable[["Tree", Place, str, str], Input]
"""(tree, output, name of an input in its recipe, data version that it had) -> what that is."""


@dataclass(frozen=True)
class Output:
    """What can be asked of an asset's outputs.

    `recipe` is what one would be made of now; None where only making it tells. `inputs` says where the inputs that a
    recipe names lead, "" those of other names. `partitions` are those that there may be; None for an asset without.
    `differs` says why an output would be made again; `look` finds what is no output but only looked at;
    `also` names assets that it depends on beside what its recipe names.
    """

    recipe: Callable[[Tree, str], Recipe] | None = None
    inputs: Mapping[str, Follow] = field(default_factory=dict)
    partitions: Callable[[Settings], Iterable[str]] | None = None
    differs: Callable[[Tree, str, cache.Look, Recipe], list[str]] = lambda tree, partition, found, now: (
        cache.differences(found, now)
    )
    look: Callable[[Tree, str], Node] | None = None
    also: tuple[str, ...] = ()


class Tree:
    """Looks at outputs and what they were made of, each once."""

    def __init__(self, settings: Settings, outputs: Mapping[str, Output]) -> None:
        self.settings, self._outputs = settings, outputs
        self._nodes: dict[Place, Node] = {}
        self._jobs: dict[str, dict[str, TrackJob]] = {}

    def node(self, place: Place) -> Node:
        """An output with all that it was made of."""
        if place not in self._nodes:
            self._nodes[place] = self._look(place, self._outputs[place.asset])
        return self._nodes[place]

    def job(self, dataset: Dataset, slug: str) -> TrackJob:
        """A track as it would be prepared. Raises InputError for one that is not in the index."""
        if dataset.name not in self._jobs:
            self._jobs[dataset.name] = track_jobs(self.settings, dataset)
        if slug not in self._jobs[dataset.name]:
            raise InputError(
                f"{dataset.name}/{slug}",
                expected="a track that is in the source",
                found="none of this name in the index",
                remedy=f"materialise {dataset.name}/archive",
            )
        return self._jobs[dataset.name][slug]

    def record(self, place: Place) -> cache.Record | None:
        """What was recorded of an output, if it can be read."""
        return cache.look(self._folder(place)).record

    def whole(self, place: Place) -> cache.Record:
        """What was recorded of an output that stands. Raises InputError where it does not."""
        return cache.require(self._folder(place), str(place))

    def _look(self, place: Place, output: Output) -> Node:
        name = place.partition or ""
        if output.partitions is not None and not name:
            parts = [self.node(Place(place.asset, each)) for each in sorted(output.partitions(self.settings))]
            return Node(place.asset, made_of=f"{len(parts)} partitions", inputs=tuple(map(Input, parts)))
        try:
            if output.look is not None:
                return output.look(self, name)
            found = cache.look(self._folder(place))
        except InputError as problem:
            return Node(str(place), state=UNKNOWN, problems=(_told(problem),))
        now, trouble = self._now(output, name)
        record = found.record
        made_by = record.recipe if record else None
        if record and now and record.fingerprint == now.fingerprint:
            made_by = now  # also where it was made before recipes were kept
        state, problems = self._state(output, name, found, now, trouble)
        untold = "made by an earlier version, which did not keep of what" if record else ""
        # Where nobody recorded what it was made of: what it would be made of, or at least of which outputs.
        versions = made_by.inputs if made_by else dict.fromkeys(now.inputs if now else filter(None, output.inputs), "")
        inputs = [self._follow(output, place, each, version) for each, version in versions.items()]
        inputs += [Input(self.node(Place(asset))) for asset in output.also]
        version = record.version if record else ""
        return Node(str(place), version, made_by or untold, state, tuple(problems), tuple(inputs))

    def _now(self, output: Output, name: str) -> tuple[Recipe | None, str]:
        """What an output would be made of now, or why that cannot be told."""
        try:
            return (output.recipe(self, name) if output.recipe else None), ""
        except InputError as problem:
            return None, _told(problem)

    def _state(
        self, output: Output, name: str, found: cache.Look, now: Recipe | None, trouble: str
    ) -> tuple[str, list[str]]:
        if found.whole is None:
            return (STALE if found.record else MISSING), [found.trouble]
        if now is None:
            return (UNKNOWN, [trouble]) if trouble else (KEPT, [])
        why = output.differs(self, name, found, now)
        return (STALE, why) if why else (CURRENT, [])

    def _follow(self, output: Output, place: Place, name: str, version: str) -> Input:
        lead = output.inputs.get(name) or output.inputs.get("") or words
        return lead(self, place, name, version)

    def _folder(self, place: Place) -> Path:
        return folder_of(self.settings.root, dg.AssetKey(place.asset.split("/")), place.partition)


def _told(problem: InputError) -> str:
    return f"{problem.what}: {problem.found}"


def words(tree: Tree, of: Place, name: str, version: str) -> Input:
    """An input that is no output: what was said of one, or a checksum of that."""
    return Input(Node(name), version) if _CHECKSUM.fullmatch(version) else Input(Node(f"{name}: {version}"))


def output_of(asset: str) -> Follow:
    """An input that is the output of an asset without partitions."""
    return lambda tree, of, name, version: Input(tree.node(Place(asset)), version)


def same_partition(asset: str) -> Follow:
    """An input that is another asset's output of the same partition."""
    return lambda tree, of, name, version: Input(tree.node(Place(asset, of.partition)), version)


def partition_named(asset: str) -> Follow:
    """An input that has the name of its partition."""
    return lambda tree, of, name, version: Input(tree.node(Place(asset, name)), version)


def rows_of(*assets: str) -> Follow:
    """An input whose version is of some rows of these tables."""

    def follow(tree: Tree, of: Place, name: str, version: str) -> Input:
        tables = tuple(Input(tree.node(Place(asset))) for asset in assets)
        return Input(Node(f"{name}: rows of {', '.join(assets)}", inputs=tables), version)

    return follow
