"""Inputs made wrong: at random in their bytes, and where their form is known in their structure.

Everything follows from the random generator that is given. What reads the inputs stands in `readers`.
"""

from __future__ import annotations

import io
import json
import random
import tarfile
import warnings
import zipfile
from collections.abc import Callable, Sequence
from typing import Any

import yaml

_LARGEST = 4 << 20  # bytes of an input: what is too large is another matter than what is wrong
DEEP = 3000  # levels of nesting: beyond Python's recursion limit

# Values that stand where another one is expected.
ODD: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 1 << 31, 1 << 63, -(1 << 63), 1 << 200, 10**400, 0.0, -0.0, 1e308, -1e-308, 0.1),
    *(float("nan"), float("inf"), float("-inf"), "", " ", "\n", "\t", "0", "nan", "1e999", "yes", "null", "~", "off"),
    *("..", "../../escaped", "/etc/passwd", "a/b", "C:\\x", "-", "--help", "%03d", "a:b", "\u202egnp", "\x1b[31m"),
    *("\ud800", "\u0000", "é", "e\u0301", "他", "😀", "x" * 300, "y" * 70_000, "<script>", "[a](http://b)"),
    *([], {}, [[]], [None], {"": None}, {"a": {"b": []}}, ["x"] * 2000, {"name": "toy"}, {"name": []}, b"bytes"),
)
_TOKENS = (
    *(
        b"&a ",
        b"*a",
        b"<<: *a\n",
        b"!!python/object/apply:os.system [id]",
        b"!!binary aGk=",
        b"!!set {a}",
        b"? ",
        b"- ",
    ),
    *(b": ", b"2020-13-45", b"2020-02-30 25:61:61", b"0o9", b"1:90", b"!!int x", b"!!float x", b"!!timestamp x"),
    *(
        b"%YAML 9.9\n---\n",
        b"---\n",
        b"...\n",
        b"|\n",
        b">\n",
        b"\t",
        b"'",
        b'"',
        b"{",
        b"}",
        b"[",
        b"]",
        b"\0",
        b"\r\n",
    ),
    *(
        b"\xff",
        b"\xfe\xff",
        b"\xff\xfe",
        b"\xef\xbb\xbf",
        b"\xed\xa0\x80",
        b"NaN",
        b"-Infinity",
        b"1" * 5000,
        b"=",
        b"#",
    ),
)
_BOMBS = (
    b"[" * DEEP,
    b"[" * DEEP + b"]" * DEEP,
    b'{"a":' * DEEP + b"1" + b"}" * DEEP,
    b"- " * DEEP + b"1",
    b"a: &a [x,x,x,x,x,x,x,x,x]\n"
    + b"".join(b"%c: &%c [*%c,*%c,*%c,*%c,*%c,*%c,*%c,*%c,*%c]\n" % (n, n, *[n - 1] * 9) for n in b"bcdefghi"),
    b"a: &a\n  b: *a\n",
    b"",
    b"\0" * 1000,
    "[1, 2".encode("utf-16"),
    b"9" * 10_000,
)


def mutated(form: str, seeds: Sequence[bytes], rng: random.Random) -> bytes:
    """One of the seeds made wrong, now and then not at all."""
    seed = rng.choice(seeds)
    chance = rng.random()
    structured = _STRUCTURED.get(form)
    if chance < 0.02:
        return seed
    if chance < 0.06 and form in ("json", "yaml"):
        return rng.choice(_BOMBS)
    if structured is not None and chance < 0.6:
        return structured(seed, rng)
    for _ in range(rng.choice((1, 1, 1, 2, 4, 16))):
        seed = rng.choice(_IN_BYTES)(seed, seeds, rng)[:_LARGEST]
    return seed


def _flip(content: bytes, seeds: Sequence[bytes], rng: random.Random) -> bytes:
    if not content:
        return content
    changed = bytearray(content)
    # Headers are where it hurts.
    place = rng.randrange(min(len(changed), rng.choice((64, 512, len(changed)))))
    changed[place] = rng.choice((changed[place] ^ (1 << rng.randrange(8)), 0, 0xFF, 0x7F, 0x80, rng.randrange(256)))
    return bytes(changed)


def _number(content: bytes, seeds: Sequence[bytes], rng: random.Random) -> bytes:
    place, width = rng.randrange(min(len(content), 512) + 1), rng.choice((2, 4, 8))
    value = rng.choice((0, 1, (1 << (8 * width)) - 1, (1 << (8 * width - 1)) - 1, 1 << (8 * width - 1)))
    return content[:place] + value.to_bytes(width, rng.choice(("little", "big"))) + content[place + width :]


def _cut(content: bytes, seeds: Sequence[bytes], rng: random.Random) -> bytes:
    return content[: rng.randrange(len(content) + 1)]


def _without(content: bytes, seeds: Sequence[bytes], rng: random.Random) -> bytes:
    first, second = sorted(rng.randrange(len(content) + 1) for _ in range(2))
    return content[:first] + content[second:]


