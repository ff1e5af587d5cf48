"""Every reader takes what it is given or refuses it in words: no traceback, no hang, no memory without bound."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fuzz import Nursery
from readers import READERS
from tried import Tried

_WEIGHT = sum(reader.weight for reader in READERS.values())


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    with Nursery() as nursery:
        yield nursery


@pytest.mark.parametrize("reader", READERS)
def test_a_reader_refuses_in_words_what_it_cannot_read(
    nursery: Nursery, reader: str, inputs: int, seed: int, tmp_path: Path, tried: Tried
) -> None:
    count = max(3, round(inputs * READERS[reader].weight / _WEIGHT))
    tried.what, tried.tried = f"mutated inputs: {reader}", f"{count} inputs, seed {seed}"
    tried.found += [str(fault) for fault in nursery.fuzz(reader, seed, count, tmp_path / "fuzz")]
    tried.conclude()
