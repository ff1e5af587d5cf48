"""Candidates that say only in what they are different from another."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from tiny import tiny_settings

from data.errors import InputError
from data.recipe import Recipe
from models.candidate import load_candidate

README = Path(__file__).parents[2] / "README.md"

# Fingerprints of the settings of every candidate that ships, as records have them, from when each wrote all of them
# out, and two had other names.
WRITTEN_OUT = {
    "aps360": "496c930800eff398655d860c2e43aac4eb508834389a529b366557166c9753d2",
    "aps360-repaired": "c9f78d1347a74e6e6727936bc15c5932a2d6ea78fe196286b35e8738e76100c8",
    "bandsplit": "50c3e277d1d49aa174ae5228d7dce7a55267c1a1cffdda8e9dec73b94eb85605",
    "bandsplit-large": "d329021ead1d66093adec5202266c61de8f448dd908a46eed07a0f95bf56db59",
    "bs-roformer": "60994c955dd3cd7fca42aaea94dd1def96e83897d12ef483a4d3316bee770070",
    "htdemucs": "877a2790a8eb97bb1fe098d0d90b63ad16a2ee95d87c5fa08717583e58da3c33",
    "openunmix": "3157240fc085bc35e915c831fc7fb144473faa427d956ec7e44587f8abe5e502",
    "toy": "0056cb56f44ed44d3bf2cad6246ca26691b0b43a02ecd9ce7a3eaba87af2a881",
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
    assert Recipe("", load_candidate(name).recorded, {}).fingerprint == WRITTEN_OUT[name]


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
