from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from pipelines_site import PROJECT

from data.environment import SETTLED
from data.errors import InputError
from data.settings import Settings, environment, load_settings


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder as the present one, and an environment without settings."""
    for name in [name for name in os.environ if name.upper().startswith("ISOLATION_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def refused(*, writes: bool = True) -> InputError:
    with pytest.raises(InputError) as caught:
        load_settings(writes=writes)
    return caught.value


# Where values come from


def test_settings_come_from_the_environment_and_from_dotenv(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / ".env").write_text("ISOLATION_MUSDB18=/data/musdb\nISOLATION_SEED=7\nOTHER=1\n")
    monkeypatch.setenv("ISOLATION_SEED", "8")
    settings = load_settings()
    assert (settings.musdb18, settings.seed, settings.medleydb) == ("/data/musdb", 8, "demo")
    assert settings.root == folder / "storage"


@pytest.mark.parametrize(
    "line",
    [
        "ISOLATION_OWN=/my stems",
        "ISOLATION_OWN='/my stems'  # where they are",
        'export ISOLATION_OWN="/my stems"',
        "isolation_own = /my stems # where they are",
        "STEMS=stems\r\nISOLATION_OWN=/my ${STEMS}",
        "\ufeffISOLATION_OWN=/my stems",
        "ISOLATION_OWN=/other\nISOLATION_OWN=/my stems",
    ],
)
def test_lines_of_dotenv_are_read_in_every_usual_form(folder: Path, line: str) -> None:
    (folder / ".env").write_bytes(f"{line}\r\n# für alle\r\n".encode())
    assert load_settings().own == "/my stems"


@pytest.mark.parametrize(
    "name", ["STORAGE", "OWN", "ERRATA", "QUALITY", "WORKERS", "MUSDB18", "DOWNLOAD_TOKEN", "DUETS"]
)
@pytest.mark.parametrize("value", ["", "  "])
def test_an_empty_value_is_as_good_as_none(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    unset = load_settings()
    monkeypatch.setenv(f"ISOLATION_{name}", value)
    assert load_settings() == unset
    assert load_settings().source("duets") == "off"


def test_an_empty_variable_does_not_hide_what_dotenv_says(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / ".env").write_text("ISOLATION_OWN=/stems\n")
    monkeypatch.setenv("ISOLATION_OWN", "")
    assert load_settings().own == "/stems"


def test_paths_start_from_the_present_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "stems").mkdir()
    monkeypatch.setenv("HOME", str(folder / "anna"))
    for name, value in {"STORAGE": "there", "OWN": "stems", "MUSDB18": "~/musdb", "ERRATA": "a.yaml"}.items():
        monkeypatch.setenv(f"ISOLATION_{name}", value)
    settings = load_settings()
    assert (settings.root, settings.own) == (folder / "there", str(folder / "stems"))
    assert (settings.musdb18, settings.errata) == (str(folder / "anna" / "musdb"), folder / "a.yaml")


# What is refused


def test_every_bad_setting_is_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    bad = {
        "SEED": "1e3",
        "LOOPBACK_VOCAL": "1.5",
        "WORKERS": "0",
        "TEST_SHARE": "nan",
        "RECORDS_URL": "zenodo.org",
        "DEVICE": "gpu",
        "STORAGE": "~nobody-of-this-name/storage",
    }
    for name, value in bad.items():
        monkeypatch.setenv(f"ISOLATION_{name}", value)
    monkeypatch.setenv("ISOLATION_MUSDB", "/data")
    error = refused()
    for name, value in bad.items():
        assert f"ISOLATION_{name}='{value}'" in error.found
        assert f"ISOLATION_{name}: " in error.expected
    assert "ISOLATION_MUSDB18" in error.expected


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("ISOLATION_MUSDB", "ISOLATION_MUSDB18"),
        ("ISOLATION_STORAGE_ROOT", "ISOLATION_STORAGE"),
        ("ISOLATION_QUALITY__SHORTEST", "ISOLATION_QUALITY__SHORTEST_S"),
        ("ISOLATION_QUALITY_SHORTEST_S", "ISOLATION_QUALITY__SHORTEST_S"),
        ("ISOLATION_DOWNLOAD_TOKN", "ISOLATION_DOWNLOAD_TOKEN"),
        ("isolation_work", "ISOLATION_WORKERS"),
    ],
)
@pytest.mark.parametrize("place", ["environment", "file"])
def test_a_misspelt_name_is_told_with_the_nearest(
    folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, nearest: str, place: str
) -> None:
    if place == "file":
        (folder / ".env").write_text(f"{name}=hunter2\n")
    else:
        monkeypatch.setenv(name, "hunter2")
    error = refused()
    assert f"{name.upper()}: no setting has this name, the nearest is {nearest}" in error.expected
    assert "hunter2" not in str(error)


def test_shares_that_are_more_than_everything_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ISOLATION_TEST_SHARE", "0.6")
    monkeypatch.setenv("ISOLATION_VALIDATION_SHARE", "0.6")
    assert "ISOLATION_VALIDATION_SHARE and ISOLATION_TEST_SHARE" in refused().expected


def test_a_champion_that_is_no_candidate_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ISOLATION_CHAMPION", "toy")
    assert load_settings().champion == "toy"
    monkeypatch.setenv("ISOLATION_CHAMPION", "tpy")
    assert "bandsplit" in refused().expected


def test_a_token_does_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ISOLATION_DOWNLOAD_TOKEN", "hunter2")
    assert "hunter2" not in repr(load_settings())


# .env itself


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ("ISOLATION_OWN=/stems\n".encode("utf-16"), "UTF-16"),
        ("ISOLATION_OWN=/stems\n".encode("utf-16-le"), "UTF-16"),
        ("# eins\nISOLATION_OWN=/Aufnahmen für uns\n".encode("latin-1"), "the byte 0xfc in line 2"),
        (b"ISOLATION_OWN=/stems\0\n", "no text"),
        (b"SEED=1\nISOLATION_OWN /secret\n", "in line 2"),
        (b'\nISOLATION_OWN="/secret\n', "in line 2"),
        (b"ISOLATION_OWN\n", "in line 1"),
        (b"A=" + b"1" * (1 << 21), "something else"),
    ],
)
def test_a_dotenv_that_cannot_be_read_is_refused_by_its_name(folder: Path, content: bytes, found: str) -> None:
    (folder / ".env").write_bytes(content)
    error = refused()
    assert error.file == str(folder / ".env")
    assert found in error.found
    assert "secret" not in str(error)


def test_a_pipe_as_dotenv_is_refused_and_a_folder_is_none(folder: Path) -> None:
    os.mkfifo(folder / ".env")
    assert refused().file == str(folder / ".env")
    (folder / ".env").unlink()
    (folder / ".env").mkdir()  # as virtual environments are called
    assert load_settings().seed == 0


# The storage root


def make(folder: Path) -> None:
    (folder / "file").touch()
    (folder / "link").symlink_to("nowhere")
    (folder / "stems" / "album").mkdir(parents=True)
    (folder / "same").symlink_to("stems")


@pytest.mark.parametrize(
    "root",
    [
        "file",
        "file/storage",
        "link",
        "what?",
        "My%20Music",
        "two\nlines",
        "bell\a",
        os.fsdecode(b"caf\xe9"),
        "x" * 300,
        "stems",
        "stems/album/storage",
        "same/storage",
    ],
)
def test_a_storage_root_that_cannot_be_one_is_refused_before_anything_is_written(
    folder: Path, monkeypatch: pytest.MonkeyPatch, root: str
) -> None:
    make(folder)
    before = sorted(folder.rglob("*"))
    monkeypatch.setenv("ISOLATION_STORAGE", root)
    monkeypatch.setenv("ISOLATION_OWN", "stems")
    error = refused()
    assert "ISOLATION_STORAGE" in error.expected
    str(error).encode()
    assert sorted(folder.rglob("*")) == before
    assert load_settings(writes=False).own == str(folder / "stems")  # a reader needs no place of its own


@pytest.mark.parametrize("root", ["storage", "a b/#'\"&=;:@[]{}", "new/deep/storage", "stems2", "für 他"])
def test_other_roots_are_taken(folder: Path, monkeypatch: pytest.MonkeyPatch, root: str) -> None:
    make(folder)
    monkeypatch.setenv("ISOLATION_STORAGE", root)
    monkeypatch.setenv("ISOLATION_OWN", "stems")
    assert load_settings().root == folder / root


def test_a_source_in_the_storage_root_is_refused_but_for_what_was_unpacked_there(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ISOLATION_OWN", "storage/stems")
    (folder / "storage/stems").mkdir(parents=True)
    assert "ISOLATION_OWN: a folder outside of the storage root" in refused().expected
    (folder / "storage/own/raw/album").mkdir(parents=True)
    monkeypatch.setenv("ISOLATION_OWN", "storage/own/raw/album")
    assert load_settings().own == str(folder / "storage/own/raw/album")


# Child processes


def told(environment: dict[str, str], folder: Path, program: str = "dagster") -> str:
    """Storage root, own stems, workers that a child process of `program` reads, which reads .env as Dagster does."""
    shown = (
        "from data.settings import load_settings; s = load_settings(); "
        "print(s.root, s.own, s.workers, s.source('duets'))"
    )
    starts = (
        "import os, subprocess, sys; from dagster._cli.utils import get_env_var_dict; "
        "os.environ.update(get_env_var_dict(os.getcwd())); "
        f"sys.exit(subprocess.call([sys.executable, '-c', {shown!r}]))"
    )
    script = folder / program
    script.write_text(starts)
    done = subprocess.run(
        [sys.executable, str(script)],
        cwd=folder,
        env={**environment, "PYTHONPATH": str(PROJECT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def outside() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith(("ISOLATION_", "DAGSTER_"))}


@pytest.mark.skipif(
    not Path("/proc/self/environ").exists(), reason="the system does not tell what a process began with"
)
@pytest.mark.parametrize("program", ["dg", "dagster", "dagster-daemon"])
def test_the_environment_wins_where_dagster_put_dotenv_over_it(folder: Path, program: str) -> None:
    (folder / ".env").write_text("ISOLATION_STORAGE=/b\nISOLATION_OWN=/stems\n")
    given = outside() | {"ISOLATION_STORAGE": "/a", "ISOLATION_WORKERS": "3"}
    assert told(given, folder, program) == "/a /stems 3 off"


def test_a_child_process_has_the_settings_that_it_was_given(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / ".env").write_text("ISOLATION_OWN=stems\nDAGSTER_HOME=/elsewhere\nOTHER=1\nISOLATION_WORKERS=3\n")
    (folder / "stems").mkdir()
    monkeypatch.setenv("ISOLATION_STORAGE", "a")
    monkeypatch.setenv("ISOLATION_QUALITY__SHORTEST_S", "9")
    given = environment(load_settings())
    assert (given["OTHER"], "DAGSTER_HOME" in given, given["ISOLATION_QUALITY__SHORTEST_S"]) == ("1", False, "9.0")
    elsewhere = folder / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / ".env").write_text("ISOLATION_STORAGE=/b\nISOLATION_OWN=/others\nISOLATION_SEED=5\n")
    assert told(given, elsewhere) == f"{folder}/a {folder}/stems 3 off"
    monkeypatch.chdir(elsewhere)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    assert load_settings().seed == 0  # what stands in another folder is not read
    assert load_settings().quality.shortest_s == 9


def test_settings_made_by_a_program_reach_its_child_processes(folder: Path) -> None:
    given = environment(Settings(storage=folder / "a", own="off", workers=2))
    assert given[SETTLED] == "1"
    assert told(given, folder) == f"{folder}/a off 2 off"