def _with(content: bytes, seeds: Sequence[bytes], rng: random.Random) -> bytes:
    place = rng.randrange(len(content) + 1)
    return content[:place] + rng.choice((*_TOKENS, rng.randbytes(rng.randrange(1, 40)))) + content[place:]


def _again(content: bytes, seeds: Sequence[bytes], rng: random.Random) -> bytes:
    first, second = sorted(rng.randrange(len(content) + 1) for _ in range(2))
    return content[:second] + content[first:second] * rng.choice((1, 2, 20)) + content[second:]


def _spliced(content: bytes, seeds: Sequence[bytes], rng: random.Random) -> bytes:
    other = rng.choice(seeds)
    return content[: rng.randrange(len(content) + 1)] + other[rng.randrange(len(other) + 1) :]


_IN_BYTES = (_flip, _flip, _number, _cut, _without, _with, _again, _spliced)


def grafted(tree: Any, rng: random.Random) -> Any:
    """A tree of lists and mappings in which one part is another value, is gone, is twice, or hangs elsewhere."""
    if rng.random() < 0.03:
        for _ in range(DEEP):
            tree = rng.choice(([tree], {"a": tree}))
        return tree
    path = []
    here = tree
    while isinstance(here, (dict, list)) and here and rng.random() < 0.85:
        key = rng.choice(list(here)) if isinstance(here, dict) else rng.randrange(len(here))
        path.append(key)
        here = here[key]
    if not path:
        return rng.choice(ODD)
    return _replaced(tree, path, rng)


def _replaced(tree: Any, path: Sequence[Any], rng: random.Random) -> Any:
    changed = dict(tree) if isinstance(tree, dict) else list(tree)
    key, *rest = path
    if rest:
        changed[key] = _replaced(changed[key], rest, rng)
        return changed
    kind = rng.randrange(6)
    if kind == 0:
        del changed[key]
    elif kind == 1 and isinstance(changed, dict):
        changed[rng.choice((*(odd for odd in ODD if isinstance(odd, (str, int, float, type(None)))), "extra"))] = (
            changed[key]
        )
    elif kind == 1:
        changed.append(changed[key])
    elif kind == 2 and isinstance(changed[key], str):
        changed[key] = changed[key][: rng.randrange(len(changed[key]) + 1)] + str(rng.choice(ODD))
    else:
        changed[key] = rng.choice(ODD)
    return changed


def _json(content: bytes, rng: random.Random) -> bytes:
    tree = grafted(json.loads(content), rng)
    try:
        return json.dumps(tree, default=str, skipkeys=True).encode("utf-8", "surrogatepass")
    except RecursionError:
        return rng.choice(_BOMBS)


def _yaml(content: bytes, rng: random.Random) -> bytes:
    tree = grafted(yaml.safe_load(content), rng)
    try:
        # JSON is YAML, but for its numbers; the rest as YAML writes it.
        if rng.random() < 0.3:
            return json.dumps(tree, default=str, skipkeys=True).encode("utf-8", "surrogatepass")
        return yaml.safe_dump(tree, allow_unicode=rng.random() < 0.5).encode("utf-8", "surrogatepass")
    except (RecursionError, yaml.YAMLError, TypeError):
        return rng.choice(_BOMBS)


def _lines(content: bytes, rng: random.Random) -> bytes:
    """`NAME=VALUE` lines with another value, or another name, or one more."""
    lines = content.splitlines()
    number = rng.randrange(len(lines))
    name, _, value = lines[number].partition(b"=")
    odd = str(rng.choice(ODD)).encode("utf-8", "surrogatepass")
    lines[number] = rng.choice((name + b"=" + odd, name + b"=", odd + b"=" + value, name + b"=" + value + odd, name))
    return rng.choice((b"\n", b"\r\n")).join(lines)


def _parquet(content: bytes, rng: random.Random) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pq.read_table(io.BytesIO(content))
    number = rng.randrange(table.num_columns)
    name, column = table.column_names[number], table.column(number)
    others = [
        pa.nulls(len(table)),
        pa.array([""] * len(table)),
        pa.array([-1] * len(table)),
        pa.array([[]] * len(table)),
    ]
    others += [
        pa.array([float("nan")] * len(table)),
        pa.array([b"\xff"] * len(table)),
        pa.array([{"a": 1}] * len(table)),
    ]
    kind = rng.randrange(6)
    if kind == 0:
        table = table.remove_column(number)
    elif kind == 1:
        table = table.append_column(rng.choice((name, "extra", "")), column)
    elif kind == 2:
        table = table.slice(0, 0)
    elif kind == 3:
        table = table.set_column(number, table.schema.field(number), pa.nulls(len(table), column.type))
    elif kind == 4:
        table = pa.concat_tables([table, table])
    else:
        table = table.set_column(number, name, rng.choice(others))
    written = io.BytesIO()
    pq.write_table(table, written)
    return written.getvalue()


