"""The four rooms: what may import what."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[1]
ROOMS = ("data", "models", "assets", "pipelines")  # each may import those before it
OUTSIDE = {"tests", "benchmarks"}


def imports(file: Path) -> Iterator[tuple[int, str]]:
    """The modules that a file imports, those inside functions too, with their lines."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.lineno, node.module


@pytest.mark.parametrize("room", ROOMS)
def test_arrows_lead_one_way(room: str) -> None:
    forbidden = {*ROOMS[ROOMS.index(room) + 1 :], *OUTSIDE}
    wrong = [
        f"{file.relative_to(PROJECT)}:{line} imports {module}"
        for file in sorted((PROJECT / room).rglob("*.py"))
        for line, module in imports(file)
        if module.partition(".")[0] in forbidden
    ]
    assert wrong == []


@pytest.mark.parametrize("room", ["data", "models"])
def test_data_and_models_know_nothing_of_dagster_but_its_pipes(room: str) -> None:
    found = {
        file.relative_to(PROJECT).as_posix(): module
        for file in sorted((PROJECT / room).rglob("*.py"))
        for _, module in imports(file)
        if module.partition(".")[0].startswith("dagster")
    }
    assert set(found.values()) <= {"dagster_pipes"}
