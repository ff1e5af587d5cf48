"""One training step: forward, backward, clip, AdamW, moving average; in the precision that the device is good at.

Nothing here waits for the device: loss and gradient norm come back as tensors, and a step without a finite gradient is
left out on the device itself.
"""

from __future__ import annotations

import copy
import os
import shutil
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from data.chunks import VOCALS
from data.errors import InputError
from models.candidate import Candidate, NoiseSettings
from models.losses.functions import Loss
from models.networks.base import Network
from models.noise import noisy_copies, repeated
from models.stft import Sound
from models.training.batches import DROPOUT, NOISE, generator
from models.training.processes import Processes

PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


class Objective(nn.Module):
    """The mean loss over a batch, as one module, so that it can be compiled and shared between processes whole.

    Mixture and vocals are heard without the mixture's level. The network computes in `precision`; STFT, masks and
    losses stay in float32, where sums of squares need its range.
    """

    def __init__(self, network: Network, loss: Loss, precision: torch.dtype) -> None:
        super().__init__()
        self.network = network
        self.loss = loss
        self.precision = precision

    def forward(self, mixture: Tensor, vocals: Tensor) -> Tensor:
        mixture, vocals = self.network.without_level(mixture, vocals)
        X, Y = (Sound(self.network.stft, waveform=waveform) for waveform in (mixture, vocals))
        with torch.autocast(mixture.device.type, self.precision, enabled=self.precision != torch.float32):
            estimate = self.network.estimate(X)
        return self.loss(estimate, Y, X).mean()


class Engine:
    """The network in training: its weights, their moving average, the optimiser. Only weights move from step to step.

    Dropout and noise of a step follow from (seed, step, process) alone.
    """

    def __init__(
        self, candidate: Candidate, network: Network, loss: Loss, device: torch.device, processes: Processes
    ) -> None:
        self.network = network
        self.averaged = copy.deepcopy(network).eval()
        self.precision = precision_of(candidate.training.precision, device)
        self._settings = candidate.training
        self._noise = candidate.noise
        self.device = device
        self._processes = processes
        self._generator = torch.Generator(device)
        self._optimiser = torch.optim.AdamW(
            network.parameters(),
            lr=candidate.training.learning_rate,
            weight_decay=candidate.training.weight_decay,
            fused=True,
        )
        # Leaves out steps whose gradient is not finite, without asking the device; it scales for float16 only.
        self._scales = self.precision == torch.float16
        self._scaler = torch.amp.GradScaler(device.type, init_scale=2.0**16 if self._scales else 1.0)
        # What a batch that is not finite would spoil for good, beside the weights.
        self._statistics = [
            buffer
            for module in network.modules()
            if isinstance(module, nn.modules.batchnorm._BatchNorm)
            for buffer in module.buffers()
            if buffer.is_floating_point()
        ]
        self._objective = processes.wrap(Objective(network, loss, self.precision), device)
        if candidate.training.compile:
            _require_compiler()
            self._objective.compile()

    def step(self, sources: Tensor, step: int, learning_rate: float) -> Tensor:
        """Train on `sources (b, s, c, n)`; returns loss and gradient norm `(2,)` on the device, over all processes."""
        self.network.train()
        mixture, vocals = self._inputs(sources, step)
        before = [buffer.clone() for buffer in self._statistics]
        for group in self._optimiser.param_groups:
            group["lr"] = learning_rate
        self._optimiser.zero_grad(set_to_none=True)
        loss = self._objective(mixture, vocals)
        self._scaler.scale(loss).backward()
        self._scaler.unscale_(self._optimiser)
        norm = torch.nn.utils.clip_grad_norm_(self.network.parameters(), self._settings.clip_norm)
        self._scaler.step(self._optimiser)
        self._scaler.update(None if self._scales else 1.0)
        for buffer, earlier in zip(self._statistics, before, strict=True):
            torch.where(norm.isfinite(), buffer, earlier, out=buffer)
        update_average(self.averaged, self.network, self._settings.ema_decay, step + 1)
        return torch.stack([self._processes.mean(loss.detach().clone()), norm])

    def counts(self, loss: float, norm: float) -> bool:
        """Whether a step with this loss and gradient norm was one; float16 leaves some out to find its scale."""
        finite = torch.tensor([loss, norm]).isfinite()
        return bool(finite[0]) if self._scales else bool(finite.all())

    def state(self) -> dict[str, Any]:
        """Everything that moves, for `restore`."""
        return {
            "network": self.network.state_dict(),
            "averaged": self.averaged.state_dict(),
            "optimiser": self._optimiser.state_dict(),
            "scaler": self._scaler.state_dict(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` gave."""
        self.network.load_state_dict(state["network"])
        self.averaged.load_state_dict(state["averaged"])
        self._optimiser.load_state_dict(state["optimiser"])
        self._scaler.load_state_dict(state["scaler"])

    def _inputs(self, sources: Tensor, step: int) -> tuple[Tensor, Tensor]:
        """Mixture and vocals `(b, c, n)`, with noisy versions; and the random numbers of this step."""
        seed, process = self._settings.seed, self._processes.rank
        torch.manual_seed(int(generator(DROPOUT, seed, step, process).integers(2**62)))
        mixture, vocals, noise = sources.sum(dim=1), sources[:, VOCALS], self._noise
        if not _noisy(noise):
            return mixture, vocals
        self._generator.manual_seed(int(generator(NOISE, seed, step, process).integers(2**62)))
        mixture = noisy_copies(mixture, noise.profiles, noise.snrs_db, self._generator)
        return mixture, repeated(vocals, noise.profiles, noise.snrs_db)


@torch.no_grad()
def update_average(averaged: Network, network: Network, decay: float, step: int) -> None:
    """Move the averaged weights towards the network's; the first steps are averaged over a shorter past."""
    weight = 1 - min(decay, (1 + step) / (10 + step)) if decay > 0 else 1.0
    torch._foreach_lerp_(list(averaged.parameters()), list(network.parameters()), weight)
    for kept, moving in zip(averaged.buffers(), network.buffers(), strict=True):
        kept.copy_(moving)


def precision_of(name: str, device: torch.device) -> torch.dtype:
    """The precision a candidate asks for; for `auto` bfloat16 or float16 on a GPU, float32 elsewhere."""
    if name != "auto":
        return PRECISIONS[name]
    if device.type != "cuda":
        return torch.float32
    return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16


def _require_compiler() -> None:
    compiler = os.environ.get("CXX", "g++")
    if shutil.which(compiler) is None:
        raise InputError(
            "training.compile",
            expected="a C++ compiler, which torch.compile calls",
            found=f"no program {compiler}",
            remedy="install g++, or set compile to false in the candidate",
        )


def _noisy(noise: NoiseSettings) -> bool:
    return noise.profiles > 0 and bool(noise.snrs_db)
