"""Outputs that are looked at: what is wrong with them in words, and nothing written meanwhile."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from data import cache
from data.errors import InputError
from data.recipe import Recipe

RECIPE = Recipe("1", {"rate": 0.002}, {"own/x": "a", "own/y": "b"})


def one_file(folder: Path) -> dict[str, Any]:
    (folder / "a.txt").write_text("content")
    return {}


@pytest.fixture
def made(tmp_path: Path) -> Path:
    cache.make(tmp_path / "out", RECIPE, one_file)
    return tmp_path / "out"


def forget_the_recipe(folder: Path) -> None:
    content = json.loads((folder / cache.RECORD).read_text())
    del content["recipe"], content["sha256"]
    (folder / cache.RECORD).write_text(json.dumps(content))


def snapshot(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {str(path): (path.stat().st_mtime_ns, path.read_bytes()) for path in folder.rglob("*") if path.is_file()}


def damage_the_file(folder: Path) -> None:
    (folder / "a.txt").write_text("changed")
    os.utime(folder / "a.txt", ns=(1, 1))


@pytest.mark.parametrize(
    ("spoil", "trouble", "recorded"),
    [
        (lambda folder: None, "", True),
        (damage_the_file, "a.txt is not as it was written", True),
        (lambda folder: (folder / "a.txt").unlink(), "a.txt is missing", True),
        (lambda folder: (folder / cache.RECORD).unlink(), "its record.json is missing", False),
        (lambda folder: (folder / cache.RECORD).write_text("{"), "its record.json is damaged", False),
        (lambda folder: folder.rename(folder.with_name("other")), "not made yet", False),
    ],
)
def test_what_is_wrong_with_an_output_is_said(
    made: Path, spoil: Callable[[Path], object], trouble: str, recorded: bool
) -> None:
    spoil(made)
    found = cache.look(made)
    assert found.trouble == trouble
    assert (found.record is not None) == recorded
    assert (found.whole is not None) == (trouble == "")
    assert cache.differences(found, RECIPE) == ([trouble] if trouble else [])


def test_what_differs_is_said_exactly(made: Path) -> None:
    now = Recipe("1", {"rate": 0.001}, {"own/x": "other", "own/y": "b"})
    assert cache.differences(cache.look(made), now) == ["rate 0.002 -> 0.001", "1 changed (own/x)"]


def test_of_a_record_without_recipe_is_said_only_that_something_changed(made: Path) -> None:
    forget_the_recipe(made)
    assert cache.differences(cache.look(made), RECIPE) == []
    assert cache.differences(cache.look(made), Recipe("2", {}, {})) == ["settings, inputs or code changed"]


def test_values_that_only_a_fingerprint_tells_apart_are_a_change_too(made: Path) -> None:
    assert Recipe("1", {"rate": 1}, {}).differs(Recipe("1", {"rate": 1.0}, {})) == []
    cache.make(made.with_name("whole"), Recipe("1", {"rate": 1}, {}), one_file)
    looked = cache.look(made.with_name("whole"))
    assert cache.differences(looked, Recipe("1", {"rate": 1.0}, {})) == ["settings, inputs or code changed"]


def test_looking_stamps_and_mends_nothing(made: Path) -> None:
    forget_the_recipe(made)
    os.utime(made / "a.txt", ns=(1, 1))  # a copied storage root
    before = snapshot(made)
    with cache.only_looking():
        assert cache.recall(made) is not None
        assert cache.recall(made, RECIPE.fingerprint) is not None
        assert cache.recall(made, "another") is None
        assert cache.make(made, RECIPE, one_file).cached
    assert snapshot(made) == before
    assert cache.make(made, RECIPE, one_file).cached  # and afterwards it is stamped, as ever
    assert snapshot(made) != before


def test_looking_makes_nothing_and_says_why_it_would_be_made(made: Path) -> None:
    before = snapshot(made.parent)
    with cache.only_looking():
        with pytest.raises(InputError, match=r"rate 0\.002 -> nothing"):
            cache.make(made, Recipe("1", {}, RECIPE.inputs), one_file)
        with pytest.raises(InputError, match="not made yet"):
            cache.make(made.with_name("new"), RECIPE, one_file)
    assert snapshot(made.parent) == before
    assert list(made.parent.iterdir()) == [made]


def test_all_that_is_asked_of_an_output_meanwhile_is_answered_alike(made: Path) -> None:
    with cache.only_looking():
        before = cache.look(made)
        cache_file = made / "a.txt"
        cache_file.unlink()
        assert cache.look(made) == before
    assert cache.look(made).trouble == "a.txt is missing"
