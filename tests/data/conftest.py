"""What the tests of downloads share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from loopback_server import LoopbackServer, loopback_server


@pytest.fixture
def server() -> Iterator[LoopbackServer]:
    with loopback_server() as server:
        yield server


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses between attempts, in seconds; nothing sleeps."""
    pauses: list[float] = []
    monkeypatch.setattr("data.download._sleep", pauses.append)
    return pauses
