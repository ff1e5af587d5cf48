"""Several processes training one network (torchrun): who does what, and how they agree.

Every process draws the same plan of each batch and takes its share of it; gradients are averaged, so that the steps
are those of one process with the whole batch. The first process alone writes files and reports. Without torchrun
there is one process and nothing to agree on.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from data.errors import InputError

T = TypeVar("T")
_LOST = re.compile(r"closed by peer|reset by peer|Broken pipe|Connection refused|NCCL|gloo|Socket")
PATIENCE = timedelta(minutes=30)  # for a process that does not answer; validation of a large set takes a while


@dataclass(frozen=True)
class Processes:
    """The processes of one training: how many there are, and which of them this is (from 0)."""

    count: int = 1
    rank: int = 0

    @property
    def first(self) -> bool:
        return self.rank == 0

    def share_of(self, examples: int) -> slice:
        """This process's share of a batch. Raises InputError where it cannot be shared evenly."""
        if examples % self.count:
            raise InputError(
                "training.batch_size",
                expected=f"a multiple of the number of processes ({self.count})",
                found=str(examples),
                remedy="change the batch size of the candidate, or the number of processes",
            )
        each = examples // self.count
        return slice(self.rank * each, (self.rank + 1) * each)

    def wrap(self, module: nn.Module, device: torch.device) -> nn.Module:
        """The module with gradients averaged over all processes; batch statistics stay those of each process."""
        if self.count == 1:
            return module
        return DistributedDataParallel(module, device_ids=[device] if device.type == "cuda" else None)

    def mean(self, value: Tensor) -> Tensor:
        """The mean of a tensor over all processes."""
        if self.count > 1:
            dist.all_reduce(value)
            value /= self.count
        return value

    def agreed(self, value: float, device: torch.device) -> float:
        """What the first process says."""
        if self.count == 1:
            return value
        told = torch.tensor(value, dtype=torch.float64, device=device)
        dist.broadcast(told, 0)
        return float(told)

    def gathered(self, own: list[T]) -> list[T]:
        """Lists of all processes, interleaved: item i is the item i // count of process i % count."""
        if self.count == 1:
            return own
        lists: list[list[T]] = [[] for _ in range(self.count)]
        dist.all_gather_object(lists, own)
        longest = max(len(each) for each in lists)
        return [each[place] for place in range(longest) for each in lists if place < len(each)]


def own_device(device: torch.device) -> torch.device:
    """This process's own GPU, where torchrun started one process for each."""
    if device.type == "cuda" and device.index is None and "LOCAL_RANK" in os.environ:
        return torch.device("cuda", int(os.environ["LOCAL_RANK"]))
    return device


@contextmanager
def join_processes(device: torch.device) -> Iterator[Processes]:
    """The processes that torchrun started, connected; one without torchrun."""
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        yield Processes()
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=PATIENCE)
    try:
        yield Processes(count, dist.get_rank())
    finally:
        dist.destroy_process_group()


def lost_another(error: BaseException) -> bool:
    """Whether an error says no more than that another process of the training has gone."""
    several = int(os.environ.get("WORLD_SIZE", "1")) > 1
    return several and isinstance(error, RuntimeError) and bool(_LOST.search(str(error)))
