"""What Dagster sees when it loads the code location."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest
from pipelines_site import PROJECT, Site

from data.errors import InputError
from data.settings import Settings
from pipelines.definitions import build_definitions

LANES = ("musdb18", "medleydb", "own")
OBSERVED = {f"{lane}/{part}" for lane in LANES for part in ("raw", "prepared")}
ASSETS = OBSERVED | {
    *(f"{lane}/{part}" for lane in LANES for part in ("archive", "stems", "normalised")),
    "medleydb/metadata",
    "training_set/manifest",
    "training_set/duplicates",
    "training_set/splits",
    "training_set/loopback",
    "separators/checkpoint",
    "evaluation/ica_baseline",
    "evaluation/scores",
    "evaluation/leaderboard",
    "evaluation/report",
    "evaluation/listening_test",
    "evaluation/champion",
    "evaluation/champion_validation",
    "evaluation/challenger",
}
JOBS = {
    "ingest",
    "prepare_musdb18",
    "prepare_medleydb",
    "prepare_own",
    "assemble",
    "train",
    "evaluate",
    "retrain",
    "prune",
}


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> dg.RepositoryDefinition:
    return build_definitions(Settings(storage=tmp_path_factory.mktemp("storage"))).get_repository_def()


@pytest.fixture(scope="module")
def specs(repository: dg.RepositoryDefinition) -> dict[str, dg.AssetSpec]:
    return {
        spec.key.to_user_string(): spec
        for definition in repository.assets_defs_by_key.values()
        for spec in definition.specs
    }


def test_the_graph_is_the_designed_one(specs: dict[str, dg.AssetSpec]) -> None:
    assert set(specs) == ASSETS
    edges = {name: {dep.asset_key.to_user_string() for dep in spec.deps} for name, spec in specs.items()}
    assert edges["medleydb/stems"] == {"medleydb/archive", "medleydb/metadata", "medleydb/raw"}
    assert edges["own/stems"] == {"own/archive", "own/raw"}
    assert edges["training_set/manifest"] == {
        f"{lane}/{part}" for lane in LANES for part in ("normalised", "prepared", "archive")
    }
    assert edges["training_set/splits"] == {"training_set/manifest", "training_set/duplicates"}
    assert edges["training_set/loopback"] == {"training_set/manifest", "training_set/splits"}
    assert edges["separators/checkpoint"] == {"training_set/loopback"}
    assert edges["evaluation/champion"] == {"evaluation/challenger", "separators/checkpoint"}
    # A champion that stays must not keep the report from being made.
    assert not edges["evaluation/report"] & {"evaluation/challenger", "evaluation/champion"}


def test_every_asset_is_described_and_grouped_by_its_key(specs: dict[str, dg.AssetSpec]) -> None:
    for name, spec in specs.items():
        assert spec.group_name == name.split("/")[0], name
        assert len(spec.description or "") > 40, name
        assert spec.code_version or name in OBSERVED, name
        assert spec.kinds, name
        assert spec.owners, name


def test_the_jobs_are_there(repository: dg.RepositoryDefinition) -> None:
    assert {job.name for job in repository.get_all_jobs() if not job.name.startswith("__")} == JOBS


def test_leakage_checks_block_what_comes_after(repository: dg.RepositoryDefinition) -> None:
    checks = repository.asset_checks_defs_by_key
    blocking = {key.name for key, check in checks.items() if check.get_spec_for_check_key(key).blocking}
    assert blocking == {
        "no_leakage",
        "no_recording_twice",
        "official_test_kept",
        "faults_not_trained_on",
        "loopback_in_training_only",
        "better_than_the_champion",
        "never_trained_on",
    }


def test_loading_the_code_location_does_not_import_torch() -> None:
    code = "import sys, pipelines.definitions as d; d.defs(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=PROJECT, check=False).returncode == 0


def test_dagsters_own_validation_accepts_the_workspace(tmp_path: Path) -> None:
    command = [str(Path(sys.executable).with_name("dagster")), "definitions", "validate", "-w", "workspace.yaml"]
    site = Site(tmp_path)
    (tmp_path / "home").mkdir()
    environment = site.environment | {"DAGSTER_HOME": str(tmp_path / "home")}
    done = subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_measure_that_ranks_makes_the_leaderboard_stale_and_nothing_else(
    specs: dict[str, dg.AssetSpec], tmp_path: Path
) -> None:
    other = build_definitions(Settings(storage=tmp_path, rank_by="si_sdr")).get_repository_def()
    versions = {
        spec.key.to_user_string(): spec.code_version
        for definition in other.assets_defs_by_key.values()
        for spec in definition.specs
    }
    assert {name for name, spec in specs.items() if spec.code_version != versions[name]} == {"evaluation/leaderboard"}


def test_a_measure_that_cannot_rank_is_refused_when_the_code_location_loads(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="the nearest is usdr"):
        build_definitions(Settings(storage=tmp_path, rank_by="usrd"))
