"""What an output was made of: code version, parameters and inputs, as values that can be compared and told apart.

Which recipe a step has is said where the step is; what is done about a recipe that changed, in `data.cache`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_MOST = 20  # names in a sentence
_LONGEST = 80  # characters of two values side by side


@dataclass(frozen=True)
class Recipe:
    """What an output is made of; all plain JSON values.

    `inputs` are data versions by name. Two outputs of equal recipes are equal: that is what caching rests on.
    """

    code_version: str
    parameters: Mapping[str, Any]
    inputs: Mapping[str, str]

    @property
    def fingerprint(self) -> str:
        """SHA-256 over all three; the order of keys does not matter."""
        return hashlib.sha256(json.dumps(self.content, sort_keys=True, allow_nan=False).encode()).hexdigest()

    @property
    def content(self) -> dict[str, Any]:
        """The recipe as JSON values, which `Recipe(**content)` reads back."""
        return {"code_version": self.code_version, "parameters": dict(self.parameters), "inputs": dict(self.inputs)}

    def differs(self, before: Recipe) -> list[str]:
        """What has changed since `before`, a sentence for each kind of change; empty where the two are equal."""
        found = []
        if self.code_version != before.code_version:
            found.append(f"code version {before.code_version} -> {self.code_version}")
        was, now = flat(before.parameters), flat(self.parameters)
        names = sorted(n for n in was.keys() | now.keys() if was.get(n, _ABSENT) != now.get(n, _ABSENT))
        shown = {name: (_shown(was, name), _shown(now, name)) for name in names}
        # What is too long to be read, a list of files or a checksum, has only changed.
        found += [
            f"{name} {before} -> {after}" if len(before + after) <= _LONGEST else f"{name} changed"
            for name, (before, after) in shown.items()
        ]
        kinds = {
            "new": sorted(self.inputs.keys() - before.inputs.keys()),
            "gone": sorted(before.inputs.keys() - self.inputs.keys()),
            "changed": sorted(k for k in self.inputs.keys() & before.inputs if self.inputs[k] != before.inputs[k]),
        }
        found += [f"{len(names)} {kind} ({listing(names)})" for kind, names in kinds.items() if names]
        return found


_ABSENT = object()


def flat(content: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings as one dictionary with dotted keys."""
    found: dict[str, Any] = {}
    for key, value in content.items():
        found |= flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return found


def listing(names: Sequence[str], most: int = _MOST) -> str:
    """Names in a sentence: the first few, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _shown(values: Mapping[str, Any], name: str) -> str:
    return json.dumps(values[name], ensure_ascii=False) if name in values else "nothing"
