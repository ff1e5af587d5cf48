"""The one settings object: where things are and how the chain runs, a value that commands read and hand on.

Every setting that is not part of a candidate stands here. A command reads them once (`load_settings`), from variables
with the prefix `ISOLATION_` as `data.environment` finds them; what it calls, builds and starts gets the object, or an
environment made of it alone. Paths are relative to the folder in which the command is given. An empty value is as good
as none.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, ValidationError, model_validator

from data.environment import FILE, PREFIX, SETTLED, read_file, variables
from data.errors import InputError
from data.layout import Layout

INTERNAL = frozenset({"ISOLATION_OWNER"})
"""Variables with this prefix that are no settings: what processes of this project tell each other."""
_WORDS = frozenset({"off", "demo", "sample", "download", "download-hq", "download-v1", "download-v2"})
_NO_URL = "?%"  # Dagster's history lies in SQLite files, whose paths become addresses


def _absolute(path: Path) -> Path:
    """The path from the root of the file system on. Raises ValueError for the home of an unknown user."""
    try:
        return path.expanduser().absolute()
    except RuntimeError:
        raise ValueError(f"no user has the home folder {path.parts[0]}") from None


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a name that is too long, a folder that nobody may look into
        return False


def _source(value: str) -> str:
    """Where a dataset comes from: a word that its reader knows, or an absolute path."""
    is_path = os.sep in value or value.startswith("~") or _is_there(Path(value))
    return value if value in _WORDS or not is_path else str(_absolute(Path(value)))


def _address(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("an address is needed, https://...")
    return value


Share = Annotated[float, Field(ge=0.0, le=1.0)]
Place = Annotated[Path, AfterValidator(_absolute)]
Source = Annotated[str, AfterValidator(_source)]
Address = Annotated[str, AfterValidator(_address)]


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


class Settings(BaseModel):
    """Settings of the whole project; each field is the environment variable `ISOLATION_<NAME>`."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)

    storage: Place = Field(Path("storage"), description="root of everything that is materialised")
    musdb18: Source = Field(
        "demo", description="demo, sample, download, download-hq, off, or a folder or archive in MUSDB's layout"
    )
    medleydb: Source = Field(
        "demo", description="demo, download, download-v1, download-v2, off, or a folder or archive of MedleyDB"
    )
    own: Source = Field("off", description="off, or a folder or archive of own stems")
    sources: Mapping[str, Source] = Field(
        default_factory=dict,
        description="where datasets without a field come from, by name; each is the variable `ISOLATION_<DATASET>`",
    )
    medleydb_metadata: Place | None = Field(None, description="folder of MedleyDB YAML files; unset: fetched")
    medleydb_gains: Literal["measured", "none"] = Field(
        "measured", description="MedleyDB's vocal stems: summed as loud as the mix has them, or as they are"
    )
    medleydb_metadata_url: Address = Field(
        "https://github.com/marl/medleydb/archive/537bb7bad0601fc58e4fff8404f71658b86ef60e.zip",
        description="where the MedleyDB metadata is fetched from; the default's content is verified",
    )
    musdb18_url: Address | None = Field(
        None, description="another address for `sample` and `download`, such as a mirror"
    )
    records_url: Address = Field(
        "https://zenodo.org/api/records", description="where the records of MedleyDB's archives are listed"
    )
    download_token: SecretStr | None = Field(None, description="bearer token for downloads that need one")
    seed: int = Field(0, ge=0, lt=2**63, description="seed of the demo, the split and the loopback draw")
    reserved_tracks: int = Field(10, ge=1, description="tracks kept apart for the final evaluation")
    validation_share: Share = Field(0.14, description="share of tracks without an official split used for validation")
    test_share: Share = Field(0.15, description="share of tracks without an official split used for testing")
    split_by: Literal["auto", "artist", "track"] = Field(
        "auto", description="what a split keeps together: artists, single tracks, or artists where there are enough"
    )
    loopback_vocal: Share = Field(0.10, description="share of training tracks with a vocal loopback")
    loopback_instrumental: Share = Field(0.10, description="share of training tracks with an instrumental loopback")
    bleed: Literal["keep", "exclude"] = Field(
        "exclude", description="tracks whose vocal stems hold other instruments: train on them, or not"
    )
    splits: Place | None = Field(
        None, description="YAML file of splits to go by, as `python -m pipelines.splits write`"
    )
    errata: Place | None = Field(None, description="YAML file of bad tracks, read after the one that is shipped")
    artists: Place | None = Field(
        None, description="YAML file of artists who are one person or ensemble, read after the one that is shipped"
    )
    quality: Quality = Field(default_factory=lambda: Quality(), description="thresholds of the quality checks")
    workers: int | None = Field(None, ge=1, le=1024, description="tracks prepared at a time; unset: one a processor")
    rank_by: str = Field(
        "usdr",
        description="measure that the leaderboard is ranked by and the report begins with: usdr, csdr_full, si_sdr; "
        "whatever it is, candidates are promoted by uSDR on validation tracks",
    )
    candidates: Place = Field(
        Path(__file__).resolve().parent.parent / "models" / "candidates", description="folder of the candidates' YAML"
    )
    voters: int = Field(6, ge=1, description="people who have to vote before votes decide the champion")
    champion: str | None = Field(None, description="candidate to promote by hand, whatever votes and scores say")
    device: str = Field(
        "auto",
        pattern=r"^(auto|(cpu|cuda|mps|xpu)(:\d{1,3})?)$",
        description="where networks run: auto, cpu, cuda, cuda:1, mps",
    )
    training_processes: int = Field(1, ge=1, description="processes that train one candidate together, one a GPU")
    training_data: Literal["auto", "stream", "resident"] = Field(
        "auto", description="training set: read from disk as it is heard, in the device's memory, or what fits"
    )
    earlier_checkpoints: int = Field(3, ge=0, description="earlier checkpoints kept of each candidate")
    history_days: int | None = Field(
        None, ge=1, description="days after which the job `prune` forgets a run; unset: never"
    )
    wandb: Literal["off", "offline", "online"] = Field(
        "off", description="whether trainings are written for Weights & Biases too: kept on this machine, or sent"
    )
    wandb_project: str = Field("deep-audio-isolation", min_length=1, description="their project there")

    @model_validator(mode="after")
    def _shares_fit(self) -> Settings:
        if self.validation_share + self.test_share > 1:
            raise ValueError("ISOLATION_VALIDATION_SHARE and ISOLATION_TEST_SHARE are more than 1 together")
        return self

    def source(self, dataset: str) -> str:
        """Where a dataset comes from, whether or not it has a field here; `off` if that is not said."""
        return str(getattr(self, dataset)) if dataset in _SIMPLE else self.sources.get(dataset, "off")

    @property
    def root(self) -> Path:
        """The storage root as an absolute path."""
        return self.storage.expanduser().absolute()


