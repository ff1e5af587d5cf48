"""`python -m pipelines.why` as a person gives it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pipelines_site import Site

from data.files import sha256_of
from data.ownership import own


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


@pytest.mark.parametrize(
    ("output", "made_of"),
    [
        ("report", ("leaderboard", "ica_baseline", "scores tiny")),
        ("listening_test", ("scores tiny",)),
        ("champion", ("challenger", "champion_validation")),
    ],
)
def test_every_output_of_a_finished_chain_is_current(finished: Site, output: str, made_of: tuple[str, ...]) -> None:
    text = why(finished, output)
    assert text.splitlines()[0].startswith(f"evaluation/{output}")
    for name in (*(f"evaluation/{part}" for part in made_of), "separators/checkpoint tiny", "training_set/manifest"):
        assert re.search(rf"{name}  [0-9a-f]{{12}}  current", text), name
    assert "all current" in text


def test_wrong_names_are_bad_input(finished: Site) -> None:
    for asset, told in (("reprot", "the nearest: report"), ("own/stems song", "partition of own/stems")):
        done = finished.run(asset, module="pipelines.why")
        assert done.returncode == 2
        assert told in done.stderr
