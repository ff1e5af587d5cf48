"""How hard the faults are tried, and the table of what was tried and what it gave."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from faults_site import Undisturbed, build_raw, undisturbed_run
from tried import Tried


def pytest_ignore_collect(config: pytest.Config) -> bool | None:
    """These take minutes: they run where they are asked for, `pytest tests/faults`, and not with all others."""
    return None if any("faults" in argument for argument in config.args) else True


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("faults", "how hard the faults are tried")
    group.addoption("--kills", type=int, default=5, help="kills of the whole chain (default: %(default)s)")
    group.addoption("--inputs", type=int, default=600, help="inputs of the fuzzer (default: %(default)s)")
    group.addoption("--faults-seed", type=int, default=1, help="what is drawn follows from it (default: %(default)s)")


class Table:
    """Gathers the rows, from the processes that run the tests too, and prints them at the end."""

    def __init__(self) -> None:
        self._rows: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "teardown":
            self._rows += [str(row) for name, row in report.user_properties if name == "tried"]

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if self._rows:
            terminalreporter.section("tried")
            terminalreporter.write_line("\n".join(["| what | tried | faults |", "|---|---|---|", *sorted(self._rows)]))


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Table())


@pytest.fixture
def kills(request: pytest.FixtureRequest) -> int:
    """How many kills of the whole chain are asked for."""
    return int(request.config.getoption("--kills"))


@pytest.fixture
def inputs(request: pytest.FixtureRequest) -> int:
    """How many inputs of the fuzzer are asked for, all readers together."""
    return int(request.config.getoption("--inputs"))


@pytest.fixture
def seed(request: pytest.FixtureRequest) -> int:
    return int(request.config.getoption("--faults-seed"))


@pytest.fixture
def tried(request: pytest.FixtureRequest) -> Iterator[Tried]:
    """A row of the table, to be filled in by the test."""
    row = Tried(request.node.name)
    yield row
    if row.tried:
        request.node.user_properties.append(("tried", str(row)))


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    """What the chain makes of the small corpus when nothing happens to it."""
    return undisturbed_run(build_raw(tmp_path_factory.mktemp("site")))
