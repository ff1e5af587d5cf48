"""Open-Unmix's own training, measured in a process of its own, for `benchmarks.train`; prints a line of JSON.

`python -m benchmarks.peer_openunmix --root DIR --layout wav|stems ...`. Dataset class, network and transforms are those
of the package openunmix, its reading that of the package musdb. The loop around them is not in the package; it is
written here after its authors' training script: their defaults for augmentation, optimiser and STFT, a DataLoader that
shuffles, and the squared error of the magnitudes. Their script leaves the DataLoader without workers on a CPU; here it
has as many as are asked for. Statistics of the input are left out, as with its option `--debug`.

The package imports torchaudio, of which there is no release for this project's torch. Nothing of torchaudio is called
on this way, so that where it cannot be imported an empty module stands in for it.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import itertools
import json
import sys
import types
from pathlib import Path
from time import perf_counter
from typing import Any

from benchmarks.training_run import keep_to
from data.errors import InputError

VERSION = "1.3.0"
_RATE, _WINDOW, _HOP, _BANDWIDTH_HZ = 44100.0, 4096, 1024, 16000
_AUGMENTATIONS = ["gain", "channelswap"]


def require_package() -> None:
    """Raise InputError where the package openunmix is not installed, or in another version."""
    try:
        found = importlib.metadata.version("openunmix")
    except importlib.metadata.PackageNotFoundError:
        found = "no such package"
    if found != VERSION:
        raise InputError(
            "the package openunmix, which is the other side of this benchmark",
            expected=f"openunmix {VERSION}",
            found=found,
            remedy=f"pip install --no-deps openunmix=={VERSION} (what it needs besides torchaudio is here already), "
            "or leave this part out with --part",
        )


def package() -> dict[str, Any]:
    """The package's modules by name."""
    try:
        importlib.import_module("torchaudio")
    except (ImportError, OSError):
        sys.modules["torchaudio"] = types.ModuleType("torchaudio")
    return {name: importlib.import_module(f"openunmix.{name}") for name in ("data", "model", "transforms", "utils")}


def main() -> None:
    options = _parser().parse_args()
    keep_to(options.cores)
    require_package()
    import torch

    openunmix = package()
    torch.manual_seed(0)
    dataset = openunmix["data"].MUSDBDataset(
        root=str(options.root),
        is_wav=options.layout == "wav",
        seq_duration=options.chunk,
        source_augmentations=openunmix["data"].aug_from_str(_AUGMENTATIONS),
        random_track_mix=True,
    )
    loader = torch.utils.data.DataLoader(
        dataset, batch_size=options.batch, shuffle=True, num_workers=options.workers, drop_last=True
    )
    stft, _ = openunmix["transforms"].make_filterbanks(n_fft=_WINDOW, n_hop=_HOP, sample_rate=_RATE)
    magnitudes = torch.nn.Sequential(stft, openunmix["model"].ComplexNorm(mono=False))
    network = openunmix["model"].OpenUnmix(
        nb_bins=_WINDOW // 2 + 1,
        hidden_size=options.hidden,
        max_bin=int(openunmix["utils"].bandwidth_to_max_bin(_RATE, _WINDOW, _BANDWIDTH_HZ)),
    )
    network.train()
    optimiser = torch.optim.Adam(network.parameters(), lr=0.001, weight_decay=0.00001)

    began, waited = perf_counter(), 0.0
    batches = itertools.chain.from_iterable(itertools.repeat(loader))
    for step in range(options.warm + options.steps):
        if step == options.warm:
            began, waited = perf_counter(), 0.0
        asked = perf_counter()
        mixture, vocals = next(batches)
        waited += perf_counter() - asked
        optimiser.zero_grad()
        estimate = network(magnitudes(mixture))
        loss = torch.nn.functional.mse_loss(estimate, magnitudes(vocals))
        loss.backward()
        optimiser.step()
        loss.item()  # their loop keeps the mean
    seconds = perf_counter() - began
    examples = options.steps * options.batch
    print(json.dumps({"seconds_an_example": seconds / examples, "waiting_share": waited / seconds}))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, required=True, help="a dataset in MUSDB18's layout")
    parser.add_argument("--layout", choices=["wav", "stems"], required=True)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--warm", type=int, required=True, help="steps before anything is measured")
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--batch", type=int, required=True)
    parser.add_argument("--chunk", type=float, required=True, help="seconds")
    parser.add_argument("--hidden", type=int, required=True)
    return parser


if __name__ == "__main__":
    main()
