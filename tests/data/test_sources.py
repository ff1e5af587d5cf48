"""The index over sources that change: slugs that stay, names that are no text, and what is passed over."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import soundfile
from small_datasets import RATE, tone, write_medleydb_track

from data.datasets.base import Dataset
from data.datasets.medleydb import MedleyDB
from data.datasets.own import Own
from data.engine import ExecutorEngine
from data.errors import InputError
from data.layout import Layout
from data.medleydb_metadata import STEMS, read_folder
from data.preparation import prepare_track, track_jobs
from data.settings import Settings
from data.sources import (
    INDEX,
    build_index,
    index_recipe,
    index_today,
    indexed_tracks,
    read_index,
    source_changed,
)
from data.tracks import Track


@dataclass
class Source:
    """Own stems in `folder`, and the storage root that indexes them."""

    folder: Path
    storage: Path
    dataset: Dataset

    @property
    def settings(self) -> Settings:
        return Settings(storage=self.storage, musdb18="off", medleydb="off", own=str(self.folder))

    def add(self, name: str, pitch: float) -> None:
        (self.folder / name).mkdir(parents=True)
        for role in ("mixture", "vocals"):
            soundfile.write(os.fsencode(self.folder / name / f"{role}.wav"), tone(0.2, pitch), RATE)

    def rename(self, name: str, new: str) -> None:
        (self.folder / name).rename(self.folder / new)

    def remove(self, name: str) -> None:
        shutil.rmtree(self.folder / name)

    def index(self) -> dict[str, str]:
        """Slug by title, of an index that was built and written; what is passed over and said stands in `said`."""
        self.said: list[str] = []
        frame = build_index(self.dataset, self.settings, self.said.append, ExecutorEngine(2))
        INDEX.write(Layout(self.storage).index("own"), frame)
        assert source_changed(self.dataset, self.storage, self.folder) == []
        assert len(set(frame["slug"])) == len(frame)
        return dict(zip(frame["title"], frame["slug"], strict=True))


@pytest.fixture
def source(tmp_path: Path) -> Source:
    (tmp_path / "own").mkdir()
    return Source(tmp_path / "own", tmp_path / "storage", Own())


def test_a_track_keeps_its_slug_while_others_of_its_spelling_come_and_go(source: Source) -> None:
    source.add("C", 200)
    assert source.index() == {"C": "c"}
    source.add("C#", 210)
    both = source.index()
    assert both["C"] == "c"
    source.remove("C")
    assert source.index() == {"C#": both["C#"]}
    source.add("c", 220)
    assert source.index()["c"] not in ("c", both["C#"])
    source.add("C", 230)
    assert source.index()["C"] == "c"


def test_a_track_whose_name_is_spelt_another_way_is_known_by_its_audio(source: Source) -> None:
    source.add("Beyonce\u0301 - X", 200)
    assert set(source.index().values()) == {"beyonce-x"}
    source.rename("Beyonce\u0301 - X", "Beyoncé - X")
    assert set(source.index().values()) == {"beyonce-x"}
    source.rename("Beyoncé - X", "Beyoncé - Y")
    assert set(source.index().values()) == {"beyonce-y"}


def test_an_index_from_before_slugs_were_remembered_is_gone_by(source: Source) -> None:
    source.add("王菲 - 他", 200)
    assert source.index() == {"他": "wang-fei-ta"}
    shutil.rmtree(Layout(source.storage).names("own"))
    source.add("王菲 - 她", 210)
    slugs = source.index()
    assert slugs["他"] == "wang-fei-ta"
    assert slugs["她"].startswith("wang-fei-ta-")


def test_what_the_index_would_be_now_is_seen_without_remembering_it(source: Source) -> None:
    source.add("C", 200)
    source.index()
    names = Layout(source.storage).names("own")
    before = {path: path.read_bytes() for path in names.rglob("*") if path.is_file()}
    source.add("D", 210)
    today = index_today(source.dataset, source.settings)
    assert list(today["slug"]) == ["c", "d"]
    assert {path: path.read_bytes() for path in names.rglob("*") if path.is_file()} == before
    source.index()
    assert index_recipe(read_index(source.storage, "own")) == index_recipe(today)


def test_the_recipe_of_an_index_is_the_one_of_earlier_releases() -> None:
    file = {"path": "/own/A/mixture.wav", "size": 1, "mtime_ns": 2, "sha256": "f"}
    row = {"slug": "a", "title": "A", "artist": "B", "licence": "CC0", "split": None, "genre": "", "details": []}
    recipe = index_recipe(pd.DataFrame([row | {"files": [file]}]))
    assert recipe.inputs == {"a/mixture.wav": "f"}
    assert recipe.parameters["files"] == [["/own/A/mixture.wav", 2]]
    assert recipe.fingerprint == "ef0b97270e07174ac49cb517702339c9778773631920d8ac386ab884f52019cc"


def test_a_source_that_was_moved_keeps_its_slugs(source: Source, tmp_path: Path) -> None:
    for number, name in enumerate(("C", "C#", "D")):
        source.add(name, 200 + number)
    before = source.index()
    source.folder = source.folder.rename(tmp_path / "moved")
    assert source.index() == before


def test_names_that_are_no_text_are_indexed_opened_and_seen_to_change(source: Source) -> None:
    name = os.fsdecode(b"Caf\xe9 - S\xfcng\n1")
    source.add(name, 200)
    source.add("A - B", 210)
    assert source.index() == {"S\\xfcng 1": "caf-xe9-s-xfcng-1", "B": "a-b"}
    odd = next(row for row in indexed_tracks(source.storage, "own") if row.slug != "a-b")
    assert odd.files[0].read_bytes() == (source.folder / name / "mixture.wav").read_bytes()
    for job in track_jobs(source.settings, source.dataset).values():
        assert prepare_track(job).problem is None
    os.utime(source.folder / name / "vocals.wav", ns=(5, 5))
    assert source_changed(source.dataset, source.storage, source.folder) == [odd.slug]


def test_names_of_every_shape_are_tracks_that_can_be_prepared(source: Source) -> None:
    names = ["a\tb - c", "100 %03d", "'q\" `x` $(y)", "-dash", "end ", "dot.", "%", "...Baby", "x" * 255, "concat:a|b"]
    names += ["file:x", "\\n", "\u202egnp", "é" * 126, "a" * 124 + " 1", "a" * 124 + " 2", "🎵", "\u3000", "C, D...E"]
    for number, name in enumerate(names):
        source.add(name, 200 + number)
    slugs = set(source.index().values())
    assert len(slugs) == len(names)
    assert all("," not in slug and "..." not in slug for slug in slugs)
    problems = [prepare_track(job).problem for job in track_jobs(source.settings, source.dataset).values()]
    assert problems == [None] * len(names)


def test_a_medleydb_track_whose_name_is_no_text_finds_its_labels(tmp_path: Path, quiet: Callable[[str], None]) -> None:
    write_medleydb_track(tmp_path / "audio", tmp_path / "metadata", "A_Song", ["piano", "vocalists"])
    odd = os.fsdecode(b"A_S\xf6ng")
    for path in sorted((tmp_path / "audio").rglob("*"), key=lambda path: -len(path.parts)):
        path.rename(path.with_name(path.name.replace("A_Song", odd) if "STEM_" not in path.name else path.name))
    labels = tmp_path / "metadata" / "A_Song_METADATA.yaml"
    labels.rename(labels.with_name(f"{odd}_METADATA.yaml"))
    settings = Settings(storage=tmp_path / "storage", medleydb=str(tmp_path / "audio"))
    index = build_index(MedleyDB(), settings, quiet, ExecutorEngine(2))
    INDEX.write(Layout(settings.root).index("medleydb"), index)
    STEMS.write(Layout(settings.root).labels("medleydb"), read_folder(tmp_path / "metadata")[0])
    ((_, job),) = track_jobs(settings, MedleyDB()).items()
    assert prepare_track(job).problem is None


def test_what_is_passed_over_is_told_in_a_line(source: Source) -> None:
    source.add("A - B", 200)
    source.add(".Trash-1000/files/C", 210)
    (source.folder / "D").mkdir()
    (source.folder / "D" / "mix.wav").touch()
    source.index()
    (line,) = source.said
    assert line.startswith(f"Own stems: 1 tracks in {source.folder}; 2 passed over: ")
    assert ".Trash-1000 (hidden)" in line
    assert "D (no vocals)" in line


def test_a_storage_root_among_the_tracks_is_no_source_before_and_after_it_is_filled(source: Source) -> None:
    source.storage = source.folder / "results"
    source.add("A - B", 200)
    source.add("results/own/stems/x", 210)
    assert source.index() == {"B": "a-b"}


def test_a_file_that_cannot_be_read_stops_its_track_only(source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    source.add("Bad", 200)
    source.add("Good", 210)
    locked = source.folder / "Bad" / "vocals.wav"
    real = open

    def refusing(path: Any, *arguments: Any, **more: Any) -> Any:
        if path == locked:
            raise PermissionError(13, "Permission denied", str(path))
        return real(path, *arguments, **more)

    monkeypatch.setattr("builtins.open", refusing)
    frame = build_index(source.dataset, source.settings, lambda _: None, ExecutorEngine(1)).set_index("slug")
    assert [bool(file["sha256"]) for file in frame.loc["bad", "files"]] == [True, False]
    assert [bool(file["sha256"]) for file in frame.loc["good", "files"]] == [True, True]


def test_a_damaged_table_of_names_is_told_and_not_forgotten(source: Source) -> None:
    source.add("C", 200)
    source.index()
    (Layout(source.storage).names("own") / "names.parquet").write_bytes(b"PAR1 not")
    with pytest.raises(InputError, match=r"names\.parquet"):
        source.index()


class Plain(Own):
    """A reader that knows nothing of names and walks: files `<song>.wav` anywhere below a folder."""

    def discover(self, folder: Path) -> list[Track]:  # type: ignore[override]
        return [
            Track(dataset="own", name=path.stem, title=path.stem, artist="", licence="CC0", files=(path,))
            for path in sorted(folder.rglob("*.wav"))
        ]


def test_a_reader_that_gives_a_list_has_the_same_promises(source: Source) -> None:
    source.dataset = Plain()
    source.storage = source.folder / "results"
    for name in ("C", "D", "@eaDir/E", "results/own/F"):
        (source.folder / name).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(source.folder / f"{name}.wav", tone(0.2, 200 + ord(name[-1])), RATE)
    assert source.index() == {"C": "c", "D": "d"}
    assert "2 passed over: @eaDir/E.wav (the storage device's own); results/own/F.wav (what this" in source.said[0]
    soundfile.write(source.folder / "C#.wav", tone(0.2, 300), RATE)
    slugs = source.index()
    assert (slugs["C"], slugs["D"]) == ("c", "d")
    assert slugs["C#"].startswith("c-")


def test_a_dataset_that_is_off_has_no_tracks_and_forgets_no_names(source: Source, quiet: Callable[[str], None]) -> None:
    source.add("C", 200)
    source.index()
    off = Settings(storage=source.storage, musdb18="off", medleydb="off", own="off")
    assert isinstance(frame := build_index(Own(), off, quiet, ExecutorEngine(1)), pd.DataFrame)
    assert frame.empty
    source.rename("C", "C#")
    os.utime(source.folder / "C#" / "mixture.wav", ns=(5, 5))
    soundfile.write(source.folder / "C#" / "mixture.wav", tone(0.2, 333), RATE)
    assert source.index()["C#"].startswith("c-")
