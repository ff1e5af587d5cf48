"""Tables: Parquet with a declared schema, one writer and one reader.

The schemas themselves stand beside the functions that make the tables.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from data.errors import InputError
from data.files import publish


def write_table(path: Path, frame: pd.DataFrame, schema: pa.Schema) -> None:
    """Write `frame` as Parquet with exactly the columns and types of `schema`, whole or not at all.

    Raises ValueError where a column is missing or surplus, or a value does not fit its type.
    """
    if set(frame.columns) != set(schema.names) and len(frame.columns):
        raise ValueError(f"{path.name}: columns {sorted(frame.columns)} are not {sorted(schema.names)}")
    table = pa.Table.from_pandas(frame.reindex(columns=schema.names), schema=schema, preserve_index=False)
    with publish(path) as partial:
        pq.write_table(table, partial)


def read_table(path: Path, schema: pa.Schema | None = None) -> pd.DataFrame:
    """Read a Parquet table; with `schema`, check that it is the declared one.

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
        table = pq.read_table(path)
    except pa.ArrowInvalid as error:
        raise InputError(
            f"table {path.name}",
            file=path,
            expected="a Parquet table",
            found=f"a file that is not one ({error})",
            remedy="delete the file and materialise its asset again",
        ) from error
    if schema is not None and not table.schema.remove_metadata().equals(schema.remove_metadata()):
        raise InputError(
            f"table {path.name}",
            file=path,
            expected=f"columns {', '.join(f'{f.name} {f.type}' for f in schema)}",
            found=", ".join(f"{f.name} {f.type}" for f in table.schema),
            remedy="materialise its asset again with this version of the project",
        )
    return table.to_pandas()
