"""`python -m pipelines.why` as a person gives it."""

from __future__ import annotations

from pathlib import Path

import pytest
from pipelines_site import Site

from data.files import sha256_of
from data.ownership import own

OUTPUTS = [
    "ica_baseline",
    "leaderboard",
    "listening_test",
    "champion_validation",
    "challenger",
    "champion",
    "report",
    "scores tiny",
]


def why(site: Site, *arguments: str) -> str:
    done = site.run(*arguments, module="pipelines.why")
    assert done.returncode == 0, done.stdout + done.stderr
    assert not done.stderr
    return done.stdout


def snapshot(folder: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in folder.rglob("*") if ".owners" not in path.parts}


def test_the_champion_leads_to_the_raw_files_while_somebody_writes_and_nothing_is_written(finished: Site) -> None:
    before = snapshot(finished.storage)
    with own(finished.storage, "a test"):
        text = why(finished, "evaluation/champion", "--all")
    assert snapshot(finished.storage) == before
    for raw in (finished.folder / "musdb18").rglob("mixture.wav"):
        assert f"{raw}  {sha256_of(raw)}" in text
    assert "separators/checkpoint tiny" in text
    assert "all current" in text


@pytest.mark.parametrize("output", OUTPUTS)
def test_every_output_of_a_finished_chain_is_current(finished: Site, output: str) -> None:
    text = why(finished, output)
    assert text.splitlines()[0].startswith(f"evaluation/{output}")
    assert "all current" in text
    assert "training_set/manifest" in text


def test_a_changed_setting_and_a_wrong_name_are_told(finished: Site) -> None:
    changed = Site(finished.folder)
    done = changed.run("reprot", module="pipelines.why")
    assert done.returncode == 2
    assert "the nearest: report" in done.stderr
    done = changed.run("own/stems song", module="pipelines.why")
    assert done.returncode == 2
    assert "partition of own/stems" in done.stderr
