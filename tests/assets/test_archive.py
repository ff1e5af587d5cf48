"""What the asset `archive` tells of a source."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import soundfile
from small_datasets import tone

from assets.lanes import LANES
from data.engine import ExecutorEngine
from data.settings import Settings


def test_what_is_passed_over_is_counted_and_named_in_the_metadata(tmp_path: Path) -> None:
    for name, roles in {
        "A - B": ("mixture", "vocals"),
        "C [x](y)": ("mix",),
        ".Trash-0": ("mixture", "vocals"),
    }.items():
        (tmp_path / "own" / name).mkdir(parents=True)
        for role in roles:
            soundfile.write(tmp_path / "own" / name / f"{role}.wav", tone(0.2), 44100)
    for number in range(300):
        (tmp_path / "own" / f".hidden-{number}").mkdir()
    settings = Settings(storage=tmp_path / "storage", musdb18="off", medleydb="off", own=str(tmp_path / "own"))
    (lane,) = [lane for lane in LANES if lane.dataset.name == "own"]
    with dg.DagsterInstance.ephemeral() as instance:
        resources = {"settings": settings, "engine": ExecutorEngine(1)}
        for _ in range(2):  # made, and found unchanged
            result = dg.materialize(lane.sources, instance=instance, resources=resources)
            (made,) = result.asset_materializations_for_node("own__archive")
            told = made.metadata["passed_over_because"].value
            assert made.metadata["passed_over"].value == 302
            assert isinstance(told, str)
            assert f"{tmp_path}/own/C [x](y): no vocals" in told
            assert told.endswith("and 102 more")
