"""The one settings object: where things are and how the chain runs, from the environment or `.env`.

Every setting that is not part of a candidate stands here, with the prefix `ISOLATION_`. Nothing reads the environment
anywhere else.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from data.errors import InputError

Share = Annotated[float, Field(ge=0.0, le=1.0)]


class Settings(BaseSettings):
    """Settings of the whole project; each field is the environment variable `ISOLATION_<NAME>`."""

    model_config = SettingsConfigDict(env_prefix="ISOLATION_", env_file=".env", extra="ignore", frozen=True)

    storage: Path = Field(Path("storage"), description="root of everything that is materialised")
    musdb18: str = Field("demo", description="demo, sample, download, off, or a folder or archive in MUSDB's layout")
    medleydb: str = Field("demo", description="demo, off, or a folder or archive of MedleyDB")
    medleydb_metadata: Path | None = Field(None, description="folder of MedleyDB YAML files; unset: fetched")
    medleydb_metadata_url: str = Field(
        "https://github.com/marl/medleydb/archive/refs/heads/master.zip",
        description="where the MedleyDB metadata is fetched from",
    )
    musdb18_url: str | None = Field(None, description="another address for `sample` and `download`, such as a mirror")
    download_token: SecretStr | None = Field(None, description="bearer token for downloads that need one")
    seed: int = Field(0, ge=0, description="seed of the demo, the split and the loopback draw")
    reserved_tracks: int = Field(10, ge=1, description="tracks kept apart for the final evaluation")
    validation_share: Share = Field(0.14, description="share of tracks without an official split used for validation")
    test_share: Share = Field(0.15, description="share of tracks without an official split used for testing")
    loopback_vocal: Share = Field(0.10, description="share of training tracks with a vocal loopback")
    loopback_instrumental: Share = Field(0.10, description="share of training tracks with an instrumental loopback")
    candidates: Path = Field(
        Path(__file__).resolve().parent.parent / "models" / "candidates", description="folder of the candidates' YAML"
    )
    device: str = Field("auto", description="where networks run: auto, cpu, cuda, cuda:1, mps")

    @property
    def root(self) -> Path:
        """The storage root as an absolute path."""
        return self.storage.expanduser().absolute()


def load_settings() -> Settings:
    """Read the settings from the environment and `.env`. Raises InputError naming every variable that does not fit."""
    try:
        return Settings()
    except ValidationError as error:
        faults = error.errors()
        names = ["ISOLATION_" + "_".join(str(part) for part in fault["loc"]).upper() for fault in faults]
        raise InputError(
            "settings",
            expected="; ".join(f"{name}: {fault['msg']}" for name, fault in zip(names, faults, strict=True)),
            found="; ".join(f"{name}={fault['input']!r}" for name, fault in zip(names, faults, strict=True)),
            remedy="correct these variables in the environment or in .env",
        ) from error
