"""Networks of other people's packages as peers: HTDemucs (demucs) and BS-RoFormer (bs-roformer).

They are trained by the same trainer on the same data; no weights are taken over. The packages are optional (the extra
`peers`) and are imported when such a network is built. Both go from waveform to waveform and have an STFT of their own,
which gets the candidate's settings.

Their sizes are explained in `models.networks.packaged.settings`.
"""

from __future__ import annotations

import importlib
from typing import Any

from torch import Tensor, nn

from data.audio import CHANNELS, SAMPLE_RATE
from data.errors import InputError
from models.networks.bands import band_groups
from models.networks.base import Network
from models.networks.packaged.settings import BSRoformerSettings, HTDemucsSettings
from models.section import StftSettings
from models.stft import Sound

HTDEMUCS_WINDOW = 4096  # samples


class _PackagedNetwork(Network):
    """A package's network from waveform `(b, 2, n)` to waveform, for lengths that it may not like."""

    inner: nn.Module

    def estimate(self, mixture: Sound) -> Sound:
        return Sound(self.stft, waveform=self.predict(mixture.waveform))

    def predict(self, waveform: Tensor) -> Tensor:
        """Mixture `(b, 2, n)` -> vocals `(b, 2, n)`; padded with zeros to whole hops, and to one window at least."""
        samples = waveform.shape[-1]
        padded = max(-(-samples // self.stft.hop) * self.stft.hop, self.stft.size)
        vocals = self.inner(nn.functional.pad(waveform, (0, padded - samples)))
        return vocals.reshape(*waveform.shape[:2], -1)[..., :samples]


class HTDemucsNetwork(_PackagedNetwork):
    """Hybrid Transformer Demucs with vocals as its only source. Raises InputError without the package."""

    def __init__(self, stft: StftSettings, settings: HTDemucsSettings) -> None:
        super().__init__(stft)
        if (stft.window, stft.hop) != (HTDEMUCS_WINDOW, HTDEMUCS_WINDOW // 4):
            raise InputError(
                "network htdemucs",
                expected=f"stft.window {HTDEMUCS_WINDOW}, stft.hop {HTDEMUCS_WINDOW // 4}",
                found=f"stft.window {stft.window}, stft.hop {stft.hop}",
                remedy="set them so: with others, its branches of time and frequency do not meet",
            )
        self.inner = _package("demucs.htdemucs", "htdemucs").HTDemucs(
            sources=["vocals"],
            audio_channels=CHANNELS,
            samplerate=SAMPLE_RATE,
            nfft=stft.window,
            channels=settings.channels,
            growth=settings.growth,
            bottom_channels=settings.transformer_channels,
            t_layers=settings.transformer_layers,
            t_heads=settings.transformer_heads,
            use_train_segment=False,  # excerpts of any length, as everywhere here
        )


class BSRoformerNetwork(_PackagedNetwork):
    """Band-split RoFormer for stereo. Raises InputError without the package."""

    def __init__(self, stft: StftSettings, settings: BSRoformerSettings) -> None:
        super().__init__(stft)
        groups = band_groups(settings.bands, stft.window)
        self.inner = _package("bs_roformer", "bs_roformer").BSRoformer(
            dim=settings.features,
            depth=settings.blocks,
            stereo=True,
            time_transformer_depth=1,
            freq_transformer_depth=1,
            freqs_per_bands=tuple(group.width for group in groups for _ in range(group.count)),
            heads=settings.heads,
            dim_head=settings.head_features,
            stft_n_fft=stft.window,
            stft_win_length=stft.window,
            stft_hop_length=stft.hop,
            mask_estimator_depth=settings.mask_layers,
            num_residual_streams=1,  # plain residuals, as published
        )


def _package(module: str, network: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise InputError(
            f"network {network}",
            expected=f"the package {module.split('.')[0]}, which is optional",
            found=f"it cannot be imported: {error}",
            remedy="install it with: pip install -e '.[peers]'",
        ) from error
