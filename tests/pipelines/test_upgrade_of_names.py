"""A storage root from when candidates had other names: the next run goes on with it, and trains nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from pipelines_site import CANDIDATES, Site, build_site

from data import cache
from data.layout import CHECKPOINT_FILE, Layout
from models.checkpoint import load_checkpoint
from models.evaluate import SCORES
from models.leaderboard import board_table

FORMER = {"report": "aps360", "repaired": "aps360-repaired"}


class Own(Site):
    """A site with candidates of its own."""

    @property
    def candidates(self) -> Path:
        return self.folder / "candidates"

    @property
    def environment(self) -> dict[str, str]:
        return super().environment | {"ISOLATION_CANDIDATES": str(self.candidates)}


@pytest.fixture
def site(tmp_path: Path) -> Own:
    """As an earlier release left it: two candidates by their former names, whose network had one too."""
    site = Own(build_site(tmp_path).folder)
    site.candidates.mkdir()
    text = (CANDIDATES / "tiny.yaml").read_text()
    for seed, name in enumerate(FORMER):
        (site.candidates / f"{name}.yaml").write_text(text.replace("seed: 0", f"seed: {seed}"))
    done = site.run("--candidates", ",".join(FORMER))
    assert done.returncode == 0, done.stderr

    def age(partial: Path, record: cache.Record) -> cache.Record:
        content = torch.load(partial / CHECKPOINT_FILE, weights_only=True)
        content["config"]["network"]["name"] = "report"
        (partial / CHECKPOINT_FILE).unlink()  # one file under several names
        torch.save(content, partial / CHECKPOINT_FILE)
        return record

    layout = Layout(site.storage)
    for folder in (layout.champion, *map(layout.checkpoint, FORMER)):
        assert cache.revise(folder, folder, age)
    for former, name in FORMER.items():
        (site.candidates / f"{former}.yaml").rename(site.candidates / f"{name}.yaml")
    return site


def test_nothing_is_trained_or_scored_again_and_champion_and_board_name_todays_names(site: Own) -> None:
    layout = Layout(site.storage)
    champion = json.loads((layout.champion / "champion.json").read_text())
    before = {
        name: [cache.require(place(former), former) for place in (layout.checkpoint, layout.scores)]
        for former, name in FORMER.items()
    }
    ballot = json.loads((layout.listening_test / "key.json").read_text())
    done = site.run("--candidates", ",".join(FORMER.values()))
    assert done.returncode == 0, done.stderr
    assert "epoch 1 done" not in done.stdout + done.stderr
    assert "scored 1 of" not in done.stdout + done.stderr
    for name, records in before.items():
        for place, record in zip((layout.checkpoint, layout.scores), records, strict=True):
            after = cache.require(place(name), name)
            assert (after.fingerprint, after.version) == (record.fingerprint, record.version)
            assert after.measured == record.measured
        assert load_checkpoint(layout.checkpoint(name) / CHECKPOINT_FILE).candidate.name == name
        assert set(SCORES.read(layout.scores(name))["method"]) == {name}
    assert not any(place(former).exists() for former in FORMER for place in (layout.checkpoint, layout.scores))
    after = json.loads((layout.champion / "champion.json").read_text())
    assert after["candidate"] == FORMER[champion["candidate"]]
    assert (after["fingerprint"], after["predecessor"]) == (champion["fingerprint"], champion["predecessor"])
    board = set(board_table().read(layout.leaderboard)["name"])
    assert board >= set(FORMER.values())
    assert not board & FORMER.keys()
    assert json.loads((layout.listening_test / "key.json").read_text())["ballot"] == ballot["ballot"]
    assert "Nothing to do" in site.run("--candidates", ",".join(FORMER.values())).stdout
