from __future__ import annotations

import sys

import pytest
import torch
from tiny import network_of

from data.errors import InputError
from models.candidate import load_candidate

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*sdp_kernel:FutureWarning"),
    pytest.mark.filterwarnings("ignore:A window was not provided:UserWarning"),
]


@pytest.mark.parametrize(("name", "module"), [("htdemucs", "demucs.htdemucs"), ("bs-roformer", "bs_roformer")])
def test_without_its_package_a_network_names_what_to_install(
    name: str, module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)  # what Python keeps for a module that cannot be imported
    with pytest.raises(InputError) as caught:
        network_of(load_candidate(name))
    assert module.split(".")[0] in caught.value.expected
    assert caught.value.remedy == "install it with: pip install -e '.[peers]'"


def test_htdemucs_refuses_another_stft_than_its_layers_are_made_for() -> None:
    candidate = load_candidate("htdemucs")
    stft = candidate.stft.model_copy(update={"window": 2048})
    with pytest.raises(InputError, match=r"stft\.window 4096, stft\.hop 1024"):
        network_of(candidate.model_copy(update={"stft": stft}))


@pytest.mark.parametrize(("name", "module"), [("htdemucs", "demucs.htdemucs"), ("bs-roformer", "bs_roformer")])
def test_padding_to_whole_hops_does_not_move_the_vocals(name: str, module: str) -> None:
    pytest.importorskip(module, reason="the extra `peers` is not installed")
    torch.manual_seed(0)
    network = network_of(load_candidate(name)).eval()
    hop = network.stft.hop
    mixture = 0.1 * torch.randn(1, 2, 20 * hop)
    mixture[..., -200:] = 0
    with torch.inference_mode():
        whole, cut = network(mixture), network(mixture[..., :-200])
    torch.testing.assert_close(cut, whole[..., :-200])
