"""Files of `torch.save`, read without trust: plain values and dense tensors, never more memory than the file has bytes.

`torch.load(weights_only=True)` executes no code, but it allocates whatever a file asks for: a few bytes can declare a
tensor of any size. So the two layers of such a file are read by what they are. It is a zip archive, in which nothing is
compressed: the checksum of every member is verified, which finds damage. In it lies a pickle: a program for a stack
machine, of which `torch.save` needs two dozen instructions. These are followed here, and no others.

What the values mean belongs to `models.checkpoint` and `models.training.state`.
"""

from __future__ import annotations

import errno
import math
import pickletools
import struct
import sys
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import torch
from torch import Tensor

LARGEST_PICKLE = 2_000_000  # bytes; without their tensors the largest checkpoints have 100 000

_DTYPES = {
    "torch FloatStorage": torch.float32,
    "torch DoubleStorage": torch.float64,
    "torch HalfStorage": torch.float16,
    "torch BFloat16Storage": torch.bfloat16,
    "torch LongStorage": torch.int64,
    "torch IntStorage": torch.int32,
}
_DICT, _TENSOR = "collections OrderedDict", "torch._utils _rebuild_tensor_v2"
_VALUES = {"BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE"}
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_MARK = object()


class Unreadable(Exception):
    """The file is no file of plain values and dense tensors, or no longer; the message says what it is instead."""


def read_torch_file(path: Path, *, largest_pickle: int = LARGEST_PICKLE) -> Any:
    """The content of a file of `torch.save`: dicts, lists, tuples, text, numbers and tensors on the CPU.

    Every tensor has storage in the file for each of its elements. Raises Unreadable for everything else, OSError where
    the file cannot be read at all.
    """
    with open(path, "rb") as file:
        try:
            with zipfile.ZipFile(file) as archive:
                return _Reader(archive, _size(file)).read(largest_pickle)
        except (zipfile.BadZipFile, zlib.error, struct.error, EOFError, UnicodeDecodeError) as error:
            raise Unreadable(f"a damaged file, or one of another kind ({error})") from error
        except (NotImplementedError, RuntimeError, ValueError, OverflowError) as error:
            raise Unreadable(f"content that no version of this project wrote ({error})") from error
        except OSError as error:
            # What a damaged archive makes the reader ask for; anything else is the disk's.
            if error.errno not in (errno.EINVAL, None):
                raise
            raise Unreadable("a damaged file: parts of it lie outside of it") from error


class _Name(NamedTuple):
    """Something that a pickle refers to by module and name; it is never imported."""

    name: str


class _Storage(NamedTuple):
    """The elements `(n,)` that tensors are views of."""

    elements: Tensor


