"""Assets gather, call and record; what is decided stands in functions of values. Their length tells."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

FILES = sorted((Path(__file__).resolve().parents[2] / "assets").glob("*.py"))
FILE_LINES, ASSET_LINES = 250, 30
DECORATORS = {"asset", "multi_asset", "graph_asset", "observable_source_asset", "multi_observable_source_asset"} | {
    "asset_check",
    "multi_asset_check",
}


def assets_of(source: str) -> dict[str, int]:
    """The lines of every function that is an asset or a check, by name, from `def` to its end."""
    return {
        node.name: (node.end_lineno or 0) - node.lineno + 1
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.FunctionDef)
        and any(
            isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.func.attr in DECORATORS
            for call in node.decorator_list
        )
    }


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_no_file_of_assets_is_long(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= FILE_LINES


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_no_asset_is_long(path: Path) -> None:
    assert {name: lines for name, lines in assets_of(path.read_text()).items() if lines > ASSET_LINES} == {}


def test_every_asset_is_measured() -> None:
    names = {name for path in FILES for name in assets_of(path.read_text())}
    assert {"scores", "leaderboard", "champion_validation", "better_than_the_champion", "checkpoint"} <= names
