from __future__ import annotations

from typing import Any

import torch
from tiny import network_of, tiny_candidate

from models.candidate import load_candidate
from models.networks.openunmix.network import OpenUnmixNetwork

SETTINGS = {
    "name": "openunmix",
    "bandwidth_hz": 8000.0,
    "hidden": 16,
    "lstm_layers": 2,
    "bidirectional": True,
    "dropout": 0.0,
}


def _network(**changes: Any) -> OpenUnmixNetwork:
    torch.manual_seed(0)
    network = network_of(tiny_candidate(network={**SETTINGS, **changes}))
    assert isinstance(network, OpenUnmixNetwork)
    return network.eval()


def test_the_shipped_candidate_has_the_published_number_of_weights() -> None:
    network = network_of(load_candidate("openunmix"))
    assert round(sum(weight.numel() for weight in network.parameters()) / 1e6, 1) == 8.9


def test_a_mask_of_ones_gives_back_the_mixture() -> None:
    network = _network()
    network.output_scale.data.zero_()
    network.output_mean.data.fill_(1.0)
    mixture = torch.randn(2, 2, 3001)
    torch.testing.assert_close(network(mixture), mixture, atol=1e-5, rtol=0)


def test_the_mask_is_never_negative_and_keeps_the_phase() -> None:
    X = torch.randn(2, 2, 129, 9, dtype=torch.complex64)
    mask = _network().predict(X) / X
    torch.testing.assert_close(mask.imag, torch.zeros_like(mask.imag), atol=1e-5, rtol=0)
    assert mask.real.min() > -1e-5


def test_bins_above_the_bandwidth_are_masked_but_not_looked_at() -> None:
    network = _network()
    X = torch.randn(2, 2, 129, 9, dtype=torch.complex64)
    assert network.seen_bins == 8000 * 256 // 44100 + 1
    other = X.clone()
    other[:, :, network.seen_bins :] *= 2
    torch.testing.assert_close(network.predict(other) / other, network.predict(X) / X)
    other[:, :, network.seen_bins - 1] *= 2
    assert not torch.allclose(network.predict(other) / other, network.predict(X) / X)


def test_input_is_standardised_from_the_data_and_goes_on_learning() -> None:
    network = _network()
    slope = torch.logspace(0, -2, 129)[:, None]
    slope[20:30] = 0
    X = slope * torch.randn(4, 2, 129, 50, dtype=torch.complex64, generator=torch.Generator().manual_seed(1))
    mixtures = network.stft.inverse(X, 49 * 64) * torch.hann_window(49 * 64)
    network.fit_input([mixtures[:2], mixtures[2:]])
    (mixtures,) = network.without_level(mixtures)
    inputs = (network._seen(network.stft(mixtures)) - network.input_mean) * network.input_scale
    heard = [index for index in range(2, network.seen_bins) if not 18 <= index < 32]
    torch.testing.assert_close(inputs.mean(dim=(0, 1, 2))[heard], torch.zeros(len(heard)), atol=1e-3, rtol=0)
    torch.testing.assert_close(inputs.std(dim=(0, 1, 2))[heard], torch.ones(len(heard)), atol=1e-2, rtol=0)
    assert torch.isfinite(network.input_scale).all()
    assert network.input_mean.requires_grad
    assert network.input_scale.requires_grad


def test_one_direction_hears_nothing_of_the_future() -> None:
    X = torch.randn(1, 2, 129, 12, dtype=torch.complex64)
    later = X.clone()
    later[..., 8:] *= -2
    for bidirectional, same in ((False, True), (True, False)):
        network = _network(bidirectional=bidirectional)
        assert torch.allclose(network.predict(later)[..., :8], network.predict(X)[..., :8]) is same
