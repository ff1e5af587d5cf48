"""The one reader of YAML that people write: what it holds is plain values, and whatever is wrong is an InputError.

YAML does more than a settings file needs, and much of it harms: aliases that make gigabytes of a few hundred bytes,
nesting that overflows the parser's stack, tags that build objects, keys that stand twice, `no` that is a boolean,
`4:33` that is 273 and `2020-13-45` that is no date. None of that is taken. What the values must be is the callers'.
"""

from __future__ import annotations

import re
import stat
from pathlib import Path
from typing import Any

import yaml

from data.errors import InputError, os_error

LARGEST = 1 << 20  # bytes; MedleyDB's largest metadata file has 20 000
_DEEPEST = 50  # collections in each other; a candidate has four
_TOO_DEEP = f"more than {_DEEPEST} lists or mappings in each other"
_LONGEST = 300  # characters of a fault
_KINDS = {
    stat.S_ISDIR: "a folder",
    stat.S_ISFIFO: "a pipe",
    stat.S_ISSOCK: "a socket",
    stat.S_ISCHR: "a device",
    stat.S_ISBLK: "a device",
}


def read_yaml(path: Path, what: str, *, expected: str, remedy: str, words: bool = False, largest: int = LARGEST) -> Any:
    """What a YAML file holds: mappings with unlike keys, lists, text, numbers, true, false and null.

    Numbers and booleans are those of YAML 1.2; `1e-3` is a number, a date is text. With `words` every value is text as
    it stands in the file (a title may be `no` or `007`), or None where nothing stands. An empty file is None. Raises
    InputError, told of `what`, for a file that is missing, no regular file, larger than `largest` bytes, neither UTF-8
    nor UTF-16 with its mark, or not such YAML.
    """
    try:
        return parse_yaml(_text(path, largest), words=words)
    except ValueError as error:
        raise InputError(what, file=path, expected=expected, found=str(error), remedy=remedy) from error
    except FileNotFoundError as error:
        raise InputError(what, file=path, expected=expected, found="no such file", remedy=remedy) from error
    except OSError as error:
        raise os_error(error, what, file=path) from error


def parse_yaml(text: str, *, words: bool = False) -> Any:
    """What YAML text holds, as `read_yaml` has it. Raises ValueError that says what is wrong, and in which line."""
    try:
        _look(text)
        return yaml.load(text, Loader=_Words if words else _Values)
    except (yaml.YAMLError, ValueError, OverflowError, RecursionError) as error:
        if "nesting depth" in str(error):  # newer C parsers look ahead of what they have told
            raise ValueError(_TOO_DEEP) from error
        said = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(said if len(said) <= _LONGEST else f"{said[:_LONGEST]} ...") from error


def _text(path: Path, largest: int) -> str:
    """The text of a regular file. Raises ValueError for any other, and OSError as the system does."""
    mode = path.stat().st_mode
    # Asked before it is opened: to open a pipe waits for somebody who writes into it.
    if not stat.S_ISREG(mode):
        raise ValueError(next((kind for test, kind in _KINDS.items() if test(mode)), "no regular file"))
    with open(path, "rb") as file:
        content = file.read(largest + 1)
    if len(content) > largest:
        raise ValueError(f"more than {largest} bytes")
    try:
        return content.decode("utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"bytes that are not UTF-8 (at {error.start})") from error


def _look(text: str) -> None:
    """Refuse what is not taken before anything is built of it. Raises ValueError or YAMLError."""
    depth = documents = 0
    # Events come one by one; to build nodes of them, the C parser calls itself, and dies of deep nesting.
    for event in yaml.parse(text, Loader=yaml.CSafeLoader):
        place = f"line {event.start_mark.line + 1}" if event.start_mark else "somewhere"
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > _DEEPEST:
                raise ValueError(f"{place}: {_TOO_DEEP}")
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        elif isinstance(event, yaml.DocumentStartEvent):
            documents += 1
            if documents > 1:
                raise ValueError(f"{place}: a second document (---)")
        if isinstance(event, yaml.NodeEvent) and event.anchor is not None:
            raise ValueError(f"{place}: an anchor or alias ({event.anchor}), which is not taken: write it out")
        if isinstance(event, (yaml.ScalarEvent, yaml.CollectionStartEvent)) and event.tag is not None:
            raise ValueError(f"{place}: a tag ({event.tag}), which is not taken")
        if isinstance(event, yaml.ScalarEvent) and not _is_text(event.value):
            raise ValueError(f"{place}: text with a character that is none (NUL or half of a pair)")


def _is_text(value: str) -> bool:
    return "\0" not in value and not any("\ud800" <= character <= "\udfff" for character in value)


class _Loader(yaml.CSafeLoader):
    """Plain values only. The C parser is an order of magnitude faster; PyYAML brings it in every wheel."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise ValueError(f"line {key.start_mark.line + 1}: a key that is a list or a mapping")
            if key.value in seen:
                raise ValueError(f"line {key.start_mark.line + 1}: the key {key.value} stands twice")
            seen.add(key.value)
        return super().construct_mapping(node, deep)


class _Values(_Loader):
    """Numbers, booleans and null by the core schema of YAML 1.2, without its octal and hexadecimal numbers."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}


class _Words(_Loader):
    """Text, and null where nothing stands."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}


_NULL = ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""])
_NUMBER = r"[-+]?(\.[0-9]+|[0-9]+\.[0-9]*)([eE][-+]?[0-9]+)?|[-+]?[0-9]+[eE][-+]?[0-9]+"
_CORE = (
    _NULL,
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?(0|[1-9][0-9]*)", list("-+0123456789")),
    ("float", rf"{_NUMBER}|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)", list("-+.0123456789")),
)
for _kind, _pattern, _first in _CORE:
    _Values.add_implicit_resolver(f"tag:yaml.org,2002:{_kind}", re.compile(rf"(?:{_pattern})\Z"), _first)
_Words.add_implicit_resolver("tag:yaml.org,2002:null", re.compile(rf"(?:{_NULL[1]})\Z"), _NULL[2])
