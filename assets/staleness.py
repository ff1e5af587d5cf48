"""What every output would be made of now, and where the inputs of its recipe lead: one table, a row for each asset.

Runs, schedules and `python -m pipelines.why` go by the same recipes; an asset that is added gets a row here.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from pathlib import Path

from assets.ballot import ballot_recipe
from assets.championship import champion_validation_recipe
from assets.evaluation import ica_recipe, scores_recipe
from assets.lanes import LANES
from assets.leaderboard import board_recipe
from assets.lineage import Output, Place, Tree, output_of, partition_named, rows_of, same_partition, words
from assets.observing import PREPARED, RAW, source_keys
from assets.promotion import challenger_recipe, champion_recipe
from assets.reporting import report_recipe
from assets.separators import checkpoint_recipe
from assets.sources import archive_recipe, metadata_recipe
from assets.training_recipes import duplicates_recipe, loopback_recipe, manifest_recipe, splits_recipe
from data import cache
from data.datasets import Dataset
from data.errors import InputError
from data.lineage import MISSING, STALE, Input, Node
from data.preparation import MADE_OF, NORMALISED, STEMS, normalised_recipe, raw_version, stems_differences, stems_recipe
from data.recipe import Recipe
from data.settings import Settings
from data.sources import RawFile, read_index
from models.candidate import candidate_names

MANIFEST, DUPLICATES = "training_set/manifest", "training_set/duplicates"
SPLITS, LOOPBACK = "training_set/splits", "training_set/loopback"
CHECKPOINT, EARLIER = "separators/checkpoint", "separators/earlier"
SCORES, ICA = "evaluation/scores", "evaluation/ica_baseline"
BOARD, BALLOT = "evaluation/leaderboard", "evaluation/listening_test"
VALIDATION, CHALLENGER = "evaluation/champion_validation", "evaluation/challenger"
CHAMPION, REPORT = "evaluation/champion", "evaluation/report"


def whole(recipe: Callable[[Settings], Recipe]) -> Callable[[Tree, str], Recipe]:
    """The recipe of an asset without partitions, as the table takes it."""
    return lambda tree, _: recipe(tree.settings)


def each(recipe: Callable[[Settings, str], Recipe]) -> Callable[[Tree, str], Recipe]:
    """The recipe of an asset with partitions, as the table takes it."""
    return lambda tree, partition: recipe(tree.settings, partition)


def track(tree: Tree, of: Place, name: str, version: str) -> Input:
    """An input of the manifest: the canonical audio of the track that it names."""
    dataset, _, slug = name.partition("/")
    return Input(tree.node(Place(f"{dataset}/{NORMALISED}", slug)), version)


def raw_file(tree: Tree, of: Place, name: str, version: str) -> Input:
    """A raw file, by its checksum."""
    return Input(Node(name), version)


def training(tree: Tree, of: Place, name: str, version: str) -> Input:
    """An input that is told by the fingerprint of a training: whoever's it is, and whether or not it was replaced."""
    if not version:
        return Input(Node(f"{name}: nobody"))
    for place in (Place(asset, found) for asset in (CHECKPOINT, EARLIER) for found in there(asset)(tree.settings)):
        record = tree.record(place)
        if record is not None and record.fingerprint == version:
            return Input(tree.node(place), version)
    return Input(Node(f"{name}: a training that is no longer kept"), version)


def scored(tree: Tree, of: Place, name: str, version: str) -> Input:
    """The rows of all scores that stand side by side."""
    tables = (Place(ICA), *(Place(SCORES, found) for found in there(SCORES)(tree.settings)))
    inputs = tuple(Input(tree.node(place)) for place in tables)
    return Input(Node(f"{name}: rows of {ICA} and {SCORES}", inputs=inputs), version)


def there(asset: str) -> Callable[[Settings], list[str]]:
    """The partitions of an asset that have an output."""
    pattern = "[!.]*/[!.]*" if asset == EARLIER else "[!.]*"

    def names(settings: Settings) -> list[str]:
        folder = settings.root / asset
        return sorted(str(found.relative_to(folder)) for found in folder.glob(pattern) if found.is_dir())

    return names


def lane_outputs(dataset: Dataset) -> dict[str, Output]:
    """The rows of a lane."""
    name = dataset.name

    def slugs(settings: Settings) -> Iterable[str]:
        try:
            return list(read_index(settings.root, name)["slug"])
        except InputError:
            return there(f"{name}/{STEMS}")(settings)  # by what is left

    rows = {
        "archive": Output(lambda tree, _: archive_recipe(tree.settings, dataset), {"": raw_file}),
        RAW: Output(look=lambda tree, slug: raw_side(tree, dataset, slug), partitions=slugs),
        STEMS: Output(
            lambda tree, slug: stems_recipe(tree.job(dataset, slug)),
            {"raw": same_partition(f"{name}/{RAW}")},
            slugs,
            lambda tree, slug, found, _: stems_differences(tree.job(dataset, slug), found),
        ),
        NORMALISED: Output(
            lambda tree, slug: normalised_recipe(tree.whole(Place(f"{name}/{STEMS}", slug)).version),
            {"stems": same_partition(f"{name}/{STEMS}")},
            slugs,
        ),
        PREPARED: Output(
            look=lambda tree, _: Node(f"{name}/{PREPARED}", inputs=(Input(tree.node(Place(f"{name}/{NORMALISED}"))),))
        ),
    }
    if (labels := dataset.labels) is not None:
        rows["metadata"] = Output(lambda tree, _: metadata_recipe(tree.settings, dataset, labels))
    return {f"{name}/{part}": row for part, row in rows.items()}


