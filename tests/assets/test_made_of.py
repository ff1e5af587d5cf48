"""What every output is made of and why it is stale, asked of a storage root on which the chain ran."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import soundfile
import yaml
from small_datasets import write_hq_track, write_medleydb_track

from assets.separators import training_recipe
from assets.sources import archive_recipe
from assets.staleness import OUTPUTS, lineage
from data import cache
from data.datasets import DATASETS
from data.demo import corpus
from data.errors import InputError
from data.files import sha256_of
from data.layout import Layout
from data.lineage import CURRENT, MISSING, STALE, UNKNOWN, Node, render
from data.recipe import Recipe
from data.settings import Quality, Settings
from models.candidate import load_candidate
from pipelines.chain import run_chain

SHIPPED = Path(__file__).resolve().parents[2] / "models" / "candidates"


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Four own tracks and three of MedleyDB, prepared and placed, and the candidate `toy` as if it had been trained."""
    folder = tmp_path_factory.mktemp("why")
    for number in range(4):
        write_hq_track(folder / "own" / f"Artist {number} - Song {number}", 0.5, number)
    for name in ("Ann_One", "Bob_Two", "Cid_Three"):
        write_medleydb_track(folder / "medleydb", folder / "metadata", name, ["piano", "male singer"], 0.5)
    shutil.copytree(SHIPPED, folder / "candidates")
    settings = Settings(
        storage=folder / "storage",
        musdb18="off",
        medleydb=str(folder / "medleydb"),
        medleydb_metadata=folder / "metadata",
        own=str(folder / "own"),
        candidates=folder / "candidates",
        workers=1,
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DAGSTER_HOME", "")
        assert not [failure for failure in run_chain(settings, []).failures if "quality" not in failure]
    parameters = load_candidate(folder / "candidates" / "toy.yaml").recorded
    pairs = cache.require(Layout(settings.root).loopback, "pairs").version
    cache.make(Layout(settings.root).checkpoint("toy"), training_recipe(parameters, pairs), _weights)
    return settings


@pytest.fixture
def settings(prepared: Settings, tmp_path: Path) -> Settings:
    """A copy of all of it, that a test may spoil."""
    folder = prepared.root.parent
    shutil.copytree(folder, tmp_path / "all", copy_function=shutil.copy2)
    places = ("storage", "medleydb", "medleydb_metadata", "own", "candidates")
    moved = {name: Path(str(getattr(prepared, name)).replace(str(folder), str(tmp_path / "all"))) for name in places}
    # The index names the raw files where they were.
    return prepared.model_copy(update=moved | {name: str(prepared.source(name)) for name in ("medleydb", "own")})


def _weights(folder: Path) -> dict[str, object]:
    (folder / "checkpoint.pt").write_bytes(b"weights")
    return {}


def below(node: Node) -> Iterator[Node]:
    yield node
    for each in node.inputs:
        yield from below(each.node)


def find(node: Node, name: str) -> Node:
    return next(found for found in below(node) if found.name == name)


def states(node: Node) -> dict[str, tuple[str, ...]]:
    """What is not current, and why."""
    return {found.name: found.problems for found in below(node) if not found.stands}


def snapshot(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {str(path): (path.stat().st_mtime_ns, path.read_bytes()) for path in folder.rglob("*") if path.is_file()}


def test_a_checkpoint_leads_to_every_raw_file_by_its_checksum(prepared: Settings) -> None:
    node = lineage(prepared, "separators/checkpoint", "toy")
    assert states(node) == {}
    assert {found.state for found in below(node) if found.state} == {CURRENT}
    raw = {found.name: found.version for found in below(node) if "/" in found.name and found.name.startswith("/")}
    files = [*(prepared.root.parent / "own").rglob("*.wav"), *(prepared.root.parent / "medleydb").rglob("*_MIX.wav")]
    assert {str(path): sha256_of(path) for path in files}.items() <= raw.items()
    for name in ("training_set/loopback", "training_set/splits", "training_set/duplicates", "medleydb/metadata"):
        assert find(node, name).state == CURRENT
    assert find(node, "own/normalised artist-1-song-1").inputs[0].node.name == "own/stems artist-1-song-1"


def test_every_input_has_the_version_that_its_own_record_has(prepared: Settings) -> None:
    for node in below(lineage(prepared, "separators/checkpoint", "toy")):
        for each in node.inputs:
            if each.version and each.node.version:
                assert each.version == each.node.version, (node.name, each.node.name)


def test_nothing_is_written_also_where_times_changed_or_recipes_are_missing(settings: Settings) -> None:
    for record in settings.root.rglob(cache.RECORD):
        forget_the_recipe(record.parent)
    for audio in settings.root.rglob("mixture.wav"):
        os.utime(audio, ns=(1, 1))
    before = snapshot(settings.root)
    node = lineage(settings, "loopback")
    assert states(node) == {}
    assert find(node, "training_set/manifest").made_of  # a recipe of today with its fingerprint is its own
    assert snapshot(settings.root) == before


def forget_the_recipe(folder: Path) -> None:
    content = json.loads((folder / cache.RECORD).read_text())
    del content["recipe"], content["sha256"]
    (folder / cache.RECORD).write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("changes", "stale"),
    [
        ({"seed": 3}, {"training_set/splits": ("seed 0 -> 3",), "training_set/loopback": ("seed 0 -> 3",)}),
        ({"loopback_vocal": 0.5}, {"training_set/loopback": ("vocal_share 0.1 -> 0.5",)}),
        ({"quality": Quality(shortest_s=0.1)}, {"training_set/manifest": ("quality.shortest_s 5.0 -> 0.1",)}),
        ({"bleed": "keep"}, {"training_set/splits": ('bleed "exclude" -> "keep"',)}),
    ],
)
def test_a_changed_setting_is_told_exactly_where_it_counts(
    prepared: Settings, changes: dict[str, object], stale: dict[str, tuple[str, ...]]
) -> None:
    assert states(lineage(prepared.model_copy(update=changes), "checkpoint", "toy")) == stale


def test_a_changed_candidate_is_told_exactly(settings: Settings) -> None:
    file = settings.candidates / "toy.yaml"
    content = yaml.safe_load(file.read_text())
    rate = content["training"]["learning_rate"]
    content["training"]["learning_rate"] = 0.0005
    file.write_text(yaml.safe_dump(content))
    node = lineage(settings, "checkpoint", "toy")
    assert node.problems == (f"training.learning_rate {rate} -> 0.0005",)


@pytest.fixture
def raw(prepared: Settings) -> Iterator[Path]:
    """A raw file that a test may spoil: it is put back as it was."""
    file = Path(prepared.source("own")) / "Artist 2 - Song 2" / "mixture.wav"
    status, content = file.stat(), file.read_bytes()
    yield file
    file.write_bytes(content)
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))