def _torch(content: bytes, rng: random.Random) -> bytes:
    import torch

    tree = torch.load(io.BytesIO(content), weights_only=True)
    for _ in range(rng.choice((1, 1, 2))):
        tree = _other_tensor(tree, rng) if rng.random() < 0.5 and isinstance(tree, dict) else grafted(tree, rng)
    written = io.BytesIO()
    try:
        torch.save(tree, written)
    except (RecursionError, OverflowError):
        return content[: rng.randrange(len(content))]
    return written.getvalue()


def _other_tensor(tree: dict[str, Any], rng: random.Random) -> dict[str, Any]:
    """One tensor of another form, or with other numbers."""
    import torch

    part = rng.choice([name for name, value in tree.items() if isinstance(value, dict)] or [None])
    tensors = [name for name, value in (tree.get(part) or {}).items() if isinstance(value, torch.Tensor)]
    if not tensors:
        return tree
    name = rng.choice(tensors)
    tensor = tree[part][name]
    zero = torch.zeros(1)
    others: list[Callable[[], Any]] = [
        lambda: torch.full_like(tensor, float("nan")) if tensor.is_floating_point() else tensor + 1,
        lambda: torch.full_like(tensor, float("inf")) if tensor.is_floating_point() else -tensor,
        lambda: tensor * 1e30,
        lambda: zero.expand(1 << 40),  # 48 kB that take all memory
        lambda: zero.as_strided((1 << 20, 1 << 20), (0, 0)),
        lambda: tensor.reshape(-1)[:0],
        lambda: tensor.to(torch.float64),
        lambda: tensor.to(torch.int8),
        lambda: tensor.to(torch.complex64),
        lambda: tensor.unsqueeze(0),
        lambda: torch.sparse_coo_tensor(torch.zeros((1, 1), dtype=torch.int64), zero, (1 << 30,)),
        lambda: torch.nn.Parameter(tensor) if tensor.is_floating_point() else tensor,
        lambda: tensor.to("meta"),
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return {**tree, part: {**tree[part], name: rng.choice(others)()}}


_MEMBERS = (
    *("", ".", "/", "..", "../x", "/x", "a/../../x", "C:\\x", "C:x", "\\\\host\\x", "a\\b", "con", "a/", "a//b", "./a"),
    *("\x00", "a\x00b", "a\n", "\x1b[31m", "é", "e\u0301", "É", "x" * 255, "y" * 256, "z" * 5000, "/".join("d" * 1500)),
    *("a", "A", "a/b", "a.wav/b", "-rf", "%s", " ", "a ", "a.", "\udcff", "😀", "._a", "__MACOSX/a"),
)


def _zip(content: bytes, rng: random.Random) -> bytes:
    written = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(written, "w", rng.choice((0, 8, 12, 14))) as packed:
        warnings.simplefilter("ignore")  # of names that are there twice
        for _ in range(rng.randrange(6)):
            info = zipfile.ZipInfo("placeholder")
            info.filename = rng.choice(_MEMBERS)
            info.external_attr = rng.choice((0, 0o100644, 0o120777, 0o40755, 0o10644, 0o104777, 0o20666)) << 16
            info.create_system = rng.choice((0, 3))
            try:
                packed.writestr(info, rng.choice((b"", b"x", b"../../etc/passwd", b"\0" * 2_000_000)))
            except (ValueError, UnicodeError):
                continue
    return written.getvalue()


def _tar(content: bytes, rng: random.Random) -> bytes:
    written = io.BytesIO()
    form = rng.choice((tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT))
    mode = rng.choice(("w", "w:gz", "w:bz2", "w:xz"))
    with tarfile.open(fileobj=written, mode=mode, format=form, errors="surrogateescape") as packed:
        for _ in range(rng.randrange(6)):
            info = tarfile.TarInfo(rng.choice(_MEMBERS))
            info.type = rng.choice((*[tarfile.REGTYPE] * 6, b"1", b"2", b"3", b"4", b"5", b"6", b"7", b"S", b"Z"))
            info.linkname = rng.choice(_MEMBERS)
            info.mode = rng.choice((0o644, 0o4777, 0, 0o200))
            body = rng.choice((b"", b"x", b"\0" * 2_000_000))
            info.size = len(body) if info.isreg() else 0
            if form == tarfile.PAX_FORMAT and rng.random() < 0.3:
                odd = str(rng.choice(ODD)).replace("\ud800", "")
                info.pax_headers = {rng.choice(("path", "size", "linkpath", "mtime", "GNU.sparse.map", "x")): odd}
            try:
                packed.addfile(info, io.BytesIO(body))
            except (ValueError, OverflowError, UnicodeError, OSError):
                continue
    return written.getvalue()


_STRUCTURED: dict[str, Callable[[bytes, random.Random], bytes]] = {
    "json": _json,
    "yaml": _yaml,
    "lines": _lines,
    "parquet": _parquet,
    "torch": _torch,
    "zip": _zip,
    "tar": _tar,
}
