"""A producer's own stems, of one or two artists, through the whole chain: split by track, and said everywhere."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from pipelines_site import Site
from small_datasets import write_hq_track

from assets.checks import TABLE, build_check
from assets.leaderboard import never_trained_on
from data.layout import Layout
from data.settings import Settings
from data.splits import SPLITS
from models.evaluate import SCORES

SHARED = "Training and test share artists ({}): scores say how well songs of these artists are separated"


@pytest.mark.parametrize(("artists", "count"), [(["Ann"], 7), (["Ann", "Band"], 8)])
def test_own_songs_of_one_singer_or_two_bands_run_through_to_the_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, artists: Sequence[str], count: int
) -> None:
    for number in range(count):
        write_hq_track(tmp_path / "own" / f"{artists[number % len(artists)]} - Song {number}", 1.0, number)
    site = Site(tmp_path)
    sources = {"MUSDB18": "off", "MEDLEYDB": "off", "OWN": str(tmp_path / "own")}
    environment = site.environment | {f"ISOLATION_{name}": value for name, value in sources.items()}
    monkeypatch.setattr(Site, "environment", property(lambda _: environment))
    done = site.run("--candidates", "tiny")
    assert done.returncode == 0, done.stdout + done.stderr

    layout, settings = Layout(site.storage), Settings(storage=site.storage)
    splits = SPLITS.read(layout.splits)
    assert splits["split"].value_counts().to_dict() == {"train": count - 3, "validation": 1, "test": 1, "reserved": 1}
    held_out = set(splits.loc[splits["split"].isin(["test", "reserved"]), "track_id"])
    assert set(SCORES.read(layout.leaderboard)["track_id"]) == held_out  # none is left out
    told = SHARED.format(", ".join(artists))
    no_leakage = next(check for check in TABLE if check.name == "no_leakage")
    for check in (build_check(no_leakage), never_trained_on):
        result = check(settings=settings)
        assert result.passed
        assert told in str(result.metadata["shared_artists"].value)
    assert told in (layout.report / "report.html").read_text()
    assert told in site.run("show", module="pipelines.splits").stdout
    again = site.run("--candidates", "tiny")
    assert "Nothing to do" in again.stdout, again.stdout
