"""Which partitions one run takes: Dagster runs over ranges, the tracks that need work lie scattered."""

from __future__ import annotations

from collections.abc import Collection, Sequence

MOST_RUNS = 5


def partition_ranges(keys: Sequence[str], wanted: Collection[str]) -> list[list[str]]:
    """The fewest stretches of neighbours in `keys` that hold all `wanted` ones and no others.

    More than five become one from the first to the last: tracks in between that need no work cost next to nothing, a
    run costs seconds.
    """
    stretches: list[list[str]] = []
    previous = -2
    for position, key in enumerate(keys):
        if key in wanted:
            if position == previous + 1:
                stretches[-1].append(key)
            else:
                stretches.append([key])
            previous = position
    if len(stretches) > MOST_RUNS:
        return [list(keys[keys.index(stretches[0][0]) : keys.index(stretches[-1][-1]) + 1])]
    return stretches


def range_tags(partitions: Sequence[str]) -> dict[str, str]:
    """The tags by which Dagster runs over all partitions from the first to the last."""
    return {
        "dagster/asset_partition_range_start": partitions[0],
        "dagster/asset_partition_range_end": partitions[-1],
    }
