"""The documents beside the README: what they name is there."""

from __future__ import annotations

import re
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]


def test_the_tour_names_files_that_are_there() -> None:
    named = re.findall(r"`((?:data|models|assets|pipelines)/[\w/.]*)`", (PROJECT / "docs" / "tour.md").read_text())
    assert len(named) > 30
    assert [name for name in named if not (PROJECT / name).exists()] == []
