from __future__ import annotations

from typing import Any

import pytest
import torch
from tiny import network_of, tiny_candidate

from models.networks.aps360.network import APS360Network, aware
from models.networks.layers import complex_mask
from models.stft import Sound


def _network(**changes: Any) -> APS360Network:
    torch.manual_seed(0)
    network = network_of(tiny_candidate(network=changes))
    assert isinstance(network, APS360Network)
    return network.eval()


@pytest.mark.parametrize("output", ["spectrum", "complex_mask", "mask"])
@pytest.mark.parametrize("input", ["complex", "magnitude", "log_magnitude"])
@pytest.mark.parametrize("channels", ["separate", "together"])
def test_vocals_have_the_shape_of_the_mixture(channels: str, input: str, output: str) -> None:
    network = _network(channels=channels, input=input, output=output, skip=True, norm="layer", bandwidth_hz=9000.0)
    for samples in (1, 500, 4410):
        vocals = network(torch.randn(3, 2, samples))
        assert vocals.shape == (3, 2, samples)
        assert torch.isfinite(vocals).all()


def test_each_time_step_becomes_2f_reals_times_the_frames_it_is_aware_of() -> None:
    network = _network(awareness=2)
    assert network.pre_fc[0].in_features == (2 * 2 + 1) * 2 * 129
    assert network.fc[-1].out_features == 2 * 129


def test_awareness_concatenates_neighbours_with_zeros_past_the_ends() -> None:
    steps = torch.tensor([[[1.0], [2.0], [3.0]]])
    expected = torch.tensor([[[0.0, 1, 2], [1, 2, 3], [2, 3, 0]]])
    torch.testing.assert_close(aware(steps, 1), expected)
    assert aware(steps, 0) is steps


@pytest.mark.parametrize("k", [0, 1, 3])
def test_with_one_direction_a_frame_depends_on_k_frames_ahead_and_no_more(k: int) -> None:
    network = _network(awareness=k, norm="layer")
    generator = torch.Generator().manual_seed(1)
    X = torch.randn(1, 2, 129, 20, dtype=torch.complex64, generator=generator)
    at = 9
    beyond = X.clone()
    beyond[..., at + k + 1 :] = torch.randn(1, 2, 129, 20 - at - k - 1, dtype=torch.complex64, generator=generator)
    torch.testing.assert_close(network.predict(beyond)[..., : at + 1], network.predict(X)[..., : at + 1])
    last = X.clone()
    last[..., at + k] *= -1
    assert not torch.allclose(network.predict(last)[..., at], network.predict(X)[..., at])


def test_with_two_directions_a_frame_depends_on_the_whole_future() -> None:
    network = _network(bidirectional=True)
    X = torch.randn(1, 2, 129, 20, dtype=torch.complex64, generator=torch.Generator().manual_seed(1))
    later = X.clone()
    later[..., 15] *= -1
    assert not torch.equal(network.predict(later)[..., 2], network.predict(X)[..., 2])


def test_separate_channels_do_not_see_each_other_and_together_they_do() -> None:
    X = torch.randn(1, 2, 129, 6, dtype=torch.complex64, generator=torch.Generator().manual_seed(1))
    other = X.clone()
    other[:, 1] *= -1
    for channels, same in (("separate", True), ("together", False)):
        network = _network(channels=channels)
        assert torch.allclose(network.predict(other)[:, 0], network.predict(X)[:, 0]) is same


@pytest.mark.parametrize("output", ["complex_mask", "mask"])
def test_a_mask_is_bounded(output: str) -> None:
    network = _network(output=output, mask_bound=1.5)
    network.fc[-1].bias.data.fill_(100.0)
    X = torch.randn(1, 2, 129, 6, dtype=torch.complex64, generator=torch.Generator().manual_seed(1))
    ratio = network.predict(X).abs() / X.abs()
    torch.testing.assert_close(ratio, torch.full_like(ratio, 1.5))


def test_a_complex_mask_of_nothing_has_a_finite_gradient() -> None:
    halves = torch.zeros(2, 5, requires_grad=True)
    complex_mask(halves[0], halves[1], 1.5).abs().square().sum().backward()
    assert torch.isfinite(halves.grad).all()


def test_a_free_complex_mask_is_what_it_is_made_of() -> None:
    real, imag = torch.randn(2, 5)
    torch.testing.assert_close(complex_mask(real, imag, None), torch.complex(real, imag))


def test_projection_gives_a_prediction_in_the_right_direction_the_right_gain() -> None:
    network = _network(gain="projection").double()
    random = torch.Generator().manual_seed(1)
    Y = torch.randn(1, 2, 129, 12, dtype=torch.complex128, generator=random)
    Y[..., [0, -1], :] = Y[..., [0, -1], :].real.to(Y.dtype)  # bins that are real in the spectrum of a real signal
    Y = network.stft(network.stft.inverse(Y, 600))
    # An accompaniment at a right angle to the vocals in every frame.
    Z = 1j * Y
    mixture = Sound(network.stft, spectrum=Y + Z, samples=600)
    expected = network.stft.inverse(Y, 600)
    for gain in (0.01, 7.0):
        estimate = Sound(network.stft, spectrum=gain * Y, samples=600)
        torch.testing.assert_close(network.finish(estimate, mixture), expected, atol=1e-4, rtol=0)
    opposite = Sound(network.stft, spectrum=-Y, samples=600)
    assert not network.finish(opposite, mixture).any()


@pytest.mark.parametrize("input", ["complex", "magnitude"])
def test_standardised_input_has_unit_scale_in_every_bin_and_silent_bins_stay_quiet(input: str) -> None:
    network = _network(input=input, standardise=True)
    random = torch.Generator().manual_seed(1)
    slope = torch.logspace(0, -2, 129)[:, None]
    slope[100:] = 0
    X = slope * torch.randn(4, 2, 129, 50, dtype=torch.complex64, generator=random)
    # Faded out at both ends: a sudden edge has energy in every bin.
    mixtures = network.stft.inverse(X, 49 * 64) * torch.hann_window(49 * 64)
    network.fit_input([mixtures])
    (mixtures,) = network.without_level(mixtures)
    features = (network._features(network.stft(mixtures)) - network.mean) / network.scale
    spread = features.std(dim=(0, 1, 2, 3))
    torch.testing.assert_close(spread[2:95], torch.ones(93), atol=0.1, rtol=0)
    assert spread[105:].max() < 0.1
