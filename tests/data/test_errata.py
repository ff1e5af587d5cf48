from __future__ import annotations

from pathlib import Path

import pytest

from data.errata import load_errata
from data.errors import InputError


def test_the_shipped_errata_name_the_known_bad_tracks() -> None:
    errata = load_errata()
    assert errata["musdb18/pr-oh-no"].action == "tag"
    assert errata["musdb18/hop-along-sister-cities"].action == "exclude"
    assert errata["medleydb/thescarletbrand-lesfleursdumal"].action == "exclude"
    assert errata["medleydb/liznelson-imcominghome"].action == "tag"  # labelled as bleeding: a setting decides
    assert all(erratum.problem for erratum in errata.values())


def test_a_users_own_file_adds_and_replaces(tmp_path: Path) -> None:
    own = tmp_path / "errata.yaml"
    own.write_text(
        "- {dataset: own, track: Ann - One, action: exclude, problem: hum}\n"
        "- {dataset: musdb18, track: PR - Oh No, action: exclude, problem: listened to it}\n"
    )
    errata = load_errata(own)
    assert errata["own/ann-one"].problem == "hum"
    assert errata["musdb18/pr-oh-no"].action == "exclude"
    assert errata.keys() == {*load_errata(), "own/ann-one"}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("dataset: own", "dict"),
        ("- {dataset: own, track: A, action: drop, problem: hum}", "entry 1: action"),
        ("- {dataset: own, track: A, action: tag}", "entry 1: problem"),
        ("- [", "while parsing"),
    ],
)
def test_a_file_that_cannot_be_used_is_told_with_its_entry(tmp_path: Path, text: str, found: str) -> None:
    own = tmp_path / "errata.yaml"
    own.write_text(text)
    with pytest.raises(InputError, match="ISOLATION_ERRATA") as caught:
        load_errata(own)
    assert found in caught.value.found


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        load_errata(tmp_path / "nowhere.yaml")
