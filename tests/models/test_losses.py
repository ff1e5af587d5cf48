from __future__ import annotations

import math

import pytest
import torch
from tiny import tiny_candidate
from torch import Tensor

from models.section import StftSettings
from models.stft import STFT, Sound

LITERAL = {"name": "contrastive_cosine", "over": "frame", "repulsion": 1.0}
REPAIRED = {
    "name": "contrastive_cosine_repaired",
    "over": "frame",
    "repulsion": 1.0,
    "energy": 0.1,
    "energy_floor": 0.001,
}
L1 = {"name": "l1", "waveform": 1.0, "spectrum": 1.0}
ALL = [LITERAL, {**LITERAL, "over": "segment"}, REPAIRED, {**REPAIRED, "over": "segment"}, L1]

STFT_SMALL = STFT(StftSettings(window=64, hop=16)).double()


def _spectrum(seed: int, b: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(b, 2, 33, 5, dtype=torch.complex128, generator=generator)


def _orthogonal() -> tuple[Tensor, Tensor]:
    """Vocals and instrumental, equally loud and at a right angle in every frame."""
    Y = _spectrum(0)
    Z = _spectrum(1)
    inner = (Y.real * Z.real + Y.imag * Z.imag).sum(dim=2, keepdim=True)
    Z = Z - Y * inner / Y.abs().square().sum(dim=2, keepdim=True)
    return Y, Z * (Y.abs().square().sum(dim=2, keepdim=True) / Z.abs().square().sum(dim=2, keepdim=True)).sqrt()


def _sound(spectrum: Tensor) -> Sound:
    return Sound(STFT_SMALL, spectrum=spectrum, samples=64)


def _optimum(settings: dict[str, object], Y: Tensor, Z: Tensor, steps: int = 400) -> Tensor:
    """The prediction that minimises a loss, found from a random start."""
    loss = tiny_candidate(loss=settings).loss.build()
    values = torch.view_as_real(_spectrum(2)).clone().requires_grad_()
    optimiser = torch.optim.LBFGS([values], max_iter=steps, line_search_fn="strong_wolfe", tolerance_change=1e-12)

    def closure() -> Tensor:
        optimiser.zero_grad()
        value = loss(_sound(torch.view_as_complex(values)), _sound(Y), _sound(Y + Z)).mean()
        value.backward()
        return value

    optimiser.step(closure)
    return torch.view_as_complex(values.detach())


def _cosines(P: Tensor, Y: Tensor) -> Tensor:
    inner = (P.real * Y.real + P.imag * Y.imag).sum(dim=2)
    return inner / (P.abs().square().sum(dim=2) * Y.abs().square().sum(dim=2)).sqrt()


def test_the_literal_loss_has_its_optimum_halfway_between_vocals_and_inverted_instrumental() -> None:
    Y, Z = _orthogonal()
    P = _optimum(LITERAL, Y, Z)
    torch.testing.assert_close(
        _cosines(P, Y), torch.full((1, 2, 5), math.sqrt(0.5), dtype=torch.double), atol=1e-3, rtol=0
    )
    halfway = Y - Z  # both are equally loud, so this is the direction of Y/|Y| - Z/|Z|
    torch.testing.assert_close(_cosines(P, halfway), torch.ones(1, 2, 5, dtype=torch.double), atol=1e-3, rtol=0)


def test_the_literal_loss_leaves_the_gain_free() -> None:
    Y, Z = _orthogonal()
    loss = tiny_candidate(loss=LITERAL).loss.build()
    values = [loss(_sound(gain * _spectrum(3)), _sound(Y), _sound(Y + Z)) for gain in (0.1, 1.0, 10.0)]
    torch.testing.assert_close(values[0], values[2], atol=1e-6, rtol=0)
    torch.testing.assert_close(values[1], values[2], atol=1e-6, rtol=0)


@pytest.mark.parametrize("over", ["frame", "segment"])
def test_the_repaired_loss_has_its_optimum_at_the_vocals_with_the_right_gain(over: str) -> None:
    Y, Z = _orthogonal()
    P = _optimum({**REPAIRED, "over": over}, Y, Z)
    assert 10 * torch.log10(Y.abs().square().sum() / (P - Y).abs().square().sum()) > 40


def test_the_repaired_loss_fixes_the_gain_even_without_its_energy_term() -> None:
    Y, Z = _orthogonal()
    P = _optimum({**REPAIRED, "energy": 0.0}, Y, Z, steps=2000)
    gain = (P.real * Y.real + P.imag * Y.imag).sum(dim=2) / Y.abs().square().sum(dim=2)
    torch.testing.assert_close(gain, torch.ones_like(gain), atol=0.02, rtol=0)


def test_on_silent_vocals_the_repaired_loss_falls_with_the_level_of_the_prediction() -> None:
    X = _spectrum(0)
    loss = tiny_candidate(loss=REPAIRED).loss.build()
    values = [float(loss(_sound(gain * X), _sound(torch.zeros_like(X)), _sound(X))) for gain in (0.9, 0.3, 0.0)]
    assert values[0] > values[1] + 0.05 > values[2] + 0.1
    # Energy in dB: -30 at silence, -10 at 0.3 X (weighted 0.1 per bel here).
    torch.testing.assert_close(values[1] - values[2], 0.1 * (-1.04 + 3.0), atol=0.02, rtol=0)


def test_without_an_instrumental_the_repaired_loss_does_not_repel_the_vocals() -> None:
    Y = _spectrum(0)
    nearly_none = 1e-9 * _spectrum(1)
    with_repulsion, without = (
        tiny_candidate(loss={**REPAIRED, "repulsion": weight}).loss.build()(
            _sound(Y), _sound(Y), _sound(Y + nearly_none)
        )
        for weight in (1.0, 0.0)
    )
    torch.testing.assert_close(with_repulsion, without)


@pytest.mark.parametrize("settings", ALL, ids=str)
@pytest.mark.parametrize("silent", ["vocals", "instrumental", "both", "prediction"])
def test_values_and_gradients_are_finite_on_silence(settings: dict[str, object], silent: str) -> None:
    Y, Z, P = _spectrum(0), _spectrum(1), _spectrum(2)
    Y = torch.zeros_like(Y) if silent in ("vocals", "both") else Y
    Z = torch.zeros_like(Z) if silent in ("instrumental", "both") else Z
    values = torch.view_as_real(torch.zeros_like(P) if silent == "prediction" else P).clone().requires_grad_()
    loss = tiny_candidate(loss=settings).loss.build()
    value = loss(_sound(torch.view_as_complex(values)), _sound(Y), _sound(Y + Z)).mean()
    value.backward()
    assert math.isfinite(value.item())
    assert torch.isfinite(values.grad).all()


@pytest.mark.parametrize("settings", ALL, ids=str)
def test_each_example_is_reduced_on_its_own(settings: dict[str, object]) -> None:
    loss = tiny_candidate(loss=settings).loss.build()
    P, Y, Z = _spectrum(2, b=3), _spectrum(0, b=3), _spectrum(1, b=3)
    together = loss(_sound(P), _sound(Y), _sound(Y + Z))
    assert together.shape == (3,)
    for example in range(3):
        one = slice(example, example + 1)
        alone = loss(_sound(P[one]), _sound(Y[one]), _sound((Y + Z)[one]))
        torch.testing.assert_close(together[one], alone)


def test_l1_is_zero_at_the_vocals_and_grows_with_either_side() -> None:
    Y, Z = _spectrum(0), _spectrum(1)
    assert float(tiny_candidate(loss=L1).loss.build()(_sound(Y), _sound(Y), _sound(Y + Z))) == 0
    for part in ("waveform", "spectrum"):
        other = {**L1, "waveform": 0.0, "spectrum": 0.0, part: 1.0}
        assert float(tiny_candidate(loss=other).loss.build()(_sound(Y + Z), _sound(Y), _sound(Y + Z))) > 0
