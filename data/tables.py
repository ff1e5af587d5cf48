"""Tables: Parquet with a declared schema, each a value that reads, writes and versions itself.

The tables themselves are declared beside the functions that make them.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from data.errors import InputError, os_error
from data.files import obstacle, publish
from data.text import one_line

_WRONG = (ValueError, TypeError, LookupError, AttributeError)
MOST_ROWS = 100_000_000  # beyond that, a number in a damaged file


@dataclass(frozen=True)
class Table:
    """A kind of table: the name of its file, its columns with types and documentation, and which are never empty.

    `later` names columns that earlier releases did not have, with the value that stands for all of their rows: a table
    that holds no other is written, and versioned, without them, as it was then.
    """

    file: str
    schema: pa.Schema
    filled: tuple[str, ...] = ()
    later: Mapping[str, Any] = field(default_factory=dict, hash=False)

    @property
    def names(self) -> list[str]:
        """The names of the columns, in order."""
        return list(self.schema.names)

    def docs(self) -> dict[str, str]:
        """What each column means, by name; empty words where a column says nothing of itself."""
        return {field.name: (field.metadata or {}).get(b"doc", b"").decode() for field in self.schema}

    def path(self, folder: Path) -> Path:
        """Where the table lies in a folder."""
        return folder / self.file

    def write(self, folder: Path, frame: pd.DataFrame) -> None:
        """Write `frame` into `folder`, whole or not at all. Raises ValueError as `write_table` does."""
        write_table(folder / self.file, frame, self)

    def read(self, folder: Path) -> pd.DataFrame:
        """The table in `folder`. Raises InputError as `read_table` does."""
        return read_table(folder / self.file, self)

    def version(self, frame: pd.DataFrame) -> str:
        """A checksum of the rows, in their order: equal rows have equal versions, whatever library wrote them."""
        rows = self._arrow(frame)
        checksum = hashlib.sha256(json.dumps([f"{field.name} {field.type}" for field in rows.schema]).encode())
        for batch in rows.to_batches(max_chunksize=1000):
            content = [_plain(row) for row in batch.to_pylist()]
            checksum.update(json.dumps(content, allow_nan=False).encode())
        return checksum.hexdigest()

    def version_in(self, folder: Path) -> str:
        """The version of the table that lies in `folder`."""
        return self.version(self.read(folder))

    def _arrow(self, frame: pd.DataFrame) -> pa.Table:
        if set(frame.columns) | self.later.keys() != set(self.names) and len(frame.columns):
            raise ValueError(f"{self.file}: columns {sorted(frame.columns)} are not {sorted(self.names)}")
        needed = (name for name, usual in self.later.items() if name in frame and (frame[name] != usual).any())
        schema = self._without_later(needed)
        return pa.Table.from_pandas(frame.reindex(columns=schema.names), schema=schema, preserve_index=False)

    def _without_later(self, but: Iterable[str]) -> pa.Schema:
        unused = self.later.keys() - set(but)
        return pa.schema([column for column in self.schema if column.name not in unused])


def column(name: str, kind: pa.DataType, doc: str, *, nullable: bool = True) -> pa.Field:
    """A documented column of a table."""
    return pa.field(name, kind, nullable=nullable, metadata={"doc": doc})


def write_table(path: Path, frame: pd.DataFrame, table: Table) -> None:
    """Write `frame` as Parquet with exactly the columns and types of `table`, whole or not at all.

    Raises ValueError where a column is missing or surplus, or a value does not fit its type.
    """
    rows = table._arrow(frame)
    with publish(path) as partial, open(partial, "wb") as file:
        pq.write_table(rows, file, write_page_checksum=True)


def read_table(path: Path, table: Table | None = None) -> pd.DataFrame:
    """Read a Parquet table; with `table`, check that its columns are the declared ones.

    Raises InputError for a missing file, one that may not be read, a file that is not Parquet or is damaged, and one
    with other columns.
    """
    what = f"table {path.name}"
    try:
        found = obstacle(path)
    except OSError as error:
        raise os_error(error, what, file=path) from error
    if found is not None:
        raise InputError(
            what,
            file=path,
            expected="a Parquet table",
            found=found,
            remedy="materialise the asset that writes it first",
        )
    rows, frame = _read(path, what)
    declared = table._without_later(rows.schema.names) if table is not None else rows.schema
    if not rows.schema.remove_metadata().equals(declared.remove_metadata()):
        raise InputError(
            what,
            file=path,
            expected=f"columns {', '.join(f'{f.name} {f.type}' for f in declared)}",
            found=", ".join(f"{f.name} {f.type}" for f in rows.schema)[:500],
            remedy="materialise its asset again with this version of the project",
        )
    empty = [name for name in table.filled if rows.column(name).null_count] if table is not None else []
    if empty:
        raise InputError(
            what,
            file=path,
            expected=f"a value in every row of {', '.join(empty)}",
            found="rows without one",
            remedy="materialise its asset again",
        )
    missing = {name: usual for name, usual in table.later.items() if name not in frame} if table is not None else {}
    return frame.assign(**missing)[table.names] if missing and table is not None else frame


def _read(path: Path, what: str) -> tuple[pa.Table, pd.DataFrame]:
    """The rows of a Parquet file, whole: checksums agree, text is text. Raises InputError as `read_table` does."""
    try:
        with open(path, "rb") as file:
            content = file.read()
    except OSError as error:
        raise os_error(error, what, file=path) from error
    try:
        with pq.ParquetFile(pa.BufferReader(content), page_checksum_verification=True) as parquet:
            if parquet.metadata.num_rows > MOST_ROWS:
                raise ValueError(f"{parquet.metadata.num_rows} rows")
            rows = parquet.read()
        rows.validate(full=True)
        frame = rows.to_pandas()
        # pandas goes by a note of its own in the file, which no checksum guards.
        if list(frame.columns) != rows.schema.names or not isinstance(frame.index, pd.RangeIndex):
            raise ValueError("columns under other names than the schema's")
        return rows, frame
    # Arrow tells of damage by errors of a dozen kinds, OSError and MemoryError among them.
    except (pa.ArrowException, OSError, MemoryError, ArithmeticError, *_WRONG) as error:
        raise InputError(
            what,
            file=path,
            expected="a Parquet table",
            found=f"{len(content)} bytes that are none, or are damaged ({one_line(error)[:200]})",
            remedy="delete the file and materialise its asset again",
        ) from error


def _plain(value: Any) -> Any:
    """A value as JSON tells it; pandas writes a missing number now as NaN and now as null."""
    if isinstance(value, dict):
        return {name: _plain(inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else str(value)
    return value
