from __future__ import annotations

import pytest
import torch

from models.section import StftSettings
from models.stft import STFT, Sound


@pytest.mark.parametrize(("window", "hop"), [(256, 64), (256, 128), (1024, 200), (6, 3)])
@pytest.mark.parametrize("samples", [1, 2, 63, 64, 65, 255, 1000, 4097])
def test_reconstruction_is_exact_at_every_length_edges_included(window: int, hop: int, samples: int) -> None:
    stft = STFT(StftSettings(window=window, hop=hop)).double()
    waveform = torch.randn(2, 2, samples, dtype=torch.float64, generator=torch.Generator().manual_seed(samples))
    spectrum = stft(waveform)
    assert spectrum.shape == (2, 2, window // 2 + 1, stft.frames(samples))
    back = stft.inverse(spectrum, samples)
    assert back.shape == waveform.shape
    torch.testing.assert_close(back, waveform, atol=1e-12, rtol=0)


def test_reconstruction_in_single_precision_is_below_24_bit() -> None:
    stft = STFT(StftSettings(window=2048, hop=1024))
    waveform = torch.rand(1, 2, 44101, generator=torch.Generator().manual_seed(0)) * 2 - 1
    torch.testing.assert_close(stft.inverse(stft(waveform), 44101), waveform, atol=2**-21, rtol=0)


def test_a_frame_has_the_energy_of_its_windowed_samples() -> None:
    stft = STFT(StftSettings(window=256, hop=64)).double()
    waveform = torch.randn(1, 1, 1024, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    vectors = Sound(stft, waveform=waveform).vectors[0, 0, 8]
    inner = vectors[:129].square() + vectors[129:].square()
    energy = 2 * inner.sum() - inner[0] - inner[-1]  # the other half of the spectrum mirrors all bins but two
    centre = 8 * 64
    windowed = waveform[0, 0, centre - 128 : centre + 128] * stft.window
    torch.testing.assert_close(energy, windowed.square().sum())


def test_both_sides_of_a_sound_agree_whichever_it_is_made_from() -> None:
    stft = STFT(StftSettings(window=256, hop=64)).double()
    waveform = torch.randn(1, 2, 777, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    spectrum = Sound(stft, waveform=waveform).spectrum
    torch.testing.assert_close(Sound(stft, spectrum=spectrum, samples=777).waveform, waveform)
