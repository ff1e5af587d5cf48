"""A table's version is that of its rows, whichever library wrote them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data.errors import InputError
from data.manifest import MANIFEST
from data.tables import Table, column

SONGS = Table(
    "songs.parquet",
    pa.schema(
        [
            column("name", pa.string(), "what it is called"),
            column("gain", pa.float64(), "null where nobody measured it"),
            column("levels", pa.list_(pa.float32()), "a second each"),
        ]
    ),
)


def songs(**changes: object) -> pd.DataFrame:
    rows = {"name": ["a", "b"], "gain": [0.1, None], "levels": [[-3.5, 1 / 3], []]}
    return pd.DataFrame(rows | changes)


def test_equal_rows_have_equal_versions_whatever_bytes_they_are_kept_in(tmp_path: Path) -> None:
    versions = set()
    for number, how in enumerate(({}, {"compression": "zstd"}, {"version": "1.0", "use_dictionary": False})):
        folder = tmp_path / str(number)
        folder.mkdir()
        rows = pa.Table.from_pandas(songs(), schema=SONGS.schema, preserve_index=False)
        pq.write_table(rows.replace_schema_metadata({"written by": f"library {number}"}), SONGS.path(folder), **how)
        versions.add(SONGS.version_in(folder))
    assert len({(tmp_path / str(number) / SONGS.file).read_bytes() for number in range(3)}) == 3
    assert versions == {SONGS.version(songs())}


def test_a_missing_number_is_one_however_pandas_says_it() -> None:
    assert SONGS.version(songs(gain=[0.1, np.nan])) == SONGS.version(songs(gain=pd.array([0.1, None], "Float64")))


@pytest.mark.parametrize(
    "changes",
    [{"name": ["a", "c"]}, {"gain": [0.1000001, None]}, {"gain": [0.1, 0.0]}, {"levels": [[-3.5, 1 / 3], [0.0]]}],
)
def test_other_rows_have_another_version(changes: dict[str, object]) -> None:
    assert SONGS.version(songs(**changes)) != SONGS.version(songs())
    assert SONGS.version(songs().iloc[::-1]) != SONGS.version(songs())


def test_a_table_with_other_columns_is_refused(tmp_path: Path) -> None:
    songs().drop(columns="gain").to_parquet(SONGS.path(tmp_path))
    with pytest.raises(InputError, match="columns name string, gain double"):
        SONGS.read(tmp_path)
    with pytest.raises(ValueError, match="are not"):
        SONGS.write(tmp_path, songs().drop(columns="gain"))


def test_columns_say_what_they_are() -> None:
    assert SONGS.docs()["levels"] == "a second each"
    assert all(MANIFEST.docs().values())
