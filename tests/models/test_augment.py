from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from models.augment import Augmentation, FlipSign, Gain, SwapChannels, augmentations
from models.candidate import AugmentationSettings

EXAMPLES, FRAMES = 200, 5


def _sources() -> Tensor:
    """Every channel of every source of every example has a value of its own."""
    numbers = torch.arange(1, EXAMPLES * 2 * 2 + 1, dtype=torch.float32).reshape(EXAMPLES, 2, 2, 1)
    return numbers.expand(-1, -1, -1, FRAMES).contiguous()


def _changed(change: Augmentation, seed: int = 1) -> Tensor:
    sources = _sources()
    change.apply(sources, change.draw(np.random.default_rng(seed), EXAMPLES))
    return sources


def test_gains_stay_within_their_range_and_differ_between_sources() -> None:
    gains = 20 * torch.log10(_changed(Gain(-6.0, 3.0)) / _sources())
    torch.testing.assert_close(gains, gains[:, :, :1, :1].expand_as(gains))  # one gain for all of a source
    assert -6.001 <= gains.min() < -5.8
    assert 2.8 < gains.max() <= 3.001
    assert (gains[:, 0, 0, 0] - gains[:, 1, 0, 0]).abs().max() > 3


def test_channels_change_places_for_each_source_on_its_own() -> None:
    sources, changed = _sources(), _changed(SwapChannels(0.5))
    swapped = changed[:, :, 0, 0] == sources[:, :, 1, 0]
    expected = torch.where(swapped[..., None, None], sources.flip(-2), sources)
    torch.testing.assert_close(changed, expected)
    assert {tuple(pair) for pair in swapped.tolist()} == {(a, b) for a in (False, True) for b in (False, True)}


def test_signs_change_for_each_source_on_its_own() -> None:
    sources, changed = _sources(), _changed(FlipSign(0.25))
    torch.testing.assert_close(changed.abs(), sources)
    flipped = changed[:, :, 0, 0] < 0
    assert (changed < 0).eq(flipped[..., None, None]).all()
    assert 0.15 < flipped.float().mean() < 0.35


@pytest.mark.parametrize("change", [Gain(-6.0, 6.0), SwapChannels(0.5), FlipSign(0.5)], ids=lambda c: type(c).__name__)
def test_choices_follow_from_the_generator(change: Augmentation) -> None:
    torch.testing.assert_close(_changed(change), _changed(change))
    assert not torch.equal(_changed(change), _changed(change, seed=2))


def test_only_what_a_candidate_asks_for_is_done() -> None:
    nothing = AugmentationSettings(remix=0.5, gain_db=[0.0, 0.0], swap_channels=0.0, flip_sign=0.0)
    assert augmentations(nothing) == []
    some = AugmentationSettings(remix=0.0, gain_db=[-3.0, 0.0], swap_channels=0.0, flip_sign=0.5)
    assert augmentations(some) == [Gain(-3.0, 0.0), FlipSign(0.5)]