def raw_side(tree: Tree, dataset: Dataset, slug: str) -> Node:
    """What a track's stems are made of: its raw files, each as it was then and is now, and what is said of it."""
    job, made = tree.job(dataset, slug), tree.record(Place(f"{dataset.name}/{STEMS}", slug))
    then = dict(made.measured.get(MADE_OF, {})) if made else {}
    inputs = [Input(_file(file), then.pop(Path(file.path).name, "")) for file in job.row.indexed]
    inputs += [
        Input(Node(name, state=MISSING, problems=("no file of this track any more",)), then[name]) for name in then
    ]
    inputs += [Input(tree.node(Place(key.to_user_string())), counts=False) for key in source_keys(dataset)]
    return Node(f"{dataset.name}/{RAW} {slug}", raw_version(job), inputs=tuple(inputs))


def _file(file: RawFile) -> Node:
    if file.stands():
        return Node(file.path, file.sha256)
    gone = not file.place.is_file()
    problem = "no such file" if gone else "changed since it was indexed"
    return Node(file.path, file.sha256, state=MISSING if gone else STALE, problems=(problem,))


_LANES = {asset: row for lane in LANES for asset, row in lane_outputs(lane.dataset).items()}
# What a source holds that was not looked at yet changes no track that there is: it counts for all of them together.
_SOURCES = tuple(asset for asset in _LANES if asset.endswith(("/archive", "/metadata")))

OUTPUTS: dict[str, Output] = {
    **_LANES,
    MANIFEST: Output(whole(manifest_recipe), {"": track}, also=_SOURCES),
    DUPLICATES: Output(whole(duplicates_recipe), {"manifest": output_of(MANIFEST)}),
    SPLITS: Output(whole(splits_recipe), {"manifest": output_of(MANIFEST), "duplicates": output_of(DUPLICATES)}),
    LOOPBACK: Output(whole(loopback_recipe), {"manifest": output_of(MANIFEST), "splits": output_of(SPLITS)}),
    CHECKPOINT: Output(each(checkpoint_recipe), {"loopback": output_of(LOOPBACK)}, there(CHECKPOINT)),
    EARLIER: Output(None, {"loopback": output_of(LOOPBACK)}, there(EARLIER)),
    ICA: Output(whole(ica_recipe), {"held_out": rows_of(MANIFEST, SPLITS)}),
    SCORES: Output(
        each(scores_recipe),
        {"checkpoint": same_partition(CHECKPOINT), "held_out": rows_of(MANIFEST, SPLITS)},
        there(SCORES),
    ),
    BOARD: Output(
        whole(board_recipe),
        {"scores": scored, "tracks": rows_of(MANIFEST, SPLITS), "left_out": words},
    ),
    BALLOT: Output(whole(ballot_recipe), {"": partition_named(SCORES)}),
    VALIDATION: Output(whole(champion_validation_recipe), {"champion": training, "validation": rows_of(LOOPBACK)}),
    CHALLENGER: Output(
        whole(challenger_recipe),
        {"challenger": training, "champion": training, "champion_validation": output_of(VALIDATION)},
    ),
    CHAMPION: Output(whole(champion_recipe), {"challenger": output_of(CHALLENGER)}),
    REPORT: Output(
        whole(report_recipe),
        {
            "leaderboard": output_of(BOARD),
            "ica_baseline": output_of(ICA),
            "manifest": output_of(MANIFEST),
            "champion": training,
            "promotion": words,
        },
    ),
}


def lineage(settings: Settings, asset: str, partition: str | None = None) -> Node:
    """An output and what it was made of. Raises InputError, with the nearest name, for one that there cannot be."""
    with cache.only_looking():
        return Tree(settings, OUTPUTS).node(find_place(settings, asset, partition))


def find_place(settings: Settings, asset: str, partition: str | None = None) -> Place:
    """The output that a person means: an asset by its whole name or the last part of it, and its partition."""
    named = [name for name in OUTPUTS if asset in (name, name.rpartition("/")[2])]
    if len(named) != 1:
        raise InputError(
            "asset",
            expected="an asset of the graph" if not named else f"one of {', '.join(named)}",
            found=asset,
            remedy=_nearest(asset, named or [*OUTPUTS, *(name.rpartition("/")[2] for name in OUTPUTS)]),
        )
    (name,) = named
    partitions = OUTPUTS[name].partitions
    if partition is None or (partitions and partition in _known(settings, name)):
        return Place(name, partition)
    raise InputError(
        f"partition of {name}",
        expected="a track or a candidate that there is" if partitions else "none: the asset has no partitions",
        found=partition,
        remedy=_nearest(partition, _known(settings, name)) if partitions else "leave it out",
    )


def _known(settings: Settings, asset: str) -> set[str]:
    partitions = OUTPUTS[asset].partitions
    known = {*(partitions(settings) if partitions else ()), *there(asset)(settings)}
    return known | set(candidate_names(settings.candidates)) if asset in (CHECKPOINT, SCORES) else known


def _nearest(name: str, names: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, sorted(set(names)), n=3, cutoff=0.4)
    return f"the nearest: {', '.join(near)}" if near else "leave the partition out, and all are shown"
