"""A table's version is that of its rows, whichever library wrote them."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data.errors import InputError
from data.manifest import MANIFEST
from data.tables import Table, column, read_table

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


def test_a_column_that_came_later_is_left_out_while_it_says_nothing(tmp_path: Path) -> None:
    grown = Table(SONGS.file, SONGS.schema.append(column("take", pa.string(), "which one")), later={"take": "first"})
    assert grown.version(songs()) == grown.version(songs(take="first")) == SONGS.version(songs())
    grown.write(tmp_path, songs(take="first"))
    assert SONGS.version_in(tmp_path) == grown.version_in(tmp_path)
    assert list(grown.read(tmp_path)["take"]) == ["first", "first"]
    grown.write(tmp_path, songs(take=["first", "second"]))
    assert list(grown.read(tmp_path)["take"]) == ["first", "second"]
    assert grown.version_in(tmp_path) not in (SONGS.version(songs()), grown.version(songs(take=["second", "first"])))
    with pytest.raises(InputError, match="columns name"):
        SONGS.read(tmp_path)


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


def many_songs() -> pd.DataFrame:
    random = np.random.default_rng(1)
    return pd.DataFrame(
        {
            "name": [f"sóng {number % 50}" for number in range(200)],
            "gain": [None if number % 7 == 0 else float(random.normal()) for number in range(200)],
            "levels": [list(random.normal(size=number % 5)) for number in range(200)],
        }
    )


def test_damage_anywhere_is_bad_input_or_changes_nothing(tmp_path: Path) -> None:
    """Bits turned, stretches cut out, doubled or blanked, all over the file: no other rows, no other error."""
    SONGS.write(tmp_path, many_songs())
    path, version, random = SONGS.path(tmp_path), SONGS.version(many_songs()), np.random.default_rng(0)
    whole, refused = path.read_bytes(), 0
    for _ in range(500):
        content = bytearray(whole)
        at, length = int(random.integers(len(whole))), int(random.integers(1, 100))
        match random.integers(5):
            case 0:
                content[at] ^= 1 << int(random.integers(8))
            case 1:
                del content[at:]
            case 2:
                del content[at : at + length]
            case 3:
                content[at : at + length] = random.bytes(length)
            case _:
                content[at:at] = content[at : at + length]
        path.write_bytes(content)
        try:
            read = SONGS.read(tmp_path)
        except InputError:
            refused += 1
        else:
            assert SONGS.version(read) == version
    assert refused > 400


def test_a_single_bit_in_the_rows_is_noticed(tmp_path: Path) -> None:
    SONGS.write(tmp_path, many_songs())
    path = SONGS.path(tmp_path)
    content = bytearray(path.read_bytes())
    content[content.index("sóng 0".encode()) + 6] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match="CRC checksum verification failed") as caught:
        SONGS.read(tmp_path)
    assert "delete the file and materialise its asset again" in caught.value.remedy


def test_tables_from_before_pages_had_checksums_are_still_read(tmp_path: Path) -> None:
    rows = pa.Table.from_pandas(many_songs(), schema=SONGS.schema, preserve_index=False)
    pq.write_table(rows, SONGS.path(tmp_path))
    assert SONGS.version_in(tmp_path) == SONGS.version(many_songs())


def test_equal_tables_are_equal_bytes(tmp_path: Path) -> None:
    for name in ("one", "other"):
        SONGS.write(tmp_path / name, many_songs())
    assert SONGS.path(tmp_path / "one").read_bytes() == SONGS.path(tmp_path / "other").read_bytes()


def test_what_is_no_file_is_named_and_never_waited_for(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "link").symlink_to("nowhere")
    os.mkfifo(tmp_path / "pipe")
    words = {"folder": "a folder", "pipe": "a pipe", "link": "a link to nothing", "absent": "no such file"}
    for name, found in (words | {"empty": "0 bytes that are none"}).items():
        with pytest.raises(InputError) as caught:
            read_table(tmp_path / name, SONGS)
        assert caught.value.found.startswith(found)


def test_a_table_that_may_not_be_read_is_not_called_damaged(
    tmp_path: Path, without_privileges: Callable[[], Any]
) -> None:
    SONGS.write(tmp_path, songs())
    SONGS.path(tmp_path).chmod(0)
    with without_privileges(), pytest.raises(InputError, match="the right to use it"):
        SONGS.read(tmp_path)


def test_a_table_may_have_any_name(tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"caf\xe9=1")
    SONGS.write(folder, songs())
    assert SONGS.version_in(folder) == SONGS.version(songs())


def test_a_row_without_what_every_row_has_is_refused(tmp_path: Path) -> None:
    table = Table(SONGS.file, SONGS.schema, filled=("name",))
    table.write(tmp_path, songs())
    assert list(table.read(tmp_path)["name"]) == ["a", "b"]
    table.write(tmp_path, songs(name=["a", None]))
    with pytest.raises(InputError, match="a value in every row of name"):
        table.read(tmp_path)