class _Reader:
    def __init__(self, archive: zipfile.ZipFile, size: int) -> None:
        self._archive = archive
        self._storages: dict[str, _Storage] = {}
        members = archive.infolist()
        if any(member.compress_type != zipfile.ZIP_STORED or member.file_size > size for member in members):
            raise Unreadable("an archive with compressed members, which torch does not write")
        if sum(member.file_size for member in members) > size:
            raise Unreadable("an archive whose members overlap, which torch does not write")
        pickles = [member for member in members if member.filename.endswith("/data.pkl")]
        if len(pickles) != 1 or len({member.filename for member in members}) != len(members):
            raise Unreadable("an archive of another kind")
        self._pickle = pickles[0]
        self._folder = self._pickle.filename.removesuffix("data.pkl")

    def read(self, largest_pickle: int) -> Any:
        if self._pickle.file_size > largest_pickle:
            raise Unreadable(f"{self._pickle.file_size} bytes of values beside its tensors, {largest_pickle} at most")
        if self._folder + "constants.pkl" in self._archive.namelist():
            raise Unreadable("a TorchScript archive, which is a program")
        try:
            order = self._archive.read(self._folder + "byteorder").decode()
        except KeyError:
            order = sys.byteorder  # from before torch wrote it
        if order != sys.byteorder:
            raise Unreadable("numbers in another byte order than this machine's")
        try:
            return self._run(self._archive.read(self._pickle))
        except (IndexError, KeyError, TypeError, AttributeError) as error:
            raise Unreadable("values in a form that torch does not write") from error

    def _run(self, program: bytes) -> Any:
        """Follow the pickle's instructions; what it builds is plain, and keys are text or whole numbers."""
        stack: list[Any] = []
        memo: dict[int, Any] = {}

        def since_mark() -> list[Any]:
            items: list[Any] = []
            while (item := stack.pop()) is not _MARK:
                items.append(item)
            return items[::-1]

        argument: Any
        for instruction, argument, _ in pickletools.genops(program):
            match instruction.name:
                case "PROTO" | "FRAME":
                    pass
                case "STOP":
                    return stack.pop()
                case "MARK":
                    stack.append(_MARK)
                case "BINPUT" | "LONG_BINPUT":
                    memo[argument] = stack[-1]
                case "BINGET" | "LONG_BINGET":
                    stack.append(memo[argument])
                case name if name in _VALUES:
                    stack.append(argument)
                case name if name in _CONSTANTS:
                    stack.append(_CONSTANTS[name])
                case "EMPTY_LIST":
                    stack.append([])
                case "EMPTY_DICT":
                    stack.append({})
                case "TUPLE":
                    stack.append(tuple(since_mark()))
                case name if name in _TUPLES:
                    stack[-_TUPLES[name] :] = [tuple(stack[-_TUPLES[name] :])]
                case "APPEND":
                    item = stack.pop()
                    _of(list, stack[-1]).append(item)
                case "APPENDS":
                    items = since_mark()
                    _of(list, stack[-1]).extend(items)
                case "SETITEM":
                    value, key = stack.pop(), stack.pop()
                    _of(dict, stack[-1])[_key(key)] = value
                case "SETITEMS":
                    items = since_mark()
                    for key, value in zip(items[::2], items[1::2], strict=True):
                        _of(dict, stack[-1])[_key(key)] = value
                case "GLOBAL":
                    stack.append(_known(argument))
                case "BINPERSID":
                    stack.append(self._storage(*stack.pop()))
                case "REDUCE":
                    arguments, made = stack.pop(), stack.pop()
                    stack.append(_made(_of(_Name, made), _of(tuple, arguments)))
                case "BUILD":
                    stack.pop()  # what torch notes beside a dictionary of weights: versions of its own layers
                    _of(dict, stack[-1])
                case name:
                    raise Unreadable(f"values in a form that torch does not write ({name})")
        raise Unreadable("values without an end")

    def _storage(self, kind: str, dtype: _Name, key: str, _location: str, count: int) -> _Storage:
        if kind != "storage":
            raise Unreadable("values in a form that torch does not write")
        if key not in self._storages:
            of = _DTYPES[dtype.name]
            member = self._archive.getinfo(f"{self._folder}data/{_of(str, key)}")
            if type(count) is not int or count * of.itemsize != member.file_size:
                raise Unreadable(f"a tensor of {count} elements with {member.file_size} bytes for them")
            elements = torch.empty(count, dtype=of)
            if count:
                with self._archive.open(member) as content:
                    _fill(content, elements)
            self._storages[key] = _Storage(elements)
        return self._storages[key]


def _made(what: _Name, arguments: tuple[Any, ...]) -> Any:
    if what.name == _DICT:
        return dict[Any, Any](*arguments) if not arguments else _refuse()
    if what.name != _TENSOR:
        return _refuse()
    storage, offset, shape, strides, *_ = arguments
    elements = _of(_Storage, storage).elements
    whole = (offset, *_of(tuple, shape), *_of(tuple, strides))
    if len(shape) != len(strides) or not all(type(number) is int and 0 <= number < 2**62 for number in whole):
        raise Unreadable(f"a tensor of the shape {shape} with the strides {strides}"[:200])
    count = math.prod(shape)
    last = offset + sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True)) if count else 0
    if count > len(elements) or last >= max(len(elements), 1):
        raise Unreadable(f"a tensor of the shape {shape} with only {len(elements)} elements in the file"[:200])
    return torch.as_strided(elements, shape, strides, offset if count else 0)


def _fill(content: Any, elements: Tensor) -> None:
    """Read a member of an archive into a tensor to the end, where its checksum is verified."""
    room = memoryview(elements.view(torch.uint8).numpy().data)
    while filled := content.readinto(room):
        room = room[filled:]
    if len(room) or content.read(1):
        raise Unreadable("a damaged file: a tensor ends early")


def _known(argument: str) -> _Name:
    if argument not in (_DICT, _TENSOR, *_DTYPES):
        raise Unreadable(
            f"a reference to {argument[:100].replace(' ', '.')}, where only tensors and plain values belong"
        )
    return _Name(argument)


def _of(kind: type[Any], value: Any) -> Any:
    return value if type(value) is kind else _refuse()


def _key(value: Any) -> str | int:
    return value if type(value) in (str, int) else _refuse()  # a nested tuple would take for ever to be looked up


def _refuse() -> Any:
    raise Unreadable("values in a form that torch does not write")


def _size(file: BinaryIO) -> int:
    return file.seek(0, 2)


def require_plain(content: Any, *, depth: int = 8, values: int = 1_000_000) -> None:
    """Raise Unreadable where lists and dictionaries in each other are deeper than `depth`, or hold too many `values`.

    A list may hold another one twice, and so on: few bytes, but more than anybody can walk through.
    """
    left = values
    waiting = [(content, depth)]
    while waiting:
        value, below = waiting.pop()
        inner = value.values() if isinstance(value, Mapping) else value if isinstance(value, (list, tuple)) else ()
        left -= len(inner)
        if left < 0 or (inner and below == 0):
            raise Unreadable("values that are nested too deep, or too many")
        waiting += [(each, below - 1) for each in inner]
