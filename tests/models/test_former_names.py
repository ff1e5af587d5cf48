"""What was written when candidates and networks had other names is understood, and is the same to every cache."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from listener import Listener
from tiny import network_of, tiny_candidate, tiny_pairs, tiny_settings

from data.errors import InputError
from models.candidate import Candidate, load_candidate, parse_candidate
from models.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from models.training import train
from models.training.results import Results


def former(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings as they were written when the network was called `report`."""
    assert settings["network"]["name"] == "aps360"
    return settings | {"network": settings["network"] | {"name": "report"}}


def test_a_candidate_of_somebodys_own_may_name_the_network_as_before(tmp_path: Path) -> None:
    for name, settings in {
        "mine": former(tiny_settings()),
        "deep": {"like": "mine", "network": {"name": "report", "lstm_layers": 3}},
        "deeper": {"like": "mine", "network": {"name": "aps360", "lstm_layers": 4}},
    }.items():
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(settings))
    mine, deep, deeper = (load_candidate(tmp_path / f"{name}.yaml") for name in ("mine", "deep", "deeper"))
    assert mine == parse_candidate("mine", tiny_settings())
    assert (deep.network.lstm_layers, deeper.network.lstm_layers) == (3, 4)
    assert deep.network.fc == deeper.network.fc == mine.network.fc


def test_a_checkpoint_from_before_loads(tmp_path: Path) -> None:
    candidate, path = tiny_candidate(), tmp_path / "checkpoint.pt"
    save_checkpoint(path, Checkpoint(candidate, network_of(candidate).state_dict()))
    content = torch.load(path, weights_only=True)
    torch.save(content | {"config": former(content["config"])}, path)
    assert load_checkpoint(path).candidate == candidate


def test_records_speak_of_candidates_and_networks_as_ever() -> None:
    recorded = parse_candidate("aps360-repaired", tiny_settings()).recorded
    assert recorded == parse_candidate("repaired", former(tiny_settings())).recorded
    assert (recorded["name"], recorded["network"]["name"]) == ("repaired", "report")
    assert "description" not in recorded
    assert parse_candidate("mine", tiny_settings()).recorded["name"] == "mine"


def test_a_training_that_was_stopped_under_a_former_name_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def go(candidate: Candidate) -> Listener:
        listener, audio = Listener(), tmp_path / "audio"
        train(candidate, tiny_pairs(audio), audio, tmp_path / "out", listener, save_every_s=0.0)
        return listener

    class Stop(BaseException):
        pass

    def stop(*_: Any) -> None:
        raise Stop

    with monkeypatch.context() as patch:
        patch.setattr(Results, "keep", stop)  # the first epoch's steps are saved, and nothing after
        with pytest.raises(Stop):
            go(parse_candidate("report", tiny_settings()))
    listener = go(parse_candidate("aps360", tiny_settings()))
    assert [run.first_step for run in listener.runs] == [3]
    assert load_checkpoint(tmp_path / "out/checkpoint.pt").candidate.name == "aps360"


def test_who_asks_for_a_candidate_by_a_former_name_is_told_todays() -> None:
    with pytest.raises(InputError, match="it is called aps360-repaired now"):
        load_candidate("repaired")
