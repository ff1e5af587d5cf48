"""The budget of a training and the clock of its saves, by a clock that is set by hand."""

from __future__ import annotations

import time

import pytest
import torch
from tiny import tiny_candidate

from models.training.budget import Budget
from models.training.processes import Processes
from models.training.save_clock import SaveClock
from models.training.state import Progressed


class Clock:
    """Seconds, moved on by hand."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(time, "monotonic", clock)
    return clock


def _budget(progressed: Progressed, minutes: float | None) -> Budget:
    settings = tiny_candidate(training={"epochs": 2, "steps_per_epoch": 50, "minutes": minutes}).training
    return Budget(settings, progressed, Processes(), torch.device("cpu"))


def test_a_budget_is_spent_in_steps_or_in_time_whichever_is_more(clock: Clock) -> None:
    progressed = Progressed("run", step=20)
    in_steps, in_time = _budget(progressed, None), _budget(progressed, 1.0)
    clock.now += 30
    assert in_steps.spent() == 0.2
    assert in_time.spent() == in_time.share == 0.5
    progressed.step = 80
    assert in_time.spent() == 0.8


def test_seconds_of_earlier_lives_are_part_of_the_budget(clock: Clock) -> None:
    progressed = Progressed("run", seconds=24.0)
    budget = _budget(progressed, 1.0)
    clock.now += 12
    assert budget.spent() == pytest.approx(0.6)
    assert progressed.seconds == pytest.approx(36)


def test_the_validation_that_is_still_to_come_is_part_of_the_budget(clock: Clock) -> None:
    budget = _budget(Progressed("run"), 1.0)
    with budget.validating():
        clock.now += 20
    assert budget.spent() == pytest.approx(20 / (60 - 20))


def test_saves_are_due_every_so_many_seconds(clock: Clock) -> None:
    saves = SaveClock(5.0)
    clock.now += 4
    assert not saves.due
    clock.now += 1
    assert saves.due
    with saves.saving():
        clock.now += 100
    clock.now += 5
    assert saves.due


@pytest.mark.parametrize(("seconds", "between"), [(0.1, 60), (2, 200)])
def test_slow_saves_become_rarer_and_take_a_hundredth_of_the_time(clock: Clock, seconds: float, between: int) -> None:
    saves = SaveClock()
    clock.now += 60
    assert saves.due
    with saves.saving():
        clock.now += seconds
    clock.now += between - 1
    assert not saves.due
    clock.now += 1
    assert saves.due
