"""The sensors, over a folder that grows, with the runs they ask for really run."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
import soundfile
from small_datasets import tone

from data.settings import Settings
from data.tables import read_table
from pipelines.definitions import build_definitions


def add_track(folder: Path, seconds: float = 0.3) -> None:
    folder.mkdir(parents=True)
    soundfile.write(folder / "vocals.wav", tone(seconds, 330), 44100)
    soundfile.write(folder / "accompaniment.wav", tone(seconds), 44100)


class Watched:
    """A folder of own stems that `new_tracks_own` watches."""

    def __init__(self, folder: Path, instance: dg.DagsterInstance) -> None:
        self.source, self.storage, self.instance = folder / "own", folder / "storage", instance
        settings = Settings(storage=self.storage, musdb18="off", medleydb="off", own=str(self.source))
        self.repository = build_definitions(settings).get_repository_def()
        self.resources = {"settings": settings}

    def settle(self) -> None:
        """Let the files look as if nobody had written to them for an hour."""
        for path in self.source.rglob("*"):
            if path.is_file() and path.stat().st_mtime > time.time() - 1800:
                stamp = path.stat().st_mtime_ns - 3600 * 10**9
                os.utime(path, ns=(stamp, stamp))

    def tick(self) -> list[dg.RunRequest] | str:
        """What the sensor asks for, or why it asks for nothing."""
        sensor = self.repository.get_sensor_def("new_tracks_own")
        with dg.build_sensor_context(
            instance=self.instance, repository_def=self.repository, resources=self.resources
        ) as context:
            data = sensor.evaluate_tick(context)
        return list(data.run_requests or []) or data.skip_message or ""

    def obey(self, requests: list[dg.RunRequest] | str) -> None:
        """Run what the sensor asked for; a track that fails does not fail the test."""
        assert isinstance(requests, list), requests
        for request in requests:
            job = self.repository.get_job(request.job_name or "")
            job.execute_in_process(
                instance=self.instance,
                tags=dict(request.tags),
                asset_selection=request.asset_selection,
                raise_on_error=False,
            )

    def prepared(self) -> set[str]:
        return {path.parent.name for path in self.storage.glob("own/normalised/*/record.json")}


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    add_track(tmp_path / "own" / "Ann - One")
    with dg.instance_for_test() as instance:
        watched = Watched(tmp_path, instance)
        watched.settle()
        watched.obey(watched.tick())
        watched.obey(watched.tick())
        yield watched


def test_a_new_track_is_found_registered_and_prepared(watched: Watched) -> None:
    assert watched.prepared() == {"ann-one"}
    assert watched.tick() == "all 1 tracks are prepared"
    add_track(watched.source / "Bob - Two")
    assert "still being written" in str(watched.tick())
    watched.settle()
    watched.obey(watched.tick())
    assert set(watched.instance.get_dynamic_partitions("own_tracks")) == {"ann-one", "bob-two"}
    requests = watched.tick()
    assert [(request.job_name, set(request.tags.values()) & {"ann-one", "bob-two"}) for request in requests] == [
        ("prepare_own", {"bob-two"})
    ]
    watched.obey(requests)
    assert watched.prepared() == {"ann-one", "bob-two"}
    assert watched.tick() == "all 2 tracks are prepared"


def test_a_changed_and_a_damaged_track_are_prepared_again(watched: Watched) -> None:
    soundfile.write(watched.source / "Ann - One" / "vocals.wav", tone(0.4, 330), 44100)
    watched.settle()
    before = (watched.storage / "own/stems/ann-one/record.json").read_text()
    watched.obey(watched.tick())
    watched.obey(watched.tick())
    assert (watched.storage / "own/stems/ann-one/record.json").read_text() != before
    (watched.storage / "own/normalised/ann-one/mixture.wav").unlink()
    watched.obey(watched.tick())
    assert (watched.storage / "own/normalised/ann-one/mixture.wav").is_file()


def test_a_track_that_fails_is_asked_for_once_until_its_files_change(watched: Watched) -> None:
    add_track(watched.source / "Bad - Track")
    (watched.source / "Bad - Track" / "vocals.wav").write_text("no audio")
    watched.settle()
    watched.obey(watched.tick())
    first = watched.tick()
    watched.obey(first)
    second = watched.tick()
    assert isinstance(first, list)
    assert isinstance(second, list)
    assert [request.run_key for request in first] == [request.run_key for request in second]  # Dagster runs a key once


def test_a_withdrawn_track_leaves_the_partitions(watched: Watched) -> None:
    add_track(watched.source / "Bob - Two")
    watched.settle()
    watched.obey(watched.tick())
    shutil.rmtree(watched.source / "Bob - Two")
    watched.obey(watched.tick())
    assert list(watched.instance.get_dynamic_partitions("own_tracks")) == ["ann-one"]
    assert list(read_table(watched.storage / "own/archive/tracks.parquet")["slug"]) == ["ann-one"]


def test_storage_broken_links_and_clocks_among_the_tracks_keep_nothing_waiting(watched: Watched) -> None:
    add_track(watched.source / "Bea - Two")
    watched.settle()
    (watched.source / "broken.wav").symlink_to("nowhere")
    (watched.source / "self").symlink_to("self")
    (watched.source / "results").symlink_to(watched.storage)  # it changes all the time
    ahead = watched.source / "Bea - Two" / "vocals.wav"
    os.utime(ahead, (ahead.stat().st_atime, time.time() + 10**7))
    (request,) = watched.tick()
    assert isinstance(request, dg.RunRequest)
    assert request.job_name == "ingest"


def test_sources_that_cannot_grow_are_not_watched(watched: Watched) -> None:
    sensor = watched.repository.get_sensor_def("new_tracks_musdb18")
    with dg.build_sensor_context(
        instance=watched.instance, repository_def=watched.repository, resources=watched.resources
    ) as context:
        assert "only a folder can grow" in (sensor.evaluate_tick(context).skip_message or "")


def test_all_sensors_start_switched_off(watched: Watched) -> None:
    assert {sensor.default_status.value for sensor in watched.repository.sensor_defs} == {"STOPPED"}
