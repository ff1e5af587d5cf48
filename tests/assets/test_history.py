"""What Dagster's history says after the chain ran: data versions, metadata, checks, progress of the training."""

from __future__ import annotations

import json
from collections.abc import Iterator

import dagster as dg
import pytest
from pipelines_site import Site

from data import cache


@pytest.fixture(scope="module")
def instance(finished: Site) -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.from_config(str(finished.storage / "dagster")) as instance:
        yield instance


def latest(instance: dg.DagsterInstance, key: list[str], partition: str | None = None) -> dg.AssetMaterialization:
    records = dg.AssetRecordsFilter(asset_key=dg.AssetKey(key), asset_partitions=[partition] if partition else None)
    materialization = instance.fetch_materializations(records, limit=1).records[0].asset_materialization
    assert materialization is not None
    return materialization


def test_every_track_has_a_data_version_of_its_own(instance: dg.DagsterInstance, finished: Site) -> None:
    versions = {}
    for stage in ("stems", "normalised"):
        for track in ("artist-0-song-0", "artist-1-song-1"):
            event = latest(instance, ["musdb18", stage], track)
            record = cache.recall(finished.storage / "musdb18" / stage / track)
            assert record is not None
            versions[stage, track] = (event.tags or {})["dagster/data_version"]
            assert versions[stage, track] == record.fingerprint
    assert len(set(versions.values())) == 4


def test_a_normalised_track_remembers_the_stems_it_was_made_of(instance: dg.DagsterInstance) -> None:
    stems = latest(instance, ["musdb18", "stems"], "artist-0-song-0").tags or {}
    normalised = latest(instance, ["musdb18", "normalised"], "artist-0-song-0").tags or {}
    assert normalised["dagster/input_data_version/musdb18/stems"] == stems["dagster/data_version"]


@pytest.mark.parametrize(
    ("key", "partition", "wanted"),
    [
        (["musdb18", "archive"], None, {"tracks", "gigabytes", "preview", "dagster/column_schema"}),
        (["medleydb", "metadata"], None, {"tracks_with_vocals", "tracks_with_several_vocal_stems", "preview"}),
        (["musdb18", "normalised"], "artist-0-song-0", {"duration_s", "mixture_lufs", "vocal_activity", "folder"}),
        (["training_set", "manifest"], None, {"tracks", "hours", "preview", "dagster/row_count"}),
        (["training_set", "splits"], None, {"train", "validation", "test", "reserved", "preview"}),
        (["training_set", "loopback"], None, {"original", "vocal_loopback", "instrumental_loopback"}),
        (["separators", "checkpoint"], "tiny", {"curves", "best_validation_usdr_db", "epochs_table", "checkpoint"}),
        (["evaluation", "ica_baseline"], None, {"summary", "scores", "preview"}),
        (["evaluation", "scores"], "tiny", {"summary", "scores", "preview"}),
        (["evaluation", "champion"], None, {"candidate", "reason"}),
        (["evaluation", "report"], None, {"report", "scores"}),
    ],
)
def test_materialisations_carry_what_their_readers_need(
    instance: dg.DagsterInstance, key: list[str], partition: str | None, wanted: set[str]
) -> None:
    metadata = latest(instance, key, partition).metadata
    assert wanted | {"cached", "seconds", "folder"} <= set(metadata)


def test_pictures_are_inline(instance: dg.DagsterInstance, finished: Site) -> None:
    curves = latest(instance, ["separators", "checkpoint"], "tiny").metadata["curves"]
    assert "data:image/png;base64," in str(curves.value)
    report = latest(instance, ["evaluation", "report"]).metadata
    splits = json.loads((finished.storage / "training_set/splits/record.json").read_text())["measured"]
    pictures = [name for name, value in report.items() if "/" in name and "data:image/png" in str(value.value)]
    assert len(pictures) == splits["reserved"]


def test_all_checks_were_evaluated_and_passed(instance: dg.DagsterInstance) -> None:
    for key, name in (
        (["training_set", "splits"], "no_leakage"),
        (["training_set", "splits"], "official_test_kept"),
        (["training_set", "loopback"], "loopback_in_training_only"),
        (["medleydb", "metadata"], "every_file_readable"),
    ):
        check = dg.AssetCheckKey(dg.AssetKey(key), name)
        (record,) = instance.event_log_storage.get_asset_check_execution_history(check, limit=1)
        assert record.status.value == "SUCCEEDED"


def test_training_streams_its_progress_into_the_run(instance: dg.DagsterInstance) -> None:
    *_, run = [run for run in instance.get_runs() if run.job_name == "train"]  # the first: newest come first
    messages = [entry.user_message for entry in instance.all_logs(run.run_id)]
    assert any("epoch 1 done: training loss" in message for message in messages)
    assert any("epoch 2 done: training loss" in message for message in messages)


def test_dagster_sends_nothing_home(finished: Site) -> None:
    assert "telemetry:\n  enabled: false" in (finished.storage / "dagster" / "dagster.yaml").read_text()
