"""What is built and started goes by the settings that are given, whatever the environment and `.env` say."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from pipelines_site import PROJECT
from pydantic import SecretStr
from training_root import write_candidate, write_training_root

from assets.lanes import LANES
from assets.leaderboard import LEADERBOARD
from assets.separators import CHECKPOINT
from assets.training_recipes import LOOPBACK, MANIFEST, SPLITS
from data.datasets import DATASETS
from data.placements import Placements, write_placements
from data.settings import Quality, Settings, environment, load_settings
from models.candidate import load_candidate
from pipelines.chain import Chain
from pipelines.definitions import build_definitions

CANDIDATE = "mine"
BOTH: dict[str, tuple[Any, str]] = {
    # By field what is given, and what the environment says instead.
    "storage": ("storage", "elsewhere"),
    "musdb18": ("musdb", "sample"),
    "medleydb": ("medley", "download"),
    "own": ("own", "demo"),
    "sources": ({"duets": "duets"}, "off"),
    "medleydb_metadata": ("labels", "other-labels"),
    "medleydb_gains": ("none", "measured"),
    "medleydb_metadata_url": ("https://here.example/a.zip", "https://there.example/a.zip"),
    "musdb18_url": ("https://here.example/m.zip", "https://there.example/m.zip"),
    "records_url": ("https://here.example/records", "https://there.example/records"),
    "download_token": (SecretStr("mine"), "theirs"),
    "seed": (1, "2"),
    "reserved_tracks": (3, "4"),
    "validation_share": (0.21, "0.22"),
    "test_share": (0.23, "0.24"),
    "split_by": ("track", "artist"),
    "loopback_vocal": (0.25, "0.26"),
    "loopback_instrumental": (0.27, "0.28"),
    "bleed": ("keep", "exclude"),
    "splits": ("splits.yaml", "none.yaml"),
    "errata": ("errata.yaml", "none.yaml"),
    "artists": ("artists.yaml", "none.yaml"),
    "quality": (Quality(shortest_s=9.0), ""),
    "workers": (3, "4"),
    "candidates": ("candidates", "other-candidates"),
    "rank_by": ("si_sdr", "csdr_full"),
    "voters": (7, "8"),
    "champion": (CANDIDATE, "nobody"),
    "device": ("cpu", "cuda:1"),
    "training_processes": (2, "3"),
    "training_data": ("stream", "resident"),
    "earlier_checkpoints": (4, "5"),
    "history_days": (30, "31"),
    "wandb": ("offline", "online"),
    "wandb_project": ("mine", "theirs"),
}
SHOWN = (MANIFEST, SPLITS, LOOPBACK, CHECKPOINT, LEADERBOARD)
PATHS = ("storage", "musdb18", "medleydb", "own", "medleydb_metadata", "splits", "errata", "artists", "candidates")


@pytest.fixture
def given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A value for every field, and an environment that has another for each."""
    write_training_root(tmp_path / "storage")
    write_candidate(tmp_path / "candidates", CANDIDATE)
    write_placements(tmp_path / "splits.yaml", Placements())
    (tmp_path / "errata.yaml").write_text("[]")
    (tmp_path / "artists.yaml").write_text("[]")
    (tmp_path / "other-candidates").mkdir()
    for name in [name for name in os.environ if name.upper().startswith("ISOLATION_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(DATASETS, "duets", DATASETS["own"])
    for name, (_, other) in BOTH.items():
        monkeypatch.setenv({"sources": "ISOLATION_DUETS"}.get(name, f"ISOLATION_{name.upper()}"), other)
    monkeypatch.setenv("ISOLATION_QUALITY__SHORTEST_S", "8")
    values = {name: value for name, (value, _) in BOTH.items()}
    return values | {name: str(tmp_path / values[name]) for name in PATHS}


def test_every_field_is_tried_here_with_another_value_than_its_default() -> None:
    fields = Settings.model_fields
    assert BOTH.keys() == fields.keys()
    assert all(value != fields[name].get_default(call_default_factory=True) for name, (value, _) in BOTH.items())


def test_definitions_are_made_of_the_settings_that_are_given(given: dict[str, Any], tmp_path: Path) -> None:
    settings = Settings(**given)
    definitions = build_definitions(settings)
    with dg.build_resources(definitions.resources or {}) as resources:
        assert resources.settings == settings
        assert resources.engine.workers == 3
    repository = definitions.get_repository_def()
    graph = repository.asset_graph
    for name in ("train", "evaluate", "retrain"):
        partitions = repository.get_job(name).partitions_def
        assert partitions is not None
        assert partitions.get_partition_keys() == [CANDIDATE]
    for lane in LANES:
        assert lane.dataset.setting(settings) == given[lane.dataset.name]

    def versions(**changes: object) -> dict[dg.AssetKey, str | None]:
        other = build_definitions(settings.model_copy(update=changes)).get_repository_def().asset_graph
        return {key: other.get(key).code_version for key in SHOWN}

    now = {key: graph.get(key).code_version for key in SHOWN}
    assert now == versions()
    write_candidate(tmp_path / "changed", CANDIDATE, seed=99)
    for changes, key in (
        ({"quality": Quality()}, MANIFEST),
        ({"split_by": "auto"}, SPLITS),
        ({"splits": None}, SPLITS),
        ({"loopback_vocal": 0.1}, LOOPBACK),
        ({"candidates": tmp_path / "changed"}, CHECKPOINT),
        ({"rank_by": "usdr"}, LEADERBOARD),
    ):
        assert {name for name, version in versions(**changes).items() if version != now[name]} == {key}


@pytest.mark.parametrize("name", BOTH)
def test_a_child_process_is_given_every_setting(
    name: str, given: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(**{field: given[field] for field in {name, "candidates"}})
    for variable, value in environment(settings).items():
        monkeypatch.setenv(variable, value)
    for variable in [
        each for each in os.environ if each.startswith("ISOLATION_") and each not in environment(settings)
    ]:
        monkeypatch.delenv(variable)
    Path(".env").write_text("ISOLATION_SEED=77\nISOLATION_OWN=sample\n")
    assert load_settings(writes=False) == settings


def test_a_training_is_started_with_the_settings_that_are_given(
    given: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, started = Settings(**given), list[Any]()
    monkeypatch.setattr(dg.PipesSubprocessClient, "run", lambda _, **how: started.append(how) or 1 / 0)
    with dg.DagsterInstance.ephemeral() as instance:
        assert not Chain(build_definitions(settings), instance).run("train", partition=CANDIDATE)
    (how,) = started
    command = " ".join(how["command"])
    assert f"{sys.executable} -m models.launch 2 models.train " in command
    assert "--device=cpu" in command
    (file,) = [Path(part) for part in how["command"] if part.endswith(f"{CANDIDATE}.yaml")]
    assert load_candidate(file) == load_candidate(Path(given["candidates"]) / f"{CANDIDATE}.yaml")
    told = {name: value for name, value in how["env"].items() if name.startswith("ISOLATION_")}
    assert {name: value for name, value in environment(settings).items() if name in told}.items() <= told.items()
    assert {f"ISOLATION_{name.upper()}" for name in BOTH.keys() - {"sources", "quality"}} <= told.keys()


def test_nothing_reads_the_environment_when_it_is_imported_or_built(tmp_path: Path) -> None:
    program = (
        "import models.score, models.train, models.validate, pipelines.server, pipelines.ui\n"
        "import pipelines.definitions as d\n"
        "from data.settings import Settings\n"
        f"d.build_definitions(Settings(storage={str(tmp_path / 'storage')!r})).get_repository_def()\n"
    )
    nonsense = {"ISOLATION_SEED": "no number", "ISOLATION_CANDIDATES": "/nowhere", "ISOLATION_UNKNOWN": "1"}
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=PROJECT,
        env=os.environ | nonsense,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_settings_are_read_by_commands_and_the_code_location_alone() -> None:
    readers = {"pipelines/definitions.py", "pipelines/isolate.py", "pipelines/run.py", "pipelines/splits.py"}
    readers |= {"pipelines/ui.py", "pipelines/why.py", "models/train.py"}
    found = set()
    for room in ("data", "models", "assets", "pipelines"):
        for file in (PROJECT / room).rglob("*.py"):
            calls = [node.func for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Call)]
            if any(isinstance(function, ast.Name) and function.id == "load_settings" for function in calls):
                found.add(file.relative_to(PROJECT).as_posix())
    assert found == readers
