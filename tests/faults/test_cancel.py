"""A training cancelled in the UI: its processes end, and what it has learnt stays."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from interface import TERMINATE, Interface, lives, training_processes


@pytest.fixture
def interface(tmp_path: Path) -> Iterator[Interface]:
    started = Interface(tmp_path)
    try:
        started.wait_until(lambda: started.repository() is not None)
        yield started
    finally:
        started.end()


def test_a_cancelled_training_ends_with_its_processes_and_goes_on_later(interface: Interface) -> None:
    run = interface.train()
    interface.wait_until(lambda: interface.step() >= 12)
    training = training_processes(interface.process.pid)
    assert len(training) >= 3  # the launcher and the two that train
    answer = interface.ask(TERMINATE, id=run)
    assert answer["__typename"] == "TerminateRunSuccess", answer
    interface.wait_until(lambda: interface.status(run) == "CANCELED")
    interface.wait_until(lambda: not any(lives(process) for process in training))

    reached = interface.step()
    assert reached >= 12
    (folder,) = (interface.storage / "separators" / "unfinished" / "long").iterdir()
    assert (folder / "checkpoint.pt").is_file()

    again = interface.train()
    interface.wait_until(lambda: interface.step() > reached)
    assert interface.status(again) == "STARTED"
    assert [entry for entry in folder.parent.iterdir() if not entry.name.startswith(".")] == [folder]
    assert b"going on after step" in interface.log.read_bytes()
