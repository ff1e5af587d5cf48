"""Outputs under former names of candidates: what is taken over, what is left alone, and what a kill leaves."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from training_root import write_candidate

from assets.evaluation import SCORES
from assets.separators import CHECKPOINT
from assets.takeover import take_over
from data import cache
from data.layout import CHAMPION_FILE, CHECKPOINT_FILE, KEY_FILE, Layout
from data.recipe import Recipe
from data.settings import Settings


class Root:
    """A storage root that outputs are written to as if they had been made."""

    def __init__(self, folder: Path) -> None:
        self.settings = Settings(storage=folder / "storage", candidates=folder / "candidates")
        self.layout = Layout(self.settings.root)
        for name in ("aps360", "aps360-repaired", "toy"):
            write_candidate(folder / "candidates", name)

    def write(self, folder: Path, files: dict[str, str], seed: int = 0, **measured: Any) -> cache.Record:
        def work(partial: Path) -> dict[str, Any]:
            for name, text in files.items():
                (partial / name).write_text(text)
            return measured

        return cache.make(folder, Recipe("1", {"seed": seed}, measured.pop("inputs", {})), work).record

    def train(self, name: str, seed: int = 0) -> cache.Record:
        return self.write(self.layout.checkpoint(name), {CHECKPOINT_FILE: "w"}, seed, inputs={"loopback": "pairs"})

    instance: dg.DagsterInstance

    def take_over(self) -> list[str]:
        return take_over(self.settings, self.instance)


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Root]:
    with dg.DagsterInstance.ephemeral() as instance:
        made = Root(tmp_path)
        made.instance = instance
        yield made


def test_a_checkpoint_is_whole_under_todays_name_and_dagster_knows(root: Root) -> None:
    before = root.train("report")
    assert len(root.take_over()) == 1
    assert cache.recall(root.layout.checkpoint("aps360")) == before
    assert not root.layout.checkpoint("report").exists()
    assert root.instance.get_materialized_partitions(CHECKPOINT) == {"aps360"}
    assert not root.instance.get_materialized_partitions(SCORES)
    assert root.take_over() == []


def test_earlier_checkpoints_and_unfinished_trainings_come_along_in_their_order(root: Root) -> None:
    layout = root.layout
    for number in (2, 0, 1):
        root.write(layout.earlier("repaired") / str(number), {CHECKPOINT_FILE: "w"}, number)
    (layout.unfinished("repaired") / "abc").mkdir(parents=True)
    (layout.unfinished("repaired") / "abc" / "state.pt").write_text("half")
    root.take_over()
    kept = sorted(layout.earlier("aps360-repaired").iterdir(), key=lambda folder: folder.stat().st_mtime_ns)
    assert [folder.name for folder in kept] == ["2", "0", "1"]
    assert all(cache.recall(folder) for folder in kept)
    assert (layout.unfinished("aps360-repaired") / "abc" / "state.pt").read_text() == "half"
    assert not layout.earlier("repaired").exists()
    assert not layout.unfinished("repaired").exists()


def test_what_stands_under_todays_name_already_is_left_alone(root: Root) -> None:
    root.train("report", seed=1)
    today = root.train("aps360", seed=2)
    assert root.take_over() == []
    assert cache.recall(root.layout.checkpoint("aps360")) == today
    assert root.layout.checkpoint("report").is_dir()


def test_a_candidate_of_somebodys_own_keeps_its_name(root: Root) -> None:
    write_candidate(root.settings.candidates, "report")
    root.train("report")
    assert root.take_over() == []
    assert root.layout.checkpoint("report").is_dir()


def test_a_kill_between_two_places_is_completed(root: Root, monkeypatch: pytest.MonkeyPatch) -> None:
    root.train("report")

    class Killed(BaseException):
        pass

    def killed(*_: Any) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(cache, "discard", killed)
        with pytest.raises(Killed):
            root.take_over()
    assert root.layout.checkpoint("report").is_dir()
    assert cache.recall(root.layout.checkpoint("aps360")) is not None
    root.take_over()
    assert not root.layout.checkpoint("report").exists()
    assert cache.recall(root.layout.checkpoint("aps360")) is not None


def test_champion_and_ballot_name_the_candidate_as_today_and_stay_what_they_were(root: Root) -> None:
    layout = root.layout
    told = {"candidate": "report", "fingerprint": "abc", "reason": "report is better", "predecessor": ""}
    files = {CHAMPION_FILE: json.dumps(told), CHECKPOINT_FILE: "w"}
    champion = root.write(layout.champion, files, candidate="report", inputs={"challenger": "abc"})
    root.write(layout.challenger, {"contest": "x"}, candidate="toy", champion="report")
    key = {"ballot": "1", "candidates": ["report", "toy"], "tracks": {"own/report": {"A": "toy", "B": "report"}}}
    root.write(layout.listening_test, {KEY_FILE: json.dumps(key)}, inputs={"report": "v1", "toy": "v2"})
    root.take_over()
    after = cache.require(layout.champion, "champion")
    assert (after.fingerprint, after.version) == (champion.fingerprint, champion.version)
    assert after.measured["candidate"] == "aps360"
    assert json.loads((layout.champion / CHAMPION_FILE).read_text()) == told | {"candidate": "aps360"}
    assert cache.require(layout.challenger, "challenger").measured == {"candidate": "toy", "champion": "aps360"}
    assert json.loads((layout.listening_test / KEY_FILE).read_text()) == {
        "ballot": "1",
        "candidates": ["aps360", "toy"],
        "tracks": {"own/report": {"A": "toy", "B": "aps360"}},
    }
    # It is the ballot that would be made of the same scores today: none is made anew, and votes on it count.
    wanted = Recipe("1", {"seed": 0}, {"aps360": "v1", "toy": "v2"})
    assert cache.recall(layout.listening_test, wanted.fingerprint) is not None


def test_nothing_is_touched_where_no_former_name_stands(root: Root) -> None:
    root.train("toy")
    files = {path: path.stat().st_mtime_ns for path in root.settings.root.rglob("*")}
    assert root.take_over() == []
    assert {path: path.stat().st_mtime_ns for path in root.settings.root.rglob("*")} == files