def test_a_changed_raw_file_is_told_where_it_lies_and_in_the_archive(prepared: Settings, raw: Path) -> None:
    samples, rate = soundfile.read(raw)
    soundfile.write(raw, samples * 0.9, rate)
    told = states(lineage(prepared, "own/normalised", "artist-2-song-2"))
    assert told[str(raw)] == ("changed since it was indexed",)
    assert told["own/archive"] == ("files changed", "1 changed (artist-2-song-2/mixture.wav)")
    loopback = lineage(prepared, "loopback")
    assert not find(loopback, "own/stems artist-2-song-2").sound
    assert find(loopback, "own/stems artist-1-song-1").sound
    raw.unlink()
    told = states(lineage(prepared, "own/stems", "artist-2-song-2"))
    assert told[str(raw)] == ("no such file",)


def test_a_new_raw_track_is_told_of_the_source_and_what_is_made_of_all_tracks(prepared: Settings) -> None:
    new = write_hq_track(Path(prepared.source("own")) / "Artist 9 - Song 9", 0.5, 9)
    try:
        loopback = lineage(prepared, "loopback")
    finally:
        shutil.rmtree(new)
    (told,) = states(loopback).values()
    assert told == ("files changed", "words changed", "2 new (artist-9-song-9/mixture.wav, artist-9-song-9/vocals.wav)")
    assert not loopback.sound
    assert find(loopback, "own/normalised artist-1-song-1").sound


def test_a_changed_label_is_told(settings: Settings) -> None:
    file = settings.medleydb_metadata / "Bob_Two_METADATA.yaml"  # type: ignore[operator]
    content = yaml.safe_load(file.read_text())
    content["stems"]["S01"]["instrument"] = "female singer"
    file.write_text(yaml.safe_dump(content))
    (problem,) = states(lineage(settings, "medleydb/stems", "bob-two"))["medleydb/metadata"]
    assert problem == "table changed"


def test_what_is_missing_damaged_or_unreadable_is_said_in_words(settings: Settings) -> None:
    layout = Layout(settings.root)
    shutil.rmtree(layout.normalised("own", "artist-1-song-1"))
    (layout.stems("own", "artist-2-song-2") / "vocals.wav").write_bytes(b"other")
    (layout.stems("own", "artist-3-song-3") / cache.RECORD).write_text("{")
    node = lineage(settings, "loopback")
    assert states(node) == {
        "training_set/manifest": ("3 gone (own/artist-1-song-1, own/artist-2-song-2, own/artist-3-song-3)",),
        "own/normalised artist-1-song-1": ("not made yet",),
        "own/stems artist-2-song-2": ("vocals.wav is not as it was written",),
        "own/normalised artist-2-song-2": ("own/stems artist-2-song-2: damaged output",),
        "own/stems artist-3-song-3": ("its record.json is damaged",),
        "own/normalised artist-3-song-3": ("own/stems artist-3-song-3: damaged output",),
    }
    assert find(node, "own/normalised artist-1-song-1").state == MISSING
    assert find(node, "own/normalised artist-2-song-2").state == UNKNOWN
    assert find(node, "own/stems artist-2-song-2").state == STALE
    (line,) = [line for line in render(node) if "own/normalised artist-1-song-1  " in line]
    assert line.endswith("  missing: not made yet")


