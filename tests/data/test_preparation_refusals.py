"""What an operating system refuses while a track is prepared is bad input of that track."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest
from small_datasets import write_hq_dataset

from data.datasets.musdb18 import Musdb18
from data.engine import ExecutorEngine
from data.layout import Layout
from data.preparation import TrackJob, prepare_track, track_jobs
from data.settings import Settings
from data.sources import INDEX, build_index


@pytest.fixture
def job(tmp_path: Path) -> TrackJob:
    write_hq_dataset(tmp_path / "musdb18", train=1, test=0, seconds=0.5)
    settings = Settings(storage=tmp_path / "storage", musdb18=str(tmp_path / "musdb18"))
    INDEX.write(
        Layout(settings.root).index("musdb18"), build_index(Musdb18(), settings, lambda _: None, ExecutorEngine(1))
    )
    (only,) = track_jobs(settings, Musdb18()).values()
    return only


@pytest.mark.parametrize(
    ("number", "expected"), [(errno.ENOSPC, "room on the disk"), (errno.EACCES, "the right to use it")]
)
def test_it_is_told_of_the_place_where_the_output_was_to_be(
    job: TrackJob, monkeypatch: pytest.MonkeyPatch, number: int, expected: str
) -> None:
    def refuse(_: Any, __: Any, ___: Any, folder: Path) -> None:
        raise OSError(number, os.strerror(number), str(folder / "vocals.wav"))

    monkeypatch.setattr(Musdb18, "extract", refuse)
    problem = prepare_track(job).problem
    assert problem is not None
    assert problem.what.startswith("musdb18/artist-0-song-0")
    assert problem.expected == expected
    assert problem.file == str(Layout(job.root).stems("musdb18", job.row.slug) / "vocals.wav")
    assert not list(job.root.rglob(".partial-*"))


def test_a_storage_root_that_cannot_be_written_to_is_told_with_the_path(job: TrackJob) -> None:
    stems = Layout(job.root).stems("musdb18", job.row.slug).parent
    stems.write_text("a file where a folder should be")
    problem = prepare_track(job).problem
    assert problem is not None
    assert problem.file is not None
    assert problem.file.startswith(str(stems))
    assert "traceback" not in problem.remedy


def test_too_little_memory_for_a_track_is_told(job: TrackJob, monkeypatch: pytest.MonkeyPatch) -> None:
    def need_more(*_: Any) -> None:
        raise MemoryError("Unable to allocate 80 GiB")

    monkeypatch.setattr(Musdb18, "extract", need_more)
    problem = prepare_track(job).problem
    assert problem is not None
    assert (problem.found, "ISOLATION_WORKERS" in problem.remedy) == ("Unable to allocate 80 GiB", True)
