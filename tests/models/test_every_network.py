"""What holds for every network, and for every candidate that ships."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from listener import Listener
from tiny import network_of, tiny_candidate, tiny_pairs
from torch import Tensor

from data.audio import Audio
from models.candidate import Candidate, candidate_names, load_candidate
from models.checkpoint import load_checkpoint, load_separator
from models.networks import NETWORKS
from models.networks.base import Network
from models.separate import Separator, separate
from models.stft import Sound
from models.training import train
from models.training.engine import Engine
from models.training.processes import Processes

PACKAGES = {"htdemucs": "demucs.htdemucs", "bs_roformer": "bs_roformer"}
BANDS = [{"width_hz": 500.0, "up_to_hz": 2000.0}, {"width_hz": 2000.0, "up_to_hz": 12000.0}]

# One of each network, tiny; the sections of the candidate that differ from those of tiny.py.
TINY: dict[str, dict[str, Any]] = {
    "aps360": {"network": {"output": "complex_mask"}},
    "bandsplit": {
        "network": {
            "name": "bandsplit",
            "bands": BANDS,
            "features": 8,
            "blocks": 1,
            "lstm_hidden": 8,
            "mask_hidden": 8,
            "mask_bound": 1.5,
        }
    },
    "openunmix": {
        "network": {
            "name": "openunmix",
            "bandwidth_hz": 16000.0,
            "hidden": 16,
            "lstm_layers": 2,
            "bidirectional": True,
            "dropout": 0.1,
        }
    },
    "htdemucs": {
        "stft": {"window": 4096, "hop": 1024},
        "network": {
            "name": "htdemucs",
            "channels": 8,
            "growth": 2,
            "transformer_channels": 16,
            "transformer_layers": 2,
            "transformer_heads": 2,
        },
    },
    "bs_roformer": {
        "network": {
            "name": "bs_roformer",
            "bands": BANDS,
            "features": 8,
            "blocks": 1,
            "heads": 2,
            "head_features": 4,
            "mask_layers": 1,
        }
    },
}

pytestmark = [
    # BS-RoFormer's package asks torch in a way that is going out of use, and has its own idea of a window at first.
    pytest.mark.filterwarnings("ignore:.*sdp_kernel:FutureWarning"),
    pytest.mark.filterwarnings("ignore:A window was not provided:UserWarning"),
]


def _fresh(candidate: Candidate) -> Network:
    name = candidate.network.name
    if name in PACKAGES:
        pytest.importorskip(PACKAGES[name], reason="the extra `peers` is not installed")
    torch.manual_seed(0)
    return network_of(candidate)


def _tiny(name: str) -> tuple[Candidate, Network]:
    candidate = tiny_candidate(**TINY[name])
    return candidate, _fresh(candidate)


def _noise(*shape: int) -> Tensor:
    return 0.1 * torch.randn(*shape, generator=torch.Generator().manual_seed(1))


def _song(samples: int) -> tuple[Tensor, Tensor]:
    """Mixture and vocals `(2, 2, samples)`: interrupted tones over low tones and hiss."""
    time = torch.arange(samples) / 44100
    tones = torch.stack([torch.sin(6.2832 * pitch * time) + torch.sin(12.566 * pitch * time) for pitch in (440, 660)])
    sung = (torch.sin(6.2832 * 3 * time) > 0).float()
    vocals = 0.2 * (tones * sung)[:, None] * torch.tensor([1.0, 0.8])[:, None]
    bass = 0.3 * torch.sin(6.2832 * 110 * time)
    return vocals + bass + 0.3 * _noise(2, 2, samples), vocals


def _loss(candidate: Candidate, network: Network, mixture: Tensor, vocals: Tensor) -> Tensor:
    X, Y = (Sound(network.stft, waveform=each) for each in network.without_level(mixture, vocals))
    return candidate.loss.build()(network.estimate(X), Y, X).mean()


def test_there_is_a_tiny_one_of_every_network() -> None:
    assert set(TINY) == set(NETWORKS)


@pytest.mark.parametrize("name", TINY)
def test_vocals_are_as_long_as_the_mixture_whatever_its_length(name: str) -> None:
    _, network = _tiny(name)
    network.eval()
    for samples in (1, 500, 4411):
        vocals = network(_noise(3, 2, samples))
        assert vocals.shape == (3, 2, samples)
        assert torch.isfinite(vocals).all()


@pytest.mark.parametrize("name", TINY)
def test_silence_equal_channels_and_one_silent_channel_give_finite_vocals(name: str) -> None:
    _, network = _tiny(name)
    network.eval()
    silent = torch.zeros(1, 2, 4411)
    one_sided = _noise(1, 2, 4411) * torch.tensor([1.0, 0.0])[:, None]
    for mixture in (silent, _noise(1, 1, 4411).repeat(1, 2, 1), one_sided):
        assert torch.isfinite(network(mixture)).all()
    assert not network(silent).any()


@pytest.mark.parametrize("name", TINY)
def test_the_gradient_reaches_every_weight(name: str) -> None:
    candidate, network = _tiny(name)
    mixture, vocals = _song(8000)
    _loss(candidate, network, mixture, vocals).backward()
    learnt = {key: weight for key, weight in network.named_parameters() if weight.requires_grad}
    assert learnt
    assert [key for key, weight in learnt.items() if weight.grad is None or not weight.grad.any()] == []


@pytest.mark.parametrize("loss", ["l1", "contrastive_cosine_repaired"])
@pytest.mark.parametrize("name", TINY)
def test_gradients_are_finite_on_silence(name: str, loss: str) -> None:
    losses = {
        "l1": {"name": "l1", "waveform": 1.0, "spectrum": 1.0},
        "contrastive_cosine_repaired": {
            "name": "contrastive_cosine_repaired",
            "over": "frame",
            "repulsion": 1.0,
            "energy": 0.1,
            "energy_floor": 0.001,
        },
    }
    candidate = tiny_candidate(**TINY[name], loss=losses[loss])
    network = _fresh(candidate)
    # Half of the batch is silent; then all of it.
    for mixture in (torch.cat([_noise(1, 2, 6000), torch.zeros(1, 2, 6000)]), torch.zeros(2, 2, 6000)):
        network.zero_grad()
        value = _loss(candidate, network, mixture, torch.zeros(2, 2, 6000))
        value.backward()
        assert torch.isfinite(value)
        gradients = [weight.grad for weight in network.parameters() if weight.grad is not None]
        assert gradients
        assert all(torch.isfinite(gradient).all() for gradient in gradients)


@pytest.mark.parametrize("name", TINY)
def test_input_statistics_of_silence_leave_a_network_usable(name: str) -> None:
    _, network = _tiny(name)
    network.fit_input([torch.zeros(2, 2, 4410)])
    assert torch.isfinite(network.eval()(_noise(1, 2, 4410))).all()


@pytest.mark.parametrize("name", candidate_names())
def test_every_shipped_candidate_gives_louder_music_the_same_vocals_louder(name: str) -> None:
    candidate = load_candidate(name)
    network = _fresh(candidate)
    mixture, vocals = _song(22050)
    network.fit_input([mixture])
    separator = Separator(network, candidate, torch.device("cpu"), context_seconds=0.05)

    def separated(gain: float) -> Audio:
        return separate(separator, np.float32(gain) * mixture[0].numpy(), chunk_seconds=0.3)

    optimiser = torch.optim.Adam(network.parameters(), 0.001)
    for _ in range(2):  # fresh weights first, then some that have learnt
        network.eval()
        expected = separated(1.0)
        assert np.abs(expected).max() > 0
        for gain in (0.01, 0.1, 7.0):
            np.testing.assert_allclose(separated(gain) / gain, expected, rtol=0, atol=1e-4 * np.abs(expected).max())
        assert not separated(0.0).any()
        network.train()
        _loss(candidate, network, mixture[..., :8820], vocals[..., :8820]).backward()
        optimiser.step()


@pytest.mark.parametrize("name", TINY)
def test_a_quiet_example_weighs_as_much_in_a_step_as_a_loud_one(name: str) -> None:
    candidate = tiny_candidate(**TINY[name], training={"precision": "float32"})
    _fresh(candidate)  # skips where the package is missing
    outcomes = []
    for gain in (1.0, 0.01):
        torch.manual_seed(0)
        engine = Engine(candidate, network_of(candidate), candidate.loss.build(), torch.device("cpu"), Processes())
        outcomes.append(engine.step(gain * _noise(2, 2, 2, 5000), 0, 0.001).tolist())
    assert outcomes[1] == pytest.approx(outcomes[0], rel=1e-3)


@pytest.mark.parametrize("name", candidate_names())
def test_every_shipped_candidate_builds_and_learns_from_a_short_chunk(name: str) -> None:
    candidate = load_candidate(name)
    network = _fresh(candidate)
    mixture, vocals = _song(6001)
    network.fit_input([mixture])
    value = _loss(candidate, network, mixture, vocals)
    value.backward()
    assert torch.isfinite(value)
    gradients = [weight.grad for weight in network.parameters() if weight.grad is not None]
    assert torch.isfinite(torch.nn.utils.get_total_norm(gradients))


# The shipped settings at a width that a test can afford.
NARROW: dict[str, dict[str, Any]] = {
    "aps360-repaired": {"pre_fc": [64], "lstm_hidden": 64, "fc": [64, 64]},
    "bandsplit": {"features": 16, "lstm_hidden": 16},
    "openunmix": {"hidden": 64},
}


@pytest.mark.parametrize("name", NARROW)
def test_a_candidate_learns_one_batch_by_heart(name: str) -> None:
    shipped = load_candidate(name)
    candidate = shipped.model_copy(update={"network": shipped.network.model_copy(update=NARROW[name])})
    network = _fresh(candidate)
    mixture, vocals = _song(22050)
    network.fit_input([mixture])
    optimiser = torch.optim.Adam(network.parameters(), 0.01)
    losses, errors = [], []
    for _ in range(25):
        value = _loss(candidate, network, mixture, vocals)
        optimiser.zero_grad()
        value.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 5.0)
        optimiser.step()
        losses.append(value.item())
        with torch.no_grad():
            errors.append(float((network(mixture) - vocals).square().sum() / vocals.square().sum()))
    assert losses[-1] < losses[0] - 0.4 * abs(losses[0])
    assert errors[-1] < 0.25 * errors[0]


@pytest.mark.parametrize("name", TINY)
def test_a_network_goes_through_the_trainer_and_comes_back_from_its_checkpoint(name: str, tmp_path: Path) -> None:
    candidate = tiny_candidate(**TINY[name])
    _fresh(candidate)  # skips where the package is missing
    result = train(candidate, tiny_pairs(tmp_path), tmp_path, tmp_path / "out", Listener())
    assert load_checkpoint(result.checkpoint).candidate == candidate
    vocals = load_separator(result.checkpoint)(_noise(2, 5000).numpy())
    assert vocals.shape == (2, 5000)
    assert np.isfinite(vocals).all()


@pytest.mark.parametrize("name", TINY)
def test_a_network_takes_nearly_the_same_step_in_bfloat16(name: str) -> None:
    _fresh(tiny_candidate(**TINY[name]))  # skips where the package is missing
    losses = []
    for precision in ("float32", "bfloat16"):
        candidate = tiny_candidate(**TINY[name], training={"precision": precision})
        torch.manual_seed(0)
        engine = Engine(candidate, network_of(candidate), candidate.loss.build(), torch.device("cpu"), Processes())
        outcome = engine.step(_noise(2, 2, 2, 5000), 0, 0.001)
        assert engine.counts(*outcome.tolist())
        losses.append(outcome[0].item())
    assert losses[1] == pytest.approx(losses[0], rel=0.05)
