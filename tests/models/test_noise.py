from __future__ import annotations

import torch

from models.noise import noisy_copies, repeated


def _mixture() -> torch.Tensor:
    levels = torch.tensor([1.0, 0.01, 0.0])[:, None, None]
    return levels * torch.randn(3, 2, 44100, generator=torch.Generator().manual_seed(0))


def test_n_profiles_for_each_of_m_levels_give_n_times_m_versions_beside_each_input() -> None:
    mixture = _mixture()
    versions = noisy_copies(mixture, 2, [30.0, 10.0, 0.0], torch.Generator().manual_seed(1))
    assert versions.shape == (3 * (1 + 2 * 3), 2, 44100)
    torch.testing.assert_close(versions[:3], mixture)


def test_every_version_has_its_signal_to_noise_ratio_whatever_the_input_level() -> None:
    mixture = _mixture()
    versions = noisy_copies(mixture, 2, [30.0, 10.0], torch.Generator().manual_seed(1)).reshape(5, 3, 2, 44100)
    noise = versions[1:] - mixture
    power = mixture.square().mean(dim=(1, 2))[:2]
    snrs = 10 * torch.log10(power / noise.square().mean(dim=(2, 3))[:, :2])
    expected = torch.tensor([30.0, 30.0, 10.0, 10.0])[:, None].expand(4, 2)
    torch.testing.assert_close(snrs, expected, atol=0.1, rtol=0)


def test_silence_stays_silent() -> None:
    versions = noisy_copies(_mixture(), 1, [10.0], torch.Generator().manual_seed(1))
    assert not versions[5].any()


def test_no_two_noises_are_the_same_within_a_batch_or_between_batches() -> None:
    mixture = torch.ones(2, 2, 1000)
    generator = torch.Generator().manual_seed(1)
    noises = torch.cat([noisy_copies(mixture, 3, [10.0], generator)[2:] - 1 for _ in range(2)])
    rows = noises.reshape(-1, 1000)
    correlation = torch.corrcoef(rows) - torch.eye(len(rows))
    assert correlation.abs().max() < 0.2


def test_the_same_seed_gives_the_same_noise() -> None:
    first, second = (noisy_copies(_mixture(), 2, [10.0], torch.Generator().manual_seed(1)) for _ in range(2))
    assert torch.equal(first, second)


def test_targets_follow_their_inputs() -> None:
    mixture = _mixture()
    versions = noisy_copies(mixture, 2, [60.0, 50.0], torch.Generator().manual_seed(1))
    targets = repeated(mixture, 2, [60.0, 50.0])
    assert targets.shape == versions.shape
    torch.testing.assert_close(versions, targets, atol=0.05, rtol=0)