_SIMPLE = frozenset(Settings.model_fields) - {"quality", "sources"}
"""The fields that are one variable each."""


class _Problem(NamedTuple):
    """A setting that cannot be used."""

    name: str
    expected: str
    found: str | None
    """None where it is not to be shown."""


def load_settings(*, writes: bool = True) -> Settings:
    """Read the settings from the environment and `.env`. Raises InputError naming every variable that does not fit.

    For a command that `writes`, the storage root has to be a place where this project can keep its outputs, and the
    champion a candidate.
    """
    given = variables()
    problems = [_Problem(name, _nearest(name), None) for name in _unknown(given)]
    try:
        settings = Settings.model_validate(_values(given))
    except ValidationError as error:
        for fault in error.errors(include_url=False):
            name = PREFIX + "__".join(str(part) for part in fault["loc"] if part != "sources").upper()
            # What stands in no single variable names its variables itself.
            found = repr(fault["input"]) if fault["loc"] else "values that do not fit together"
            message = fault["msg"].removeprefix("Value error, ")
            problems.append(_Problem(name if fault["loc"] else "together", message, found))
        raise _refusal(problems) from error
    if writes:
        problems += [*_champion_problems(settings), *_storage_problems(settings)]
    if problems:
        raise _refusal(problems)
    return settings


def _values(given: Mapping[str, str]) -> dict[str, Any]:
    """The values of fields that stand in these variables."""
    values: dict[str, Any] = {name: given[_variable(name)] for name in _SIMPLE if _variable(name) in given}
    quality = {
        name: given[_variable("quality", name)] for name in Quality.model_fields if _variable("quality", name) in given
    }
    sources = {name.removeprefix(PREFIX).lower(): given[name] for name in _added(given)}
    return values | ({"quality": quality} if quality else {}) | ({"sources": sources} if sources else {})


def _variable(*parts: str) -> str:
    return f"{PREFIX}{'__'.join(parts)}".upper()


