"""What the UI calls stale: the track whose source changed, and what depends on it; nothing else."""

from __future__ import annotations

import hashlib
import shutil
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
from assets.recording import latest_entry, track_event
from assets.separators import CHECKPOINT
from assets.training_recipes import LOOPBACK
from data import cache
from data.datasets import DATASETS
from data.layout import Layout
from data.loopback import PAIRS
from data.manifest import MANIFEST
from data.settings import Quality, Settings
from data.text import markdown
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

    def assemble(self) -> dict[str, dg.AssetCheckEvaluation]:
        """Make the training set; returns what is said of MUSDB18's tracks, stems and canonical audio."""
        self.run("assemble")
        found = {}
        for step in ("stems", "normalised"):
            key = dg.AssetCheckKey(dg.AssetKey(["musdb18", step]), "every_track_current")
            (record,) = self.instance.event_log_storage.get_asset_check_execution_history(key, limit=1)
            assert record.event is not None
            found[step] = record.event.dagster_event.asset_check_evaluation_data
        return found

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


def test_audio_of_a_raw_file_that_is_gone_is_trained_on_no_more_and_told(lab: Lab) -> None:
    """A raw file is cut, and preparing it rightly fails: its old audio must not pass under the new file's checksum."""
    raw = lab.folder / "musdb18" / "train" / "Artist 2 - Song 2" / "mixture.wav"
    whole = raw.read_bytes()
    raw.write_bytes(whole[: len(whole) // 2])
    lab.run("ingest")
    chain = Chain(build_definitions(lab.settings()), lab.instance)
    assert not chain.run("prepare_musdb18", partitions=["artist-2-song-2"])
    result = lab.assemble()
    track = "musdb18/artist-2-song-2"
    for step, event in result.items():
        assert not event.passed, step
        problems = str(event.metadata["problems"].value)
        assert f"{track}: stems made before a change: raw files changed (mixture.wav)\n  {raw}" in problems
        assert event.metadata["tracks"].value == 1
    layout = Layout(lab.folder / "storage")
    assert track not in set(MANIFEST.read(layout.manifest)["track_id"])
    assert track not in set(PAIRS.read(layout.loopback)["track_id"])
    (materialised,) = lab.instance.fetch_materializations(dg.AssetKey(["training_set", "manifest"]), limit=1).records
    metadata = materialised.asset_materialization.metadata  # type: ignore[union-attr]
    assert metadata["left_out_tracks"].value == 1
    assert markdown(track) in str(metadata["left_out"].value)

    raw.write_bytes(whole)  # put back as it was: its audio is true again, and nothing is prepared
    lab.run("ingest")
    assert all(event.passed for event in lab.assemble().values())
    (row,) = MANIFEST.read(layout.manifest).query("track_id == @track").itertuples()
    assert f"{hashlib.sha256(whole).hexdigest()}  mixture.wav" in list(row.raw_checksums)


def test_what_changed_is_named_and_counted_where_the_source_is_indexed(lab: Lab) -> None:
    raw = lab.folder / "musdb18" / "train" / "Artist 2 - Song 2" / "mixture.wav"
    samples, rate = soundfile.read(raw)
    soundfile.write(raw, samples * 0.9, rate)
    lab.run("ingest")
    (record,) = lab.instance.fetch_materializations(dg.AssetKey(["musdb18", "archive"]), limit=1).records
    metadata = record.asset_materialization.metadata  # type: ignore[union-attr]
    assert metadata["changed_tracks"].value == 1
    assert metadata["changed"].value == "artist-2-song-2"


def test_a_changed_candidate_makes_its_checkpoint_stale(lab: Lab, tmp_path: Path) -> None:
    candidates = tmp_path / "candidates"
    shutil.copytree(Path(__file__).resolve().parents[2] / "models" / "candidates", candidates)
    definitions = build_definitions(lab.settings(candidates=candidates))
    version = definitions.get_repository_def().asset_graph.get(CHECKPOINT).code_version
    pairs = cache.require(Layout(lab.folder / "storage").loopback, "pairs")
    trained = cache.Outcome(pairs, cached=False)  # as if it had been trained on them
    inputs, now = {LOOPBACK: pairs.version}, latest_entry(lab.instance)
    event = track_event(CHECKPOINT, "toy", tmp_path, trained, 0.0, version or "", inputs, now)
    lab.instance.report_runless_asset_event(event)
    assert "separators/checkpoint toy" not in lab.stale(candidates=candidates)
    file = candidates / "toy.yaml"
    content = yaml.safe_load(file.read_text())
    file.write_text(yaml.safe_dump(content | {"description": "in other words"}))
    assert "separators/checkpoint toy" not in lab.stale(candidates=candidates)
    content["training"]["batch_size"] += 1
    file.write_text(yaml.safe_dump(content))
    assert "separators/checkpoint toy" in lab.stale(candidates=candidates)


def test_what_a_track_sounds_like_is_kept_by_its_audio_and_mended_with_it(lab: Lab) -> None:
    storage = lab.folder / "storage"
    (row,) = MANIFEST.read(Layout(storage).manifest).query("track_id == 'musdb18/artist-2-song-2'").itertuples()
    own = (storage / row.mixture_path).with_name("recording.npy")
    kept = Layout(storage).recordings / f"{row.mixture_sha256}.npy"
    whole = own.read_bytes()
    assert kept.read_bytes() == whole
    own.write_bytes(b"x" * len(whole))  # one file under two names, damaged under both
    assert kept.read_bytes() != whole
    lab.run("prepare_musdb18", "artist-2-song-2")
    lab.run("assemble", seed=3)  # the splits are made again
    assert kept.read_bytes() == own.read_bytes() == whole
