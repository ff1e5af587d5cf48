"""Candidates that say only in what they are different from another."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from tiny import tiny_settings

from data.errors import InputError
from models.candidate import load_candidate

README = Path(__file__).parents[2] / "README.md"

# SHA-256 over all settings of every candidate that ships, from when each wrote all of them out.
WRITTEN_OUT = {
    "bandsplit": "8139b62d83e28380d3be39f53fc33a8c65590b01b62ac18636bb16ba023e4cf0",
    "bandsplit-large": "8bac782a88d5e6cb840cfe3b977998f0704df94c3d2c28765b5ebe55f2953bac",
    "bs-roformer": "0fb0c4ea6f865ea0c3f139ecfed77159f3a726d73335d8bf7b85b0b028fc0173",
    "htdemucs": "2be85ef493296fc084078d39124e25d90121b1130446703de6c4dd47f4667a28",
    "openunmix": "1e28fb24fdc291254b13813ca0b34523e4e64a4dbe5d94040ba812463bfa8239",
    "repaired": "df87885b93494c9998278cfac0ca07acd6f2f7bb114150e30391afc4feb34c13",
    "report": "826ad894a8f75946d8bed58bdfda3080d163c83d3a5205190ed59d72ba793235",
    "toy": "f632f24ceba8f8d5245424a09b80ae68aadec796526c08703833bbdb0e535fb0",
}


def _load(folder: Path, settings: Any, name: str = "mine") -> Any:
    (folder / f"{name}.yaml").write_text(yaml.safe_dump(settings))
    return load_candidate(folder / f"{name}.yaml")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    _load(tmp_path, tiny_settings(), "tiny")
    return tmp_path


@pytest.mark.parametrize("name", WRITTEN_OUT)
def test_the_settings_of_a_shipped_candidate_are_those_that_it_once_wrote_out(name: str) -> None:
    content = json.dumps(load_candidate(name).model_dump(mode="json"), sort_keys=True)
    assert hashlib.sha256(content.encode()).hexdigest() == WRITTEN_OUT[name]


def test_a_candidate_like_another_is_the_one_that_writes_everything_out(folder: Path) -> None:
    changes = {"description": "deeper", "network": {"lstm_layers": 3, "fc": [4]}, "training": {"minutes": 1.0}}
    like = _load(folder, changes | {"like": "tiny"})
    whole = tiny_settings() | {"description": "deeper"}
    whole["network"] |= changes["network"]
    whole["training"] |= changes["training"]
    assert like == _load(folder, whole)
    assert (like.network.fc, like.network.pre_fc, like.training.augmentation.remix) == ([4], [8], 0.5)


def test_a_section_of_another_name_is_replaced_whole(folder: Path) -> None:
    changes = {"loss": {"name": "contrastive_cosine", "over": "frame", "repulsion": 1.0}}
    changes["training"] = {"schedule": {"name": "plateau", "epochs": 2, "factor": 0.5}, "augmentation": {"remix": 1.0}}
    like = _load(folder, changes | {"like": "tiny"})
    assert like.loss.model_dump() == changes["loss"]
    assert like.training.schedule.model_dump() == changes["training"]["schedule"]
    assert like.training.augmentation.gain_db == [-3.0, 3.0]
    with pytest.raises(InputError, match=r"loss.repulsion: a value"):  # nothing of the other loss is left over
        _load(folder, {"like": "tiny", "loss": {"name": "contrastive_cosine", "over": "frame"}})


def test_a_candidate_in_a_folder_of_its_own_may_be_like_one_that_ships(tmp_path: Path) -> None:
    mine = _load(tmp_path, {"like": "toy", "training": {"seed": 5}})
    toy = load_candidate("toy")
    assert mine == toy.model_copy(update={"name": "mine", "training": toy.training.model_copy(update={"seed": 5})})


@pytest.mark.parametrize(
    ("like", "found"),
    [
        ("mine", "itself"),
        ("tinny", '"tinny"'),
        ("second", 'itself like "tiny"'),
        ("none", "no settings"),
        (["tiny"], "["),
    ],
)
def test_like_names_another_candidate_that_writes_everything_out(folder: Path, like: Any, found: str) -> None:
    _load(folder, {"like": "tiny"}, "second")
    (folder / "none.yaml").write_text("")
    with pytest.raises(InputError) as caught:
        _load(folder, {"like": like})
    assert found in caught.value.found
    assert caught.value.file == str(folder / "mine.yaml")
    assert all(name in caught.value.expected for name in ("tiny", "toy", "second"))
    assert "mine" not in caught.value.expected


def test_a_bad_key_beside_like_is_named_as_any_other(folder: Path) -> None:
    with pytest.raises(InputError, match=r"training.epoch: no such key; did you mean epochs\?"):
        _load(folder, {"like": "tiny", "training": {"epoch": 3}})


def test_the_candidate_of_the_readme_is_one(tmp_path: Path) -> None:
    section = README.read_text().partition("## Adding a candidate")[2]
    (tmp_path / "deep.yaml").write_text(section.partition("```yaml\n")[2].partition("```")[0])
    deep = load_candidate(tmp_path / "deep.yaml")
    assert (deep.network.lstm_layers, deep.training.minutes) == (3, 3.0)
