"""What stands beside the outputs of a storage root, damaged or gone: it is written again, or told, and never silent."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import dagster as dg
import pytest
from small_datasets import write_hq_track

from assets.lanes import LANES
from assets.splitting import splits
from data.engine import ExecutorEngine
from data.errors import InputError
from data.layout import Layout
from data.names import NAMES
from data.placements import read_placements
from data.settings import Settings
from data.splits import SPLITS
from pipelines.chain import run_chain
from pipelines.instance import prepare_home


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Five own tracks, prepared and placed."""
    folder = tmp_path_factory.mktemp("lost")
    for number in range(5):
        write_hq_track(folder / "own" / f"Artist {number} - Song {number}", 1.0, number)
    settings = Settings(storage=folder / "storage", musdb18="off", medleydb="off", own=str(folder / "own"), workers=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DAGSTER_HOME", "")
        assert not [failure for failure in run_chain(settings, []).failures if "quality" not in failure]
    return settings


@pytest.fixture
def copied(prepared: Settings, tmp_path: Path) -> Settings:
    shutil.copytree(prepared.root, tmp_path / "storage")
    return prepared.model_copy(update={"storage": tmp_path / "storage"})


def go(assets: list[dg.AssetsDefinition], settings: Settings) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        dg.materialize(assets, instance=instance, resources={"settings": settings, "engine": ExecutorEngine(1)})


def lose(file: Path) -> None:
    file.unlink()


def lose_a_line(file: Path) -> None:
    file.write_text("".join(file.read_text().splitlines(keepends=True)[:-1]))


@pytest.mark.parametrize("spoil", [lose, lose_a_line])
def test_places_that_were_lost_are_written_again_although_nothing_else_changed(
    copied: Settings, spoil: Callable[[Path], None], capsys: pytest.CaptureFixture[str]
) -> None:
    file = Layout(copied.root).placements
    before = file.read_bytes()
    spoil(file)
    go([splits], copied)
    assert file.read_bytes() == before
    assert "own/artist-4-song-4 were placed: written from the table" in capsys.readouterr().err
    go([splits], copied)
    assert "were placed" not in capsys.readouterr().err


def test_the_splits_go_by_a_file_of_places_that_was_restored(copied: Settings) -> None:
    layout = Layout(copied.root)
    file, before = layout.placements, SPLITS.read(layout.splits).set_index("track_id")["split"]
    one, other = (before.index[before == part][0] for part in ("train", "validation"))
    lines = [
        line.replace("split: train", "split: validation")
        if f"track: {one}," in line
        else line.replace("split: validation", "split: train")
        if f"track: {other}," in line
        else line
        for line in file.read_text().splitlines(keepends=True)
    ]
    file.write_text("".join(lines))
    go([splits], copied)
    after = SPLITS.read(layout.splits).set_index("track_id")["split"]
    assert (after[one], after[other]) == ("validation", "train")
    placed = read_placements(file).tracks
    assert {name: placed[name].split for name in after.index} == after.to_dict()


def as_folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


def as_pipe(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


def as_link_to_nothing(file: Path) -> None:
    file.unlink()
    file.symlink_to(file.parent / "not-mounted.yaml")


@pytest.mark.parametrize(
    "spoil", [as_folder, as_pipe, as_link_to_nothing, Path.touch, lambda file: file.write_text("")]
)
def test_a_file_of_places_that_is_none_is_told_and_never_taken_for_an_absent_one(
    copied: Settings, spoil: Callable[[Path], None]
) -> None:
    file = Layout(copied.root).placements
    if spoil is Path.touch:
        file.write_bytes(b"\xff\x00 no text")
    else:
        spoil(file)
    with pytest.raises(InputError) as refused:
        go([splits], copied)
    assert refused.value.file == str(file)
    assert "restore it from a backup, or remove it" in refused.value.remedy


def test_what_tracks_sound_like_is_kept_again_where_it_was_lost_or_damaged(copied: Settings) -> None:
    folder = Layout(copied.root).recordings
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    first, second, *_ = sorted(folder.iterdir())
    first.unlink()
    second.unlink()
    second.write_bytes(b"damage")
    go([splits], copied)
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == before


def test_names_that_cannot_be_read_are_told_as_what_a_backup_restores(copied: Settings) -> None:
    (lane,) = [lane for lane in LANES if lane.dataset.name == "own"]
    table = NAMES.path(Layout(copied.root).names("own"))
    table.write_bytes(b"no table")
    with pytest.raises(InputError, match="names of tracks") as refused:
        go(list(lane.sources), copied)
    assert (refused.value.file, "backup" in refused.value.remedy) == (str(table), True)
    table.unlink()
    go(list(lane.sources), copied)
    assert set(NAMES.read(table.parent)["slug"]) == {f"artist-{n}-song-{n}" for n in range(5)}


def test_what_lies_in_the_way_of_a_folder_is_told_in_words(copied: Settings) -> None:
    (lane,) = [lane for lane in LANES if lane.dataset.name == "own"]
    folder = Layout(copied.root).names("own")
    shutil.rmtree(folder)
    folder.write_text("a file")
    with pytest.raises(InputError, match="remove what is there") as refused:
        go(list(lane.sources), copied)
    assert refused.value.file == str(folder)


@pytest.mark.parametrize("content", [b"\xf5\x00\xff", b"telemetry: [", b""])
def test_a_damaged_configuration_of_dagster_is_written_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    monkeypatch.setenv("DAGSTER_HOME", "")
    file = prepare_home(tmp_path) / "dagster.yaml"
    before = file.read_bytes()
    file.write_bytes(content)
    prepare_home(tmp_path)
    assert file.read_bytes() == before


def test_a_folder_in_the_place_of_a_file_is_named_and_no_temporary_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAGSTER_HOME", "")
    (Layout(tmp_path).dagster / "dagster.yaml").mkdir(parents=True)
    with pytest.raises(InputError) as refused:
        prepare_home(tmp_path)
    assert refused.value.file == str(Layout(tmp_path).dagster / "dagster.yaml")
    assert ".partial" not in str(refused.value)
