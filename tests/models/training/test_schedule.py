from __future__ import annotations

import math

import pytest
from tiny import tiny_candidate

from models.candidate import TrainingSettings
from models.training.schedule import epochs_without_progress, learning_rate_at, plateaus


def _settings(schedule: dict[str, object], warmup_steps: int = 0) -> TrainingSettings:
    return tiny_candidate(training={"schedule": schedule, "warmup_steps": warmup_steps}).training


def test_the_learning_rate_warms_up_and_falls_to_nothing_with_the_budget() -> None:
    settings = _settings({"name": "cosine"}, warmup_steps=10)
    rates = [learning_rate_at(step, settings, step / 100) for step in range(101)]
    assert rates[0] == pytest.approx(0.01 / 11)
    assert rates[:9] == sorted(rates[:9])
    assert rates[50] == pytest.approx(0.01 * 0.5)
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[100] < 1e-9


def test_a_constant_rate_stays() -> None:
    assert [learning_rate_at(step, _settings({"name": "constant"}), 0.9) for step in (0, 99)] == [0.01, 0.01]


def test_on_a_plateau_the_rate_falls_each_time_nothing_was_gained_for_so_many_epochs() -> None:
    settings = _settings({"name": "plateau", "epochs": 2, "factor": 0.1})
    qualities = [1.0, 2.0, 1.5, 2.0, 1.9, 1.8, 3.0, 2.0]
    rates = [learning_rate_at(50, settings, 0.5, qualities[:seen]) for seen in range(len(qualities) + 1)]
    falls = [round(math.log10(rate / 0.01)) for rate in rates]
    assert falls == [0, 0, 0, 0, -1, -1, -2, -2, -2]


@pytest.mark.parametrize(
    ("qualities", "waited"), [([], 0), ([1.0], 0), ([1.0, 2.0], 0), ([2.0, 2.0], 1), ([3.0, 1.0, 2.0], 2)]
)
def test_epochs_since_the_best_one(qualities: list[float], waited: int) -> None:
    assert epochs_without_progress(qualities) == waited


def test_an_equal_epoch_is_not_a_better_one() -> None:
    assert plateaus([1.0, 1.0, 1.0], 2) == 1
