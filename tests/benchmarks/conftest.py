"""Benchmarks train and measure, in small: that takes minutes."""

from __future__ import annotations

import pytest


def pytest_ignore_collect(config: pytest.Config) -> bool | None:
    """They run where they are asked for, `pytest tests/benchmarks`, and not with all others."""
    return None if any("benchmarks" in argument for argument in config.args) else True
