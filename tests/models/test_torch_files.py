"""What `torch.save` writes of plain values and tensors is read as `torch.load` reads it, and nothing else is."""

from __future__ import annotations

import io
import zipfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from models.torch_files import Unreadable, read_torch_file, require_plain


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, Tensor):
        return (one.dtype, one.shape) == (other.dtype, other.shape) and torch.equal(one, other)
    if isinstance(one, dict):
        return list(one) == list(other) and all(_same(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)):
        return (
            type(one) is type(other)
            and len(one) == len(other)
            and all(_same(a, b) for a, b in zip(one, other, strict=True))
        )
    return bool(one == other)


def test_values_and_tensors_come_back_as_torch_reads_them(tmp_path: Path) -> None:
    table = torch.arange(12.0).reshape(3, 4)
    content = {
        "text": ["", "é", "x" * 300],
        "numbers": (0, -1, 255, 70_000, 2**31, 10**12, -(10**12), 0.5, float("inf")),
        "plain": [None, True, False, (), [], {}, (1, 2, 3, 4)],
        "again": [table, table],
        # On a GPU the weights of an LSTM are views of one storage.
        "views": [table.T, table[1:, 2:], table[2], table[:, ::2], table[0, 0]],
        "empty": [torch.zeros(0), torch.zeros(2, 0, 3)],
        "types": [
            torch.ones(3, dtype=getattr(torch, name))
            for name in ("float16", "bfloat16", "float32", "float64", "int32", "int64")
        ],
        7: "a number for a key",
    }
    torch.save(content, tmp_path / "file.pt")
    read = read_torch_file(tmp_path / "file.pt")
    assert _same(read, torch.load(tmp_path / "file.pt", weights_only=True))
    assert read["again"][0].data_ptr() == read["again"][1].data_ptr()


def test_what_an_optimiser_and_a_network_leave_can_be_gone_on_with(tmp_path: Path) -> None:
    def trained(steps: int) -> tuple[torch.nn.Module, torch.optim.Optimizer]:
        torch.manual_seed(0)
        network = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.BatchNorm1d(4))
        optimiser = torch.optim.AdamW(network.parameters(), fused=True)
        return go_on(network, optimiser, steps)

    def go_on(
        network: torch.nn.Module, optimiser: torch.optim.Optimizer, steps: int
    ) -> tuple[torch.nn.Module, torch.optim.Optimizer]:
        for _ in range(steps):
            network(torch.arange(8.0).reshape(2, 4)).square().sum().backward()
            optimiser.step()
        return network, optimiser

    network, optimiser = trained(2)
    torch.save({"network": network.state_dict(), "optimiser": optimiser.state_dict()}, tmp_path / "file.pt")
    read = read_torch_file(tmp_path / "file.pt")
    other, another = trained(0)
    other.load_state_dict(read["network"])
    another.load_state_dict(read["optimiser"])
    other.zero_grad()
    network.zero_grad()
    assert _same(dict(go_on(other, another, 1)[0].state_dict()), dict(go_on(network, optimiser, 1)[0].state_dict()))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of escapes in text that a changed program asks for
def test_values_changed_under_a_right_checksum_are_unreadable_or_plain(tmp_path: Path) -> None:
    torch.save({"a": torch.arange(6.0).reshape(2, 3), "b": [1, "x", (2.5, None)]}, tmp_path / "file.pt")
    with zipfile.ZipFile(tmp_path / "file.pt") as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    random, read = np.random.default_rng(0), 0
    for _ in range(1500):
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w") as archive:
            for name, content in members.items():
                program = bytearray(content)
                if name.endswith("data.pkl"):
                    at = int(random.integers(len(program)))
                    program[at] = int(random.integers(256))
                archive.writestr(name, bytes(program))
        (tmp_path / "changed.pt").write_bytes(file.getvalue())
        with suppress(Unreadable):
            require_plain(read_torch_file(tmp_path / "changed.pt"))
            read += 1
    assert 0 < read < 1500


def test_nesting_and_numbers_of_values_have_a_limit() -> None:
    require_plain({"a": [{"b": (1, 2)}]}, depth=4)
    with pytest.raises(Unreadable):
        require_plain({"a": [{"b": (1, 2)}]}, depth=3)
    wide: list[Any] = [0] * 10
    for _ in range(6):
        wide = [wide] * 10
    with pytest.raises(Unreadable):
        require_plain(wide, depth=8, values=1_000_000)
