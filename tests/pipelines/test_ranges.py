from __future__ import annotations

import pytest

from pipelines.ranges import partition_ranges, range_tags

KEYS = list("abcdefghijklmnop")


@pytest.mark.parametrize(
    ("wanted", "ranges"),
    [
        ("", []),
        ("abc", ["abc"]),
        ("acd", ["a", "cd"]),
        ("p", ["p"]),
        ("acegi", ["a", "c", "e", "g", "i"]),
        ("acegik", ["abcdefghijk"]),  # too scattered: one run over all in between
        ("axy", ["a"]),  # what is no partition cannot be run
    ],
)
def test_runs_take_stretches_of_neighbours(wanted: str, ranges: list[str]) -> None:
    assert ["".join(found) for found in partition_ranges(KEYS, set(wanted))] == ranges


def test_a_range_is_told_by_its_ends() -> None:
    assert set(range_tags(["a", "b", "c"]).values()) == {"a", "c"}
