"""What the weekly schedule finds to do, on a training set that really changes."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import pytest
import soundfile
import yaml
from small_datasets import tone, write_hq_dataset

from assets.separators import CHECKPOINT, training_recipe
from data import cache
from data.settings import Quality, Settings
from models.candidate import load_candidate
from pipelines.chain import Chain
from pipelines.definitions import build_definitions

SHIPPED = Path(__file__).resolve().parents[2] / "models" / "candidates"
JOBS = ("ingest", "prepare_musdb18", "assemble")


class Week:
    """A training set, the candidate `toy` as if it had been trained on it, and Monday morning."""

    def __init__(self, folder: Path, instance: dg.DagsterInstance) -> None:
        self.folder, self.instance = folder, instance
        shutil.copytree(SHIPPED, folder / "candidates")
        write_hq_dataset(folder / "musdb18", train=4, test=1, seconds=0.5)

    def settings(self, **changes: object) -> Settings:
        values = {"storage": self.folder / "storage", "musdb18": str(self.folder / "musdb18"), "medleydb": "off"}
        return Settings(**{**values, "own": "off", "candidates": self.folder / "candidates", **changes})

    def run(self, *names: str, **changes: object) -> None:
        for name in names:
            chain = Chain(build_definitions(self.settings(**changes)), self.instance)
            partitions = self.instance.get_dynamic_partitions("musdb18_tracks") if name.startswith("prepare") else ()
            assert chain.run(name, partitions=partitions), chain.tally.failures

    def train(self) -> None:
        """Leave what a training leaves: its record, and the event."""
        parameters = load_candidate(self.folder / "candidates" / "toy.yaml").recorded
        pairs = cache.require(self.folder / "storage" / "training_set" / "loopback", "pairs")
        folder = self.folder / "storage" / "separators" / "checkpoint" / "toy"

        def work(partial: Path) -> dict[str, object]:
            (partial / "checkpoint.pt").write_bytes(b"weights")
            return {"settings": parameters}

        cache.make(folder, training_recipe(parameters, pairs.version), work)
        self.instance.report_runless_asset_event(dg.AssetMaterialization(asset_key=CHECKPOINT, partition="toy"))

    def tick(self, day: int = 23, **changes: object) -> tuple[list[tuple[str | None, str]], list[str | None], str]:
        """(partition, why) and key of each run that is asked for, and why none is."""
        settings = self.settings(**changes)
        repository = build_definitions(settings).get_repository_def()
        with dg.build_schedule_context(
            instance=self.instance,
            repository_def=repository,
            scheduled_execution_time=datetime(2026, 11, day, 3, tzinfo=UTC),
            resources={"settings": settings},
        ) as context:
            data = repository.get_schedule_def("retrain").evaluate_tick(context)
        asked = data.run_requests or []
        runs = [(request.partition_key, request.tags["isolation/why"]) for request in asked]
        return runs, [request.run_key for request in asked], data.skip_message or ""


@pytest.fixture
def untrained(tmp_path: Path) -> Iterator[Week]:
    with dg.instance_for_test() as instance:
        yield Week(tmp_path, instance)


@pytest.fixture
def week(untrained: Week) -> Week:
    untrained.run(*JOBS)
    untrained.train()
    return untrained


def test_it_skips_where_nothing_was_trained(untrained: Week) -> None:
    runs, _, why = untrained.tick()
    assert not runs
    assert "no candidate has been trained" in why


def test_it_skips_where_nothing_changed_and_names_what_it_compared(week: Week) -> None:
    runs, _, why = week.tick()
    assert not runs
    for compared in ("nothing has changed", "manifest", "splits", "loopback", "code", "toy"):
        assert compared in why


def test_a_changed_and_a_new_track_are_named(week: Week) -> None:
    raw = week.folder / "musdb18" / "train"
    samples, rate = soundfile.read(raw / "Artist 2 - Song 2" / "mixture.wav")
    soundfile.write(raw / "Artist 2 - Song 2" / "mixture.wav", samples * 0.9, rate)
    (raw / "New - One").mkdir()
    for name in ("vocals", "mixture"):
        soundfile.write(raw / "New - One" / f"{name}.wav", tone(0.5, 500), rate)
    assert week.tick()[0] == []  # not prepared yet: a training would not hear of them
    week.run("ingest", "prepare_musdb18")
    ((name, why),), _, _ = week.tick()
    assert name == "toy"
    assert "1 new (musdb18/new-one)" in why
    assert "1 changed (musdb18/artist-2-song-2)" in why


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"seed": 3}, "training_set/splits: seed 0 -> 3; training_set/loopback: seed 0 -> 3"),
        ({"loopback_vocal": 0.5}, "training_set/loopback: vocal_share 0.1 -> 0.5"),
        ({"quality": Quality(shortest_s=0.1)}, "training_set/manifest: quality.shortest_s 5.0 -> 0.1"),
    ],
)
def test_a_changed_setting_of_the_training_set_is_a_reason(week: Week, changes: dict[str, object], why: str) -> None:
    ((name, told),), _, _ = week.tick(**changes)
    assert name == "toy"
    assert why in told


def test_a_changed_candidate_is_a_reason_and_its_description_is_not(week: Week) -> None:
    file = week.folder / "candidates" / "toy.yaml"
    content = yaml.safe_load(file.read_text())
    file.write_text(yaml.safe_dump(content | {"description": "in other words"}))
    assert week.tick()[0] == []
    content["training"]["batch_size"] += 1
    file.write_text(yaml.safe_dump(content))
    assert week.tick()[0] == [("toy", "training.batch_size 8 -> 9")]


def test_changed_code_is_a_reason(week: Week, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("assets.separators.CODE_VERSION", "of another day")
    ((name, why),) = week.tick()[0]
    assert name == "toy"
    assert why.endswith("-> of another day")


def test_a_candidate_that_cannot_be_read_is_told(week: Week) -> None:
    (week.folder / "candidates" / "toy.yaml").write_text("broken: [")
    runs, _, why = week.tick()
    assert not runs
    assert "candidate toy" in why


def test_the_same_training_is_asked_for_once_a_week(week: Week) -> None:
    _, first, _ = week.tick(seed=3)
    assert week.tick(seed=3)[1] == first  # Dagster starts no second run with a key it knows
    assert week.tick(seed=4)[1] != first
    assert week.tick(day=30, seed=3)[1] != first
