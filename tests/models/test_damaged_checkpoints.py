"""Files that are no checkpoint, no longer one, or one made to do harm: each is refused, in bounded memory and time."""

from __future__ import annotations

import os
import resource
import shutil
import socket
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny import network_of, tiny_candidate, tiny_settings

from data import audio
from data.errors import InputError
from models.checkpoint import Checkpoint, load_separator, save_checkpoint
from pipelines import isolate

ROOM = 300_000_000  # bytes beyond what the process has: a thousand times the file


@pytest.fixture
def good(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    candidate = tiny_candidate()
    save_checkpoint(tmp_path / "good.pt", Checkpoint(candidate, network_of(candidate).state_dict(), {"epoch": 4}))
    load_separator(tmp_path / "good.pt")
    return tmp_path / "good.pt"


@contextmanager
def bounded_memory() -> Iterator[None]:
    """Inside, the process gets little more address space than it has."""
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    limits = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used + ROOM, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)


def changed(good: Path, change: Callable[[dict[str, Any]], object], **how: Any) -> Path:
    """A copy of a checkpoint whose content was changed before it was written."""
    content = torch.load(good, weights_only=True)
    change(content)
    path = good.with_name("changed.pt")
    torch.save(content, path, **how)
    return path


def refusal(path: Path) -> str:
    with bounded_memory(), pytest.raises(InputError) as caught:
        load_separator(path)
    return str(caught.value)


def put(value: object, *keys: str) -> Callable[[dict[str, Any]], None]:
    def change(content: dict[str, Any]) -> None:
        for key in keys[:-1]:
            content = content[key]
        content[keys[-1]] = value

    return change


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


def doubled(times: int) -> list[Any]:
    value: list[Any] = [1]
    for _ in range(times):
        value = [value, value]
    return value


BIAS = ("weights", "pre_fc.0.bias")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (put(torch.zeros(1).expand(10**11), *BIAS), "only 1 elements in the file"),
        (put(torch.zeros(1, 1).expand(10**6, 10**6), *BIAS), "only 1 elements in the file"),
        (put(torch.zeros(8, dtype=torch.complex64), *BIAS), "ComplexFloatStorage"),
        (put(torch.zeros(8, dtype=torch.float64), *BIAS), "weights of other shapes"),
        (put(torch.zeros(8, dtype=torch.int64), *BIAS), "weights of other shapes"),
        (put(torch.zeros(8).to_sparse(), *BIAS), "sparse"),
        (put(torch.zeros(10**9, device="meta"), *BIAS), "meta"),
        (put(torch.zeros(9), *BIAS), "weights of other shapes"),
        (put([0.0] * 8, *BIAS), "weights.pre_fc.0.bias"),
        (put(torch.tensor([np.nan] * 8), *BIAS), "pre_fc.0.bias that are not finite"),
        (put(torch.tensor([np.inf] * 8), *BIAS), "pre_fc.0.bias that are not finite"),
        (put(torch.zeros(8), "weights", "one more"), "weights of other shapes"),
        (put({}, "weights"), "weights"),
        (put([1], "weights"), "weights"),
        (put(48_000, "sample_rate"), "48000 Hz"),
        (put("44100", "sample_rate"), "sample_rate"),
        (put(-1.0, "context_seconds"), "context_seconds"),
        (put(1e9, "context_seconds"), "context_seconds"),
        (put(float("nan"), "context_seconds"), "context_seconds"),
        (put("yes", "normalises"), "normalises"),
        (put("../../x", "name"), "name"),
        (put("x" * 1000, "name"), "name"),
        (put(7, "name"), "name"),
        (put({"epoch": "four"}, "metrics"), "metrics.epoch"),
        (put({"epoch": 10**500}, "metrics"), "metrics.epoch"),
        (put({"epoch": 10**5000}, "metrics"), "in a form that torch does not write"),
        (put([1], "fingerprints"), "fingerprints"),
        (put("CC BY", "licences"), "licences"),
        (put([7], "licences"), "licences.0"),
        (put("x" * 5_000_000, "git_commit"), "bytes of values beside its tensors"),
        (put("toy", "config"), "config"),
        (put({}, "config"), "config.network"),
        (put(None, "config", "training"), "config.training"),
        (put(["report"], "config", "network", "name"), "network a list"),
        (put(10**9, "config", "network", "lstm_hidden"), "network.lstm_hidden"),
        (put(10**6, "config", "network", "lstm_layers"), "network.lstm_layers"),
        (put([8] * 10**5, "config", "network", "pre_fc"), "network.pre_fc"),
        (put(10**9, "config", "network", "awareness"), "network.awareness"),
        (put(2**30, "config", "stft", "window"), "stft.window"),
        (put(1e300, "config", "training", "chunk_seconds"), "training.chunk_seconds"),
        (put(10**500, "config", "training", "seed"), "training.seed"),
        # Within every bound, and yet more than the file has weights for.
        (put(16_384, "config", "network", "lstm_hidden"), "weights of other shapes"),
        (put(128, "config", "network", "lstm_layers"), "weights of other shapes"),
        (put([16_384] * 128, "config", "network", "fc"), "weights of other shapes"),
        (put(32_768, "config", "stft", "window"), "hop must be at least"),
        (put(nested(200), "metrics"), "nested too deep"),
        (put(nested(200), "config", "network", "pre_fc"), "nested too deep"),
        (put(doubled(60), "config", "network", "pre_fc"), "nested too deep"),
        (put({(1, 2): 3}, "metrics"), "in a form that torch does not write"),
        (put(bytearray(5), "metrics"), "bytearray"),
        (put(Path, "metrics"), "a reference to pathlib"),
    ],
)
def test_whatever_stands_in_a_checkpoint_that_does_not_belong_there_is_refused_and_named(
    good: Path, change: Callable[[dict[str, Any]], None], words: str
) -> None:
    assert words in refusal(changed(good, change))


