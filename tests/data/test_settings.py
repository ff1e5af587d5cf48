from __future__ import annotations

from pathlib import Path

import pytest

from data.errors import InputError
from data.settings import load_settings


def test_settings_come_from_the_environment_and_from_dotenv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_text("ISOLATION_MUSDB18=/data/musdb\nISOLATION_SEED=7\nOTHER=1\n")
    monkeypatch.setenv("ISOLATION_SEED", "8")
    settings = load_settings()
    assert (settings.musdb18, settings.seed, settings.medleydb) == ("/data/musdb", 8, "demo")
    assert settings.root == tmp_path / "storage"


def test_every_bad_setting_is_named_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ISOLATION_SEED", "soon")
    monkeypatch.setenv("ISOLATION_LOOPBACK_VOCAL", "1.5")
    with pytest.raises(InputError) as caught:
        load_settings()
    assert "ISOLATION_SEED='soon'" in caught.value.found
    assert "ISOLATION_LOOPBACK_VOCAL='1.5'" in caught.value.found


def test_a_token_does_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ISOLATION_DOWNLOAD_TOKEN", "hunter2")
    assert "hunter2" not in repr(load_settings())
