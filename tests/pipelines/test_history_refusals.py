"""A history that cannot be used is told in words, with the folder that it lies in."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import dagster as dg
import pytest
from sqlalchemy.exc import DatabaseError

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


def test_a_full_disk_is_told_as_such_whatever_the_history_calls_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = [0]
    monkeypatch.setattr("shutil.disk_usage", lambda folder: SimpleNamespace(free=free[0]))
    for free[0], told in ((0, "free space"), (1 << 30, "move this folder away")):
        with pytest.raises(InputError, match=told), history_refusals(tmp_path):
            raise DatabaseError("INSERT", None, sqlite3.OperationalError("disk I/O error"))


def test_a_thread_that_cannot_write_history_is_told_once_by_its_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[BaseException | None] = []
    monkeypatch.setattr(threading, "excepthook", lambda ended: told.append(ended.exc_value))

    def end_with(error: Exception) -> None:
        raise error

    with history_refusals(tmp_path):
        for error in (DatabaseError("INSERT", None, sqlite3.OperationalError("disk I/O error")), ValueError("a fault")):
            thread = threading.Thread(target=end_with, args=[error])
            thread.start()
            thread.join()
    assert [str(error) for error in told] == ["a fault"]