def test_many_names_for_one_tensor_do_not_make_a_large_network_of_a_small_file(good: Path) -> None:
    wanted = tiny_settings()["network"] | {"fc": [1024] * 100}
    shared = torch.zeros(1024, 1024)

    def change(content: dict[str, Any]) -> None:
        content["config"]["network"] = wanted
        network = network_of(tiny_candidate(network=wanted))
        for name, tensor in network.state_dict().items():
            content["weights"][name] = shared if tensor.shape == shared.shape else torch.zeros_like(tensor)

    path = changed(good, change)
    assert path.stat().st_size < 10_000_000
    assert "weights of other shapes" in refusal(path)


def rewritten(good: Path, change: Callable[[str, bytes], tuple[bytes, int]]) -> Path:
    """A copy of a checkpoint whose archive was packed anew, each member and its compression changed."""
    path = good.with_name("rewritten.pt")
    with zipfile.ZipFile(good) as old, zipfile.ZipFile(path, "w") as new:
        for member in old.infolist():
            content, compression = change(member.filename, old.read(member))
            new.writestr(member.filename, content, compression)
    return path


def test_an_archive_that_unpacks_to_more_than_the_file_holds_is_refused(good: Path) -> None:
    def bomb(name: str, content: bytes) -> tuple[bytes, int]:
        return (bytes(200_000_000), zipfile.ZIP_DEFLATED) if name.endswith("data/0") else (content, zipfile.ZIP_STORED)

    path = rewritten(good, bomb)
    assert path.stat().st_size < 500_000
    assert "compressed members" in refusal(path)


def test_a_tensor_with_fewer_bytes_than_it_declares_is_refused(good: Path) -> None:
    path = rewritten(good, lambda name, content: (content[:-4] if name.endswith("data/0") else content, 0))
    assert "elements with" in refusal(path)


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
def test_other_files_of_torch_are_refused(good: Path) -> None:
    assert "damaged file, or one of another kind" in refusal(
        changed(good, lambda _: None, _use_new_zipfile_serialization=False)
    )
    program = good.with_name("script.pt")
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), program)
    assert "another kind of file" in refusal(program) or "does not write" in refusal(program)


def test_a_checkpoint_whose_values_do_not_end_or_run_in_circles_is_refused(good: Path) -> None:
    pickles = {
        b"\x80\x02": "pickle exhausted",
        b"\x80\x02}": "pickle exhausted",
        b"\x80\x02.": "in a form",
        b"\x80\x02(": "pickle exhausted",
        b"\x80\x02h\x05.": "in a form",
        b"\x80\x02" + b"(" * 10**5 + b".": "another kind",
        b"\x80\x02" + b"]" * 10**6 + b".": "another kind of file (list)",
        b"\x80\x02)" + b"\x85" * 10**5 + b"}.": "another kind of file (no format)",
        b"\x80\x02}" + b")" + b"\x85" * 10**5 + b"K\x01s.": "in a form",  # as a key it would have to be walked through
        b"\x80\x02cbuiltins\neval\n(X\x01\x00\x00\x001tR.": "builtins.eval",
        b"\x80\x02]q\x00h\x00a.": "nested too deep",
    }
    for program, words in pickles.items():
        path = rewritten(
            good, lambda name, content, program=program: (program if name.endswith("data.pkl") else content, 0)
        )
        assert words in refusal(path), program[:40]