def test_an_old_record_without_recipe_that_no_longer_fits_is_followed_all_the_same(settings: Settings) -> None:
    forget_the_recipe(Layout(settings.root).splits)
    node = lineage(settings.model_copy(update={"seed": 3}), "splits")
    assert node.problems == ("settings, inputs or code changed",)
    assert "did not keep of what" in str(node.made_of)
    assert {each.node.name for each in node.inputs} == {"training_set/manifest", "training_set/duplicates"}


def test_an_empty_storage_root_is_told_of_too(tmp_path: Path) -> None:
    settings = Settings(storage=tmp_path / "none", musdb18="off", medleydb="off", own="off")
    for asset in OUTPUTS:
        node = lineage(settings, asset)
        assert "\n".join(render(node))
    assert find(lineage(settings, "loopback"), "training_set/manifest").state == MISSING
    assert not settings.root.exists()


def test_a_source_that_would_have_to_be_made_first_is_not_made(tmp_path: Path) -> None:
    settings = Settings(storage=tmp_path / "none", medleydb="off", own="off")
    node = lineage(settings, "musdb18/archive")
    assert (node.state, node.problems) == (MISSING, ("not made yet",))
    assert not settings.root.exists()


def test_a_demo_that_another_seed_would_make_is_told_and_not_made(tmp_path: Path) -> None:
    settings = Settings(storage=tmp_path, medleydb="off", own="off", seed=3)
    raw = Layout(settings.root).raw("musdb18")
    cache.make(raw, Recipe(corpus.VERSION, {"seed": 0}, {}), _weights)
    before = snapshot(tmp_path)
    with cache.only_looking(), pytest.raises(InputError, match="seed 0 -> 3"):
        archive_recipe(settings, DATASETS["musdb18"])
    assert snapshot(tmp_path) == before


def test_a_source_that_is_another_one_now_is_told_without_asking_its_publisher(settings: Settings) -> None:
    node = lineage(settings.model_copy(update={"own": "download"}), "own/archive")
    assert (node.state, len(node.problems)) == (UNKNOWN, 1)
    assert "own/archive: one of" in node.problems[0]


def test_an_earlier_training_that_an_output_names_is_found_again(settings: Settings) -> None:
    layout = Layout(settings.root)
    record = cache.require(layout.checkpoint("toy"), "toy")
    shutil.move(layout.checkpoint("toy"), layout.earlier("toy") / record.fingerprint[:16])

    def write(folder: Path) -> dict[str, object]:
        (folder / "contest.parquet").write_bytes(b"")
        return {}

    recipe = Recipe("2", {}, {"challenger": record.fingerprint, "champion": "", "champion_validation": "x"})
    cache.make(layout.challenger, recipe, write)
    node = lineage(settings, "challenger")
    first, second, third = (each.node for each in node.inputs)
    assert first.name == f"separators/earlier toy/{record.fingerprint[:16]}"
    assert find(first, "training_set/loopback").state == CURRENT
    assert second.name == "champion: nobody"
    assert third.state == MISSING


@pytest.mark.parametrize(
    ("asset", "partition", "told"),
    [
        ("loopbak", None, "the nearest: loopback"),
        ("training_set/manifst", None, "training_set/manifest"),
        ("stems", None, "expected: one of musdb18/stems, medleydb/stems, own/stems"),
        ("own/stems", "artist-1-song", "the nearest: artist-1-song-1"),
        ("checkpoint", "tou", "the nearest: toy"),
        ("manifest", "toy", "the asset has no partitions"),
        ("own/stems", "../../..", "a track or a candidate"),
    ],
)
def test_a_wrong_name_is_refused_with_the_nearest(
    prepared: Settings, asset: str, partition: str | None, told: str
) -> None:
    with pytest.raises(InputError) as refused:
        lineage(prepared, asset, partition)
    assert told in str(refused.value)


def test_without_a_partition_all_are_shown(prepared: Settings) -> None:
    node = lineage(prepared, "own/normalised")
    assert [each.node.name for each in node.inputs] == [f"own/normalised artist-{n}-song-{n}" for n in range(4)]
