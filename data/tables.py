"""Tables: Parquet with a declared schema, each a value that reads, writes and versions itself.

The tables themselves are declared beside the functions that make them.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from data.errors import InputError
from data.files import publish


@dataclass(frozen=True)
class Table:
    """A kind of table: the name of its file, and its columns with types and documentation."""

    file: str
    schema: pa.Schema

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
        checksum = hashlib.sha256(json.dumps([f"{field.name} {field.type}" for field in self.schema]).encode())
        for batch in rows.to_batches(max_chunksize=1000):
            content = [_plain(row) for row in batch.to_pylist()]
            checksum.update(json.dumps(content, allow_nan=False).encode())
        return checksum.hexdigest()

    def version_in(self, folder: Path) -> str:
        """The version of the table that lies in `folder`."""
        return self.version(self.read(folder))

    def _arrow(self, frame: pd.DataFrame) -> pa.Table:
        if set(frame.columns) != set(self.names) and len(frame.columns):
            raise ValueError(f"{self.file}: columns {sorted(frame.columns)} are not {sorted(self.names)}")
        ordered = frame.reindex(columns=self.names)
        return pa.Table.from_pandas(ordered, schema=self.schema, preserve_index=False)


def column(name: str, kind: pa.DataType, doc: str, *, nullable: bool = True) -> pa.Field:
    """A documented column of a table."""
    return pa.field(name, kind, nullable=nullable, metadata={"doc": doc})


def write_table(path: Path, frame: pd.DataFrame, table: Table) -> None:
    """Write `frame` as Parquet with exactly the columns and types of `table`, whole or not at all.

    Raises ValueError where a column is missing or surplus, or a value does not fit its type.
    """
    rows = table._arrow(frame)
    with publish(path) as partial:
        pq.write_table(rows, partial)


def read_table(path: Path, table: Table | None = None) -> pd.DataFrame:
    """Read a Parquet table; with `table`, check that its columns are the declared ones.

    Raises InputError for a missing file, a file that is not Parquet, or one with other columns.
    """
    if not path.is_file():
        raise InputError(
            f"table {path.name}",
            file=path,
            expected="a Parquet table",
            found="no such file",
            remedy="materialise the asset that writes it first",
        )
    try:
        rows = pq.read_table(path)
    except pa.ArrowInvalid as error:
        raise InputError(
            f"table {path.name}",
            file=path,
            expected="a Parquet table",
            found=f"a file that is not one ({error})",
            remedy="delete the file and materialise its asset again",
        ) from error
    if table is not None and not rows.schema.remove_metadata().equals(table.schema.remove_metadata()):
        raise InputError(
            f"table {path.name}",
            file=path,
            expected=f"columns {', '.join(f'{f.name} {f.type}' for f in table.schema)}",
            found=", ".join(f"{f.name} {f.type}" for f in rows.schema),
            remedy="materialise its asset again with this version of the project",
        )
    return rows.to_pandas()


def _plain(value: Any) -> Any:
    """A value as JSON tells it; pandas writes a missing number now as NaN and now as null."""
    if isinstance(value, dict):
        return {name: _plain(inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else str(value)
    return value
