"""What the UI calls stale: the track whose source changed, and what depends on it; nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
import soundfile
import yaml
from dagster._core.definitions.data_version import CachingStaleStatusResolver
from dagster._core.loader import LoadingContext
from small_datasets import write_hq_dataset, write_medleydb_track

from assets.lanes import build_lane
from data.datasets import DATASETS
from data.settings import Quality, Settings
from pipelines.chain import Chain
from pipelines.definitions import build_definitions


class Loading(LoadingContext):
    def __init__(self, instance: dg.DagsterInstance) -> None:
        self._instance, self._loaders = instance, {}

    @property
    def instance(self) -> dg.DagsterInstance:
        return self._instance

    @property
    def loaders(self) -> dict:
        return self._loaders


class Lab:
    """Two small datasets, and the jobs up to the training set."""

    def __init__(self, folder: Path, instance: dg.DagsterInstance) -> None:
        self.folder, self.instance = folder, instance
        write_hq_dataset(folder / "musdb18", train=4, test=2, seconds=0.5)
        for name in ("Ann_One", "Bob_Two", "Cid_Three"):
            write_medleydb_track(folder / "medleydb", folder / "metadata", name, ["piano", "male singer"], 0.5)

    def settings(self, **changes: object) -> Settings:
        return Settings(
            storage=self.folder / "storage",
            musdb18=str(self.folder / "musdb18"),
            medleydb=str(self.folder / "medleydb"),
            medleydb_metadata=self.folder / "metadata",
            own="off",
            **changes,
        )

    def run(self, job: str, partition: str | None = None, **changes: object) -> None:
        chain = Chain(build_definitions(self.settings(**changes)), self.instance)
        partitions = []
        if job.startswith("prepare_"):
            keys = self.instance.get_dynamic_partitions(job.removeprefix("prepare_") + "_tracks")
            partitions = [partition] if partition else list(keys)
        assert chain.run(job, partitions=partitions), chain.tally.failures

    def stale(self, definitions: dg.Definitions | None = None, **changes: object) -> set[str]:
        """Every materialised asset, with its partition, that Dagster calls stale."""
        graph = (definitions or build_definitions(self.settings(**changes))).get_repository_def().asset_graph
        resolver = CachingStaleStatusResolver(self.instance, graph, Loading(self.instance))
        found = set()
        for key in graph.materializable_asset_keys:
            partitions_def = graph.get(key).partitions_def
            keys = (
                partitions_def.get_partition_keys(dynamic_partitions_store=self.instance) if partitions_def else [None]
            )
            for partition in keys:
                if resolver.get_status(key, partition).value == "STALE":
                    found.add(key.to_user_string() + (f" {partition}" if partition else ""))
        return found


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with dg.instance_for_test() as instance:
        lab = Lab(tmp_path, instance)
        for job in ("ingest", "prepare_musdb18", "prepare_medleydb", "assemble"):
            lab.run(job)
        yield lab


def test_after_a_run_nothing_is_stale_and_neither_after_another(lab: Lab) -> None:
    assert lab.stale() == set()
    for job in ("ingest", "prepare_musdb18", "prepare_medleydb", "assemble"):
        lab.run(job)
    assert lab.stale() == set()


def test_a_changed_raw_file_makes_its_track_stale_and_then_the_manifest(lab: Lab) -> None:
    raw = lab.folder / "musdb18" / "train" / "Artist 2 - Song 2" / "mixture.wav"
    samples, rate = soundfile.read(raw)
    soundfile.write(raw, samples * 0.9, rate)
    lab.run("ingest")
    assert lab.stale() == {"musdb18/stems artist-2-song-2"}
    lab.run("prepare_musdb18", "artist-2-song-2")
    assert lab.stale() == {"training_set/manifest"}
    lab.run("assemble")
    assert lab.stale() == set()


def test_a_changed_label_makes_its_track_stale_and_no_other(lab: Lab) -> None:
    file = lab.folder / "metadata" / "Bob_Two_METADATA.yaml"
    content = yaml.safe_load(file.read_text())
    content["stems"]["S01"]["instrument"] = "female singer"
    file.write_text(yaml.safe_dump(content))
    lab.run("ingest")
    assert lab.stale() == {"medleydb/stems bob-two"}


@pytest.mark.parametrize(
    ("changes", "stale"),
    [
        ({"seed": 3}, {"training_set/splits", "training_set/loopback"}),
        ({"loopback_vocal": 0.5}, {"training_set/loopback"}),
        ({"bleed": "keep"}, {"training_set/splits"}),
        ({"quality": Quality(shortest_s=0.1)}, {"training_set/manifest"}),
    ],
)
def test_a_changed_setting_makes_what_goes_by_it_stale(lab: Lab, changes: dict[str, object], stale: set[str]) -> None:
    assert lab.stale(**changes) == stale


@pytest.mark.filterwarnings("ignore::dagster.BetaWarning")
def test_a_new_reader_makes_its_own_stems_stale(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = DATASETS["musdb18"]
    monkeypatch.setattr(type(dataset), "code_version", "99")
    definitions = dg.Definitions(
        assets=build_lane(dataset).assets, resources={"settings": lab.settings(), "engine": object()}
    )
    tracks = [f"artist-{number}-song-{number}" for number in range(6)]
    assert lab.stale(definitions) == {f"musdb18/stems {track}" for track in tracks}


def test_an_unaltered_outcome_makes_nothing_after_it_stale(lab: Lab) -> None:
    """Another threshold that flags the same tracks: the manifest is made again, what depends on it stays fresh."""
    changes = {"quality": Quality(dc_offset=0.4)}
    lab.run("assemble", **changes)
    assert lab.stale(**changes) == set()
    splits = lab.folder / "storage" / "training_set" / "splits" / "splits.parquet"
    before = splits.stat().st_mtime_ns
    lab.run("assemble", **changes)
    assert splits.stat().st_mtime_ns == before
