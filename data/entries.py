"""Lists of entries that people write in YAML: read and validated, each fault told with its place."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from data.errors import InputError
from data.yaml_files import read_yaml

Entry = TypeVar("Entry", bound=BaseModel)


def read_entries(path: Path, kind: type[Entry], *, what: str, expected: str, remedy: str) -> list[Entry]:
    """The entries of a YAML list. Raises InputError, told of `what`, naming the entry and the key that is wrong."""

    def refuse(found: str) -> InputError:
        return InputError(what, file=path, expected=expected, found=found, remedy=remedy)

    content = read_yaml(path, what, expected=expected, remedy=remedy, words=True)
    if not isinstance(content, list):
        raise refuse("an empty file" if content is None else f"a {type(content).__name__}")
    entries = []
    for number, entry in enumerate(content, start=1):
        try:
            entries.append(kind.model_validate(entry))
        except ValidationError as error:
            faults = "; ".join(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors())
            raise refuse(f"entry {number}: {faults}") from error
    return entries
