"""What an output was made of, down to the raw files, as a tree of lines for a person.

Pure: what stands and what would be made now is gathered elsewhere (`assets.staleness`); here nothing reads a file.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from data.recipe import Recipe, flat, listing
from data.text import one_line

SHORT = 12  # characters of a version that are shown
_MOST_PARAMETERS = 6
_MOST_CURRENT = 2  # of many inputs those that are shown although nothing is wrong with them
_MANY = 6  # inputs that are all shown
_MOST_STALE = 20
_LONGEST = 44  # characters of a parameter that are shown


@dataclass(frozen=True)
class Node:
    """An output, a raw file, or several outputs that one input was made of.

    `version` is its data version of today, `made_of` says by what code and settings, as a recipe or in words, `state`
    how it stands: empty for what is no output. `problems` are why it is not as it would be made now, in words.
    """

    name: str
    version: str = ""
    made_of: Recipe | str = ""
    state: str = ""
    problems: tuple[str, ...] = ()
    inputs: tuple[Input, ...] = ()

    @property
    def stands(self) -> bool:
        """Whether nothing is known to be wrong with it."""
        return not self.problems

    @cached_property
    def sound(self) -> bool:
        """Whether it stands, and so does everything that it was made of."""
        return self.stands and all(each.node.sound for each in self.inputs if each.counts)


@dataclass(frozen=True)
class Input:
    """A node as something was made of it: in this version then, which need not be the one that it has now.

    One that does not `count` may be stale without that saying anything of what was made of it: a list of all tracks of
    one track.
    """

    node: Node
    version: str = ""
    counts: bool = True


CURRENT, STALE, MISSING, UNKNOWN, KEPT = "current", "stale", "missing", "cannot be told", "kept"


def parameters_shown(parameters: Mapping[str, Any]) -> list[str]:
    """The parameters of a recipe for a person: those that are short, and of the others how many values they have."""
    found = []
    for name, value in parameters.items():
        many = len(flat(value)) if isinstance(value, Mapping) else len(value) if isinstance(value, list) else 1
        text = value[:SHORT] if isinstance(value, str) and len(value) == 64 else one_line(value)
        short = many < 2 and len(text) <= _LONGEST
        found.append(
            f"{name} {text}" if short else f"{name} ({many} values)" if many > 1 else f"{name} {text[:_LONGEST]}..."
        )
    more = len(found) - _MOST_PARAMETERS
    return found[:_MOST_PARAMETERS] + ([f"{more} more"] if more > 0 else [])


def _made_of(node: Node, everything: bool) -> str:
    if not isinstance(node.made_of, Recipe):
        return node.made_of
    parameters = node.made_of.parameters
    every = [f"{name} {one_line(value)}" for name, value in flat(parameters).items()]
    return "; ".join(
        [f"code version {node.made_of.code_version}", *(every if everything else parameters_shown(parameters))]
    )


def render(root: Node, *, everything: bool = False) -> Iterator[str]:
    """The tree below a node, a line each; what was shown before is only named. At its end, what is not current.

    Of many inputs only some of those are shown that are current, and versions and parameters are shortened, unless it
    is to be `everything`.
    """
    yield from _lines(Input(root), "", "", set(), everything)
    outputs = [node for node in _below(root) if node.state]
    bad = [f"{one_line(node.name)} ({node.state})" for node in outputs if not node.stands]
    yield ""
    yield f"not current: {listing(bad)}" if bad else f"all current ({len(outputs)} outputs)"


def _lines(given: Input, first: str, rest: str, seen: set[int], everything: bool) -> Iterator[str]:
    node = given.node
    again = id(node) in seen and bool(node.inputs)
    yield first + _line(given, again, everything)
    if again:
        return
    seen.add(id(node))
    shown, left = _chosen(node.inputs, everything)
    bar = "│ " if shown or left else "  "
    if made_of := _made_of(node, everything):
        yield f"{rest}{bar}{one_line(made_of)}"
    for number, each in enumerate(shown, start=1):
        last = number == len(shown) and not left
        yield from _lines(each, rest + ("└─ " if last else "├─ "), rest + ("   " if last else "│  "), seen, everything)
    if left:
        yield f"{rest}└─ {left}"


def _line(given: Input, again: bool, everything: bool) -> str:
    node = given.node
    versions = [version if everything else version[:SHORT] for version in (given.version, node.version) if version]
    parts = [one_line(node.name), " -> ".join(dict.fromkeys(versions))]
    if node.problems:
        parts.append(f"{node.state}: {one_line('; '.join(node.problems))}")
    elif node.state:
        parts.append(node.state if node.sound else f"{node.state}, but not what it is made of")
    if again:
        parts.append("(as above)")
    return "  ".join(filter(None, parts))


def _chosen(inputs: Sequence[Input], everything: bool) -> tuple[list[Input], str]:
    """The inputs that are shown, what is wrong first, and a line for the others."""
    wrong, right = ([each for each in inputs if each.node.sound is sound] for sound in (False, True))
    if everything or len(inputs) <= _MANY:
        return wrong + right, ""
    shown = wrong[:_MOST_STALE] + right[:_MOST_CURRENT]
    left = len(wrong) - _MOST_STALE
    if len(shown) == len(inputs):
        return shown, ""
    told = f", {left} of them not current" if left > 0 else ""
    return shown, f"... and {len(inputs) - len(shown)} more{told} (--all shows them)"


def _below(node: Node, seen: set[int] | None = None) -> Iterator[Node]:
    """A node and all that it was made of, each once."""
    known = set() if seen is None else seen
    if id(node) in known:
        return
    known.add(id(node))
    yield node
    for each in node.inputs:
        yield from _below(each.node, known)
