"""The one settings object: where things are and how the chain runs, from the environment or `.env`.

Every setting that is not part of a candidate stands here, with the prefix `ISOLATION_`. Nothing reads the environment
anywhere else.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal

from dotenv import dotenv_values
from pydantic import BaseModel, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from data.errors import InputError

_FILE = ".env"
Share = Annotated[float, Field(ge=0.0, le=1.0)]


class Quality(BaseModel):
    """From where on a track is flagged; each field is the variable `ISOLATION_QUALITY__<NAME>`."""

    model_config = {"frozen": True, "extra": "forbid"}

    shortest_s: float = Field(5.0, ge=0, description="shorter tracks are flagged, seconds")
    end_db: float = Field(-12.0, le=0, description="tracks whose last tenth of a second is louder are flagged, dBFS")
    clipped_share: Share = Field(0.001, description="share of samples in runs at full scale")
    dc_offset: float = Field(0.005, ge=0, description="largest mean of a channel, 1.0 = full scale")
    silent_db: float = Field(-60.0, le=0, description="a quieter file counts as silent, dBFS RMS")
    side_db: float = Field(-100.0, le=0, description="with less difference the channels count as identical, dBFS")
    balance_db: float = Field(30.0, ge=0, description="with more difference one channel counts as silent, dB")
    residual_db: float = Field(-3.0, le=0, description="mixture beyond the sum of its stems, dB")
    fit_db: float = Field(-6.0, le=0, description="mixture beyond its stems, each at its measured gain, dB")
    stem_level_db: float = Field(
        3.0, ge=0, description="a vocal stem summed as it is, though the mix has it at another level, dB"
    )
    published_gain_db: float = Field(12.0, ge=0, description="measured against published gain of a vocal stem, dB")
    vocal_gain: float = Field(4.0, ge=1, description="factor by which vocals may differ from those in the mixture")
    vocals_over_mixture_db: float = Field(1.0, ge=0, description="vocals louder than their mixture, dB")
    length_difference_s: float = Field(0.5, ge=0, description="largest difference of stem and mixture, seconds")


class Settings(BaseSettings):
    """Settings of the whole project; each field is the environment variable `ISOLATION_<NAME>`."""

    model_config = SettingsConfigDict(
        env_prefix="ISOLATION_", env_nested_delimiter="__", env_file=_FILE, extra="ignore", frozen=True
    )

    storage: Path = Field(Path("storage"), description="root of everything that is materialised")
    musdb18: str = Field(
        "demo", description="demo, sample, download, download-hq, off, or a folder or archive in MUSDB's layout"
    )
    medleydb: str = Field(
        "demo", description="demo, download, download-v1, download-v2, off, or a folder or archive of MedleyDB"
    )
    own: str = Field("off", description="off, or a folder or archive of own stems")
    medleydb_metadata: Path | None = Field(None, description="folder of MedleyDB YAML files; unset: fetched")
    medleydb_gains: Literal["measured", "none"] = Field(
        "measured", description="MedleyDB's vocal stems: summed as loud as the mix has them, or as they are"
    )
    medleydb_metadata_url: str = Field(
        "https://github.com/marl/medleydb/archive/refs/heads/master.zip",
        description="where the MedleyDB metadata is fetched from",
    )
    musdb18_url: str | None = Field(None, description="another address for `sample` and `download`, such as a mirror")
    records_url: str = Field(
        "https://zenodo.org/api/records", description="where the records of MedleyDB's archives are listed"
    )
    download_token: SecretStr | None = Field(None, description="bearer token for downloads that need one")
    seed: int = Field(0, ge=0, description="seed of the demo, the split and the loopback draw")
    reserved_tracks: int = Field(10, ge=1, description="tracks kept apart for the final evaluation")
    validation_share: Share = Field(0.14, description="share of tracks without an official split used for validation")
    test_share: Share = Field(0.15, description="share of tracks without an official split used for testing")
    loopback_vocal: Share = Field(0.10, description="share of training tracks with a vocal loopback")
    loopback_instrumental: Share = Field(0.10, description="share of training tracks with an instrumental loopback")
    bleed: Literal["keep", "exclude"] = Field(
        "exclude", description="tracks whose vocal stems hold other instruments: train on them, or not"
    )
    splits: Path | None = Field(None, description="YAML file of splits to go by, as `python -m pipelines.splits write`")
    errata: Path | None = Field(None, description="YAML file of bad tracks, read after the one that is shipped")
    artists: Path | None = Field(
        None, description="YAML file of artists who are one person or ensemble, read after the one that is shipped"
    )
    quality: Quality = Field(default_factory=lambda: Quality(), description="thresholds of the quality checks")
    workers: int | None = Field(None, ge=1, description="tracks prepared at a time; unset: one a processor")
    candidates: Path = Field(
        Path(__file__).resolve().parent.parent / "models" / "candidates", description="folder of the candidates' YAML"
    )
    voters: int = Field(6, ge=1, description="people who have to vote before votes decide the champion")
    champion: str | None = Field(None, description="candidate to promote by hand, whatever votes and scores say")
    device: str = Field("auto", description="where networks run: auto, cpu, cuda, cuda:1, mps")
    training_processes: int = Field(1, ge=1, description="processes that train one candidate together, one a GPU")
    training_data: Literal["auto", "stream", "resident"] = Field(
        "auto", description="training set: read from disk as it is heard, in the device's memory, or what fits"
    )
    earlier_checkpoints: int = Field(3, ge=0, description="earlier checkpoints kept of each candidate")
    wandb: Literal["off", "offline", "online"] = Field(
        "off", description="whether trainings are written for Weights & Biases too: kept on this machine, or sent"
    )
    wandb_project: str = Field("deep-audio-isolation", min_length=1, description="their project there")

    def source(self, dataset: str) -> str:
        """Where a dataset comes from: `ISOLATION_<DATASET>`, whether or not it has a field here; `off` if unset."""
        if dataset in type(self).model_fields:
            return str(getattr(self, dataset))
        return (dotenv_values(_FILE) | dict(os.environ)).get(f"ISOLATION_{dataset.upper()}") or "off"

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
        names = ["ISOLATION_" + "__".join(str(part) for part in fault["loc"]).upper() for fault in faults]
        raise InputError(
            "settings",
            expected="; ".join(f"{name}: {fault['msg']}" for name, fault in zip(names, faults, strict=True)),
            found="; ".join(f"{name}={fault['input']!r}" for name, fault in zip(names, faults, strict=True)),
            remedy="correct these variables in the environment or in .env",
        ) from error
