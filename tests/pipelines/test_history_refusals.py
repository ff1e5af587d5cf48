"""A history that cannot be used is told in words, with the folder that it lies in."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

import dagster as dg
import pytest

from data.errors import InputError
from data.layout import Layout
from pipelines.chain import history_refusals
from pipelines.instance import prepare_home


def _overwrite(file: Path) -> None:
    file.write_bytes(b"no database" * 1000)


def _damage(file: Path) -> None:
    content = file.read_bytes()
    file.write_bytes(content[:4096] + b"\xff" * (len(content) - 4096))


def _replace_by_a_folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (_overwrite, "not a database"),
        (_damage, "malformed"),
        (_replace_by_a_folder, "unable to open"),
    ],
)
def test_a_damaged_history_is_told_with_its_folder_and_what_to_do(
    tmp_path: Path, spoil: Callable[[Path], None], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAGSTER_HOME", "")
    prepare_home(tmp_path)
    with dg.DagsterInstance.get() as instance:
        instance.get_runs()
    (file,) = Layout(tmp_path).dagster.rglob("runs.db")
    spoil(file)
    with pytest.raises(InputError) as refused, history_refusals(tmp_path), dg.DagsterInstance.get() as instance:
        instance.get_runs()
    assert words in refused.value.found
    assert refused.value.file == str(Layout(tmp_path).dagster)
    assert "try again" in refused.value.remedy or "permissions" in refused.value.remedy


def test_a_history_that_another_program_holds_is_told(tmp_path: Path) -> None:
    file = tmp_path / "runs.db"
    with sqlite3.connect(file) as holder:
        holder.execute("create table t (x)")
        holder.execute("begin exclusive")
        from sqlalchemy import create_engine, text

        engine = create_engine(f"sqlite:///{file}", connect_args={"timeout": 0})
        with pytest.raises(InputError) as refused, history_refusals(tmp_path), engine.connect() as connection:
            connection.execute(text("insert into t values (1)"))
    assert "close the program that holds it" in refused.value.remedy
