from __future__ import annotations

import copy
import math
import shutil
from typing import Any

import pytest
import torch
from tiny import network_of, tiny_candidate

from data.errors import InputError
from models.training.engine import Engine, precision_of, update_average
from models.training.processes import Processes

CPU = torch.device("cpu")
BATCH_NORM = {"norm": "batch", "output": "mask", "input": "magnitude"}


def _engine(**changes: dict[str, Any]) -> Engine:
    candidate = tiny_candidate(**changes)
    torch.manual_seed(0)
    return Engine(candidate, network_of(candidate), candidate.loss.build(), CPU, Processes())


def _sources(seed: int = 0) -> torch.Tensor:
    return 0.1 * torch.randn((2, 2, 2, 4410), generator=torch.Generator().manual_seed(seed))


def _weights(engine: Engine) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in engine.network.state_dict().items()}


def test_a_step_without_a_finite_loss_leaves_everything_as_it_was() -> None:
    engine = _engine(network={**tiny_candidate().network.model_dump(), **BATCH_NORM})
    engine.step(_sources(), 0, 0.01)
    before, moments = _weights(engine), copy.deepcopy(engine.state()["optimiser"])
    outcome = engine.step(_sources() * math.inf, 1, 0.01).tolist()
    assert not engine.counts(*outcome)
    # The number of batches that were seen is no statistic.
    assert all(
        torch.equal(before[name], tensor) for name, tensor in _weights(engine).items() if "num_batches" not in name
    )
    for name, moment in moments["state"][0].items():
        assert torch.equal(moment, engine.state()["optimiser"]["state"][0][name])
    assert engine.counts(*engine.step(_sources(), 2, 0.01).tolist())
    assert any(not torch.equal(before[name], tensor) for name, tensor in _weights(engine).items())


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_lower_precision_takes_nearly_the_same_steps(precision: str) -> None:
    losses = {}
    for name in ("float32", precision):
        engine = _engine(training={"precision": name})
        losses[name] = [engine.step(_sources(step), step, 0.01).tolist()[0] for step in range(8)]
        assert {tensor.dtype for tensor in engine.network.parameters()} == {torch.float32}
    assert losses[precision] == pytest.approx(losses["float32"], rel=0.02)
    assert losses[precision] != losses["float32"]


def test_float16_looks_for_its_scale_without_counting_that_as_lost_steps() -> None:
    engine = _engine(training={"precision": "float16"})
    assert engine.counts(0.1, math.inf)
    assert not engine.counts(math.nan, 0.1)


def test_the_first_gradients_are_those_of_the_mean_loss_clipped() -> None:
    engine = _engine(training={"clip_norm": 1e-3})
    loss, norm = engine.step(_sources(), 0, 0.01).tolist()
    assert norm > 1e-3
    clipped = torch.stack(
        [parameter.grad.norm() for parameter in engine.network.parameters() if parameter.grad is not None]
    )
    assert clipped.norm().item() == pytest.approx(1e-3, rel=1e-3)
    assert math.isfinite(loss)


def test_the_learning_rate_is_that_of_the_step() -> None:
    engine = _engine(training={"ema_decay": 0.0})
    before = _weights(engine)
    engine.step(_sources(), 0, 0.0)
    assert all(torch.equal(before[name], tensor) for name, tensor in _weights(engine).items())
    engine.step(_sources(), 1, 0.01)
    assert not all(torch.equal(before[name], tensor) for name, tensor in _weights(engine).items())


def test_averaged_weights_follow_slowly_and_without_decay_at_once() -> None:
    network = network_of(tiny_candidate())
    start = copy.deepcopy(network)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(1.0)
    for decay, moved in ((0.0, 1.0), (0.9, 0.1)):
        averaged = copy.deepcopy(start)
        update_average(averaged, network, decay, step=1000)
        for before, after in zip(start.parameters(), averaged.parameters(), strict=True):
            torch.testing.assert_close(after - before, torch.full_like(before, moved))


@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
def test_compiled_it_takes_the_same_steps() -> None:
    plain, compiled = _engine(), _engine(training={"compile": True})
    for step in range(2):
        one, other = (engine.step(_sources(step), step, 0.01).tolist() for engine in (plain, compiled))
        assert other == pytest.approx(one, rel=1e-4)


def test_without_a_compiler_a_candidate_that_asks_for_one_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(InputError, match=r"training\.compile") as caught:
        _engine(training={"compile": True})
    assert "no-such-compiler" in caught.value.found


def test_precision_follows_the_device_unless_it_is_asked_for() -> None:
    assert precision_of("auto", CPU) == torch.float32
    assert precision_of("bfloat16", CPU) == torch.bfloat16