def test_what_is_no_file_is_named_and_never_waited_for(tmp_path: Path) -> None:
    (tmp_path / "folder.pt").mkdir()
    os.mkfifo(tmp_path / "pipe.pt")
    (tmp_path / "link.pt").symlink_to("nowhere")
    listening = socket.socket(socket.AF_UNIX)
    with listening:
        os.chdir(tmp_path)  # the name of a socket is short
        listening.bind("socket.pt")
        found = {name: refusal(tmp_path / f"{name}.pt") for name in ("folder", "pipe", "link", "socket", "absent")}
    words = {"folder": "a folder", "pipe": "a pipe", "link": "a link to nothing", "socket": "a socket"}
    assert all(f"found:    {words.get(name, 'no such file')}\n" in found[name] for name in found)
    assert "found:    a device" in refusal(Path("/dev/zero"))


def test_a_checkpoint_that_may_not_be_read_is_not_called_damaged(
    good: Path, without_privileges: Callable[[], Any]
) -> None:
    good.chmod(0)
    with without_privileges():
        words = refusal(good)
    assert "the right to use it" in words
    assert "train the separator again" not in words


def test_a_checkpoint_may_have_any_name(good: Path) -> None:
    path = Path(os.fsdecode(os.fsencode(good.parent) + b"/caf\xe9.pt"))
    shutil.copyfile(good, path)
    load_separator(path)
    path.write_bytes(b"")
    assert "caf\\xe9.pt" in refusal(path)


def test_damage_anywhere_is_bad_input_and_nothing_else(good: Path) -> None:
    """Bits turned, stretches cut out, doubled or blanked: what can still be read has the weights that were saved."""
    random, whole = np.random.default_rng(0), good.read_bytes()
    saved = dict(load_separator(good).network.state_dict())
    path, refused = good.with_name("damaged.pt"), 0
    with bounded_memory():
        for _ in range(400):
            content = bytearray(whole)
            at, length = int(random.integers(len(whole))), int(random.integers(1, 200))
            match random.integers(5):
                case 0:
                    content[at] ^= 1 << int(random.integers(8))
                case 1:
                    del content[at:]
                case 2:
                    del content[at : at + length]
                case 3:
                    content[at : at + length] = random.bytes(length)
                case _:
                    content[at:at] = content[at : at + length]
            path.write_bytes(content)
            try:
                read = load_separator(path).network.state_dict()
            except InputError:
                refused += 1
            else:
                assert all(torch.equal(read[name], tensor) for name, tensor in saved.items())
    assert refused > 300


def test_values_changed_anywhere_are_bad_input_and_nothing_else(good: Path) -> None:
    random = np.random.default_rng(0)
    odd = [None, True, -1, 0, 10**30, 1e308, float("nan"), float("inf"), "", "x", "\ud800", [], {}, [{}], {"name": 1}]
    odd += [torch.zeros(()), torch.zeros(0), torch.zeros(2, 0, 3), nested(9), doubled(30), {"": {"": ""}}, ("a",)]

    def change(content: Any) -> None:
        while True:
            keys = list(content) if isinstance(content, dict) else list(range(len(content)))
            key = keys[int(random.integers(len(keys)))]
            inner = content[key]
            if isinstance(inner, dict | list) and len(inner) and random.random() < 0.8:
                content = inner
                continue
            if random.random() < 0.2 and isinstance(content, dict):
                del content[key]
            else:
                content[key] = odd[int(random.integers(len(odd)))]
            return

    with bounded_memory():
        for _ in range(400):
            with suppress(InputError):
                load_separator(changed(good, change))


def test_weights_that_overflow_leave_no_file_and_say_why(
    good: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each weight is finite; what the network makes of music with them is not."""

    def change(content: dict[str, Any]) -> None:
        for tensor in content["weights"].values():
            tensor.fill_(3e38)

    audio.write(tmp_path / "song.wav", np.random.default_rng(0).normal(0, 0.1, (2, 20_000)).astype(np.float32))
    arguments = [str(tmp_path / "song.wav"), "-o", str(tmp_path / "out"), "--model", str(changed(good, change))]
    assert isolate.main([*arguments, "--device", "cpu"]) != 0
    told = capsys.readouterr().err
    assert "separator tiny" in told
    assert "not finite" in told or "no numbers" in told
    assert [path for path in (tmp_path / "out").rglob("*") if path.is_file()] == []


def test_weights_that_are_not_finite_are_never_saved(tmp_path: Path) -> None:
    candidate = tiny_candidate()
    weights = network_of(candidate).state_dict()
    weights["pre_fc.0.bias"][3] = torch.nan
    with pytest.raises(InputError, match=r"pre_fc\.0\.bias that are not finite"):
        save_checkpoint(tmp_path / "checkpoint.pt", Checkpoint(candidate, weights))
    assert list(tmp_path.iterdir()) == []
