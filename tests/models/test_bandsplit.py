from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny import network_of, tiny_candidate
from torch import Tensor

from models.candidate import load_candidate
from models.networks.bands import BandGroup, BandRangeSettings, band_groups
from models.networks.bandsplit.network import BandSplitNetwork, _PerBand

SETTINGS = {
    "name": "bandsplit",
    "bands": [{"width_hz": 500.0, "up_to_hz": 2000.0}, {"width_hz": 2000.0, "up_to_hz": 12000.0}],
    "features": 8,
    "blocks": 1,
    "lstm_hidden": 8,
    "mask_hidden": 8,
    "mask_bound": 1.5,
}


def _network(**changes: Any) -> BandSplitNetwork:
    torch.manual_seed(0)
    network = network_of(tiny_candidate(network={**SETTINGS, **changes}))
    assert isinstance(network, BandSplitNetwork)
    return network.eval()


def _spectrum(seed: int = 1) -> Tensor:
    return torch.randn(2, 2, 129, 9, dtype=torch.complex64, generator=torch.Generator().manual_seed(seed))


@given(
    st.lists(st.tuples(st.floats(1, 6000), st.floats(1, 30000)), min_size=1, max_size=6),
    st.sampled_from([4, 256, 1000, 2048, 4096]),
)
def test_bands_cover_every_bin_exactly_once_from_the_bottom_up(ranges: list[tuple[float, float]], window: int) -> None:
    edges = sorted({edge for _, edge in ranges})
    settings = [
        BandRangeSettings(width_hz=width, up_to_hz=edge) for (width, _), edge in zip(ranges, edges, strict=False)
    ]
    covered = [index for group in band_groups(settings, window) for index in range(group.bins.start, group.bins.stop)]
    assert covered == list(range(window // 2 + 1))


def test_the_large_candidate_has_about_the_published_bands() -> None:
    candidate = load_candidate("bandsplit-large")
    groups = band_groups(candidate.network.bands, candidate.stft.window)
    assert [group.width for group in groups] == [5, 12, 23, 46, 93, 98]
    assert sum(group.count for group in groups) == 40
    hz = 44100 / 2048
    for group, edge in zip(groups, (1000, 4000, 8000, 16000, 20000), strict=False):
        assert abs(group.bins.stop * hz - edge) < group.width * hz


def test_the_batched_layer_is_a_linear_layer_per_band() -> None:
    layer = _PerBand(3, 5, 4)
    torch.nn.init.normal_(layer.bias)
    x = torch.randn(3, 2, 7, 5)
    expected = torch.stack([x[band] @ layer.weight[band] + layer.bias[band] for band in range(3)])
    torch.testing.assert_close(layer(x), expected)


def test_a_mask_of_ones_gives_back_the_mixture() -> None:
    network = _network(mask_bound=None)
    for fc in network.fc:
        fc.output.weight.data.zero_()
        width = fc.output.bias.shape[-1] // 2
        fc.output.bias.data[..., width:] = 50.0  # gates wide open; the real half's bias is one from the start
    mixture = torch.randn(2, 2, 3001)
    torch.testing.assert_close(network(mixture), mixture, atol=1e-5, rtol=0)


def test_training_starts_near_half_of_the_mixture() -> None:
    network = _network(mask_bound=None)
    ratio = network.predict(_spectrum()) / _spectrum()
    assert abs(ratio.mean() - 0.5) < 0.1


def test_every_bin_is_masked_by_the_band_that_holds_it() -> None:
    network = _network()
    X = _spectrum()
    before = network.predict(X)
    for index, group in enumerate(network.groups):
        changed = _network()
        changed.fc[index].output.bias.data += 1.0
        differs = (changed.predict(X) != before).any(dim=-1).flatten(0, 1).all(dim=0)
        assert differs[group.bins].all()
        assert differs.sum() == group.count * group.width


@pytest.mark.parametrize(("band", "bin_in_band", "channel"), [(0, 0, 0), (1, 2, 1), (3, 1, 0)])
def test_a_number_of_a_bands_fc_masks_one_bin_of_one_channel(band: int, bin_in_band: int, channel: int) -> None:
    network, changed, X = _network(), _network(), _spectrum()
    group = network.groups[0]
    assert (group.count, group.width) == (4, 3)
    changed.fc[0].output.bias.data[band, 0, 4 * bin_in_band + 2 * channel] += 1.0
    differs = (changed.predict(X) != network.predict(X)).any(dim=-1).any(dim=0)
    assert differs.nonzero().tolist() == [[channel, group.width * band + bin_in_band]]


def test_a_bands_features_come_from_its_own_bins() -> None:
    network = _network(blocks=1)
    group = BandGroup(first=0, count=3, width=4)
    pre_fc = type(network.pre_fc[0])(group, 8)
    halves = torch.randn(12, 1, 5, 2, 2)
    other = halves.clone()
    other[4:8] = torch.randn(4, 1, 5, 2, 2)
    same = [torch.equal(pre_fc(halves)[band], pre_fc(other)[band]) for band in range(3)]
    assert same == [True, False, True]


def test_every_step_and_band_knows_of_every_other() -> None:
    network = _network()
    X = _spectrum()
    later = X.clone()
    later[:, :, -3:, -1] *= torch.tensor(3.0)
    mask, other = network.predict(X) / X, network.predict(later) / later
    assert not torch.allclose(mask[:, :, :4, 0], other[:, :, :4, 0], rtol=0, atol=1e-9)


def test_examples_of_a_batch_do_not_see_each_other() -> None:
    network = _network()
    X = _spectrum()
    torch.testing.assert_close(network.predict(X)[:1], network.predict(X[:1]))


@pytest.mark.parametrize("gain", [0.1, 3.0])
def test_the_mask_does_not_depend_on_the_level_of_the_mixture(gain: float) -> None:
    network = _network()
    X = _spectrum()
    torch.testing.assert_close(network.predict(gain * X), gain * network.predict(X), atol=1e-4, rtol=1e-3)


def test_the_mask_is_bounded() -> None:
    network = _network(mask_bound=1.5)
    for fc in network.fc:
        fc.output.bias.data.fill_(100.0)
    ratio = network.predict(_spectrum()).abs() / _spectrum().abs()
    torch.testing.assert_close(ratio, torch.full_like(ratio, 1.5))