def environment(settings: Settings) -> dict[str, str]:
    """The whole environment for a child process that is to have these settings, whatever folder it starts in.

    Holds what else stands in `.env`, too, except where Dagster's home is: that follows from the storage root.
    """
    written = {} if SETTLED in os.environ else read_file()
    others = {name: value for name, value in written.items() if name.upper() != "DAGSTER_HOME"}
    inherited = {name: value for name, value in (others | dict(os.environ)).items() if not _is_setting(name)}
    values = {_variable(dataset): source for dataset, source in settings.sources.items()}
    for name in settings.model_fields_set - {"sources"}:
        value = getattr(settings, name)
        if isinstance(value, BaseModel):
            values |= {_variable(name, part): str(getattr(value, part)) for part in value.model_fields_set}
        elif value is not None:
            secret = value.get_secret_value() if isinstance(value, SecretStr) else value
            values[_variable(name)] = str(secret)
    return inherited | values | {f"{PREFIX}STORAGE": str(settings.root), SETTLED: "1"}


def _is_setting(name: str) -> bool:
    return name.upper().startswith(PREFIX) and name.upper() not in INTERNAL


def _names() -> set[str]:
    """The variables of all fields."""
    return {_variable(name) for name in _SIMPLE} | {_variable("quality", name) for name in Quality.model_fields}


def _added(given: Iterable[str]) -> list[str]:
    """The variables of datasets that have no field here."""
    others = [name for name in given if name not in _names() and name not in INTERNAL]
    if not others:
        return []
    # Whoever adds a dataset adds it there; readers import this module, and take a second to load.
    from data.datasets import DATASETS

    return [name for name in others if name.removeprefix(PREFIX).lower() in DATASETS]


def _unknown(given: Iterable[str]) -> list[str]:
    given = list(given)
    return sorted(set(given) - _names() - INTERNAL - set(_added(given)))


def _nearest(name: str) -> str:
    near = difflib.get_close_matches(name, sorted(_names()), n=1)
    return f"no setting has this name, the nearest is {near[0]}" if near else "no setting has this name"


def _champion_problems(settings: Settings) -> list[_Problem]:
    name = settings.champion
    if name is None or (settings.candidates / f"{name}.yaml").is_file():
        return []
    names = sorted(path.stem for path in settings.candidates.glob("*.yaml"))
    expected = f"a candidate in {settings.candidates}: {', '.join(names) or 'there is none'}"
    return [_Problem("ISOLATION_CHAMPION", expected, repr(name))]


def _storage_problems(settings: Settings) -> list[_Problem]:
    """Why the storage root cannot be one, if it cannot."""
    root = settings.root
    name, found = "ISOLATION_STORAGE", str(root)
    if not found.isprintable() or any(character in found for character in _NO_URL):
        expected = f"a path without control characters, in UTF-8, and without {' and '.join(_NO_URL)}"
        return [_Problem(name, expected, ascii(found))]
    try:
        there = next(path for path in (root, *root.parents) if path.is_symlink() or path.exists())
        if not there.is_dir():
            what = "a link that leads nowhere" if not there.exists() else "a file"
            return [_Problem(name, "a folder, or a path where one can be made", f"{found}: {there} is {what}")]
        return _overlaps(settings, root.resolve())
    except OSError as error:
        return [_Problem(name, "a folder, or a path where one can be made", f"{found}: {error.strerror}")]


def _overlaps(settings: Settings, root: Path) -> list[_Problem]:
    """Sources that hold the storage root, or lie in it: one would be taken for the other."""
    problems = []
    datasets = ["musdb18", "medleydb", "own", *settings.sources]
    for dataset in datasets:
        value = settings.source(dataset)
        if value in _WORDS or not _is_there(Path(value)):
            continue
        layout, source = Layout(root), Path(value).resolve()
        ours = [place for name in datasets for place in (layout.raw(name), layout.downloads(name))]
        if root.is_relative_to(source):
            expected, found = "a folder outside of every source", f"{root}, which lies in {source}"
            problems.append(_Problem("ISOLATION_STORAGE", expected, found))
        elif source.is_relative_to(root) and not any(source.is_relative_to(place) for place in ours):
            expected, found = "a folder outside of the storage root", f"{source}, which lies in {root}"
            problems.append(_Problem(f"{PREFIX}{dataset.upper()}", expected, found))
    return problems


def _refusal(problems: list[_Problem]) -> InputError:
    return InputError(
        "settings",
        expected="; ".join(f"{problem.name}: {problem.expected}" for problem in problems),
        found="; ".join(f"{name} is set" if found is None else f"{name}={found}" for name, _, found in problems),
        remedy=f"correct these variables in the environment or in {FILE}",
    )
