"""What every dataset must be able to do and say, and the finding of its raw files that all share.

What follows from what a reader says (the manifest's columns, findings) is said in `data.manifest` and `data.quality`.
"""

from __future__ import annotations

import hashlib
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import pandas as pd

from data import cache
from data.archives import extract_archive, is_archive
from data.download import RemoteFile, download
from data.errors import InputError, os_error
from data.files import obstacle, sha256_of
from data.layout import Layout
from data.recipe import Recipe
from data.settings import Settings
from data.tables import Table
from data.tracks import Track

Log = Callable[[str], None]
Gains = Sequence[float | None]


@dataclass(frozen=True, kw_only=True)
class Extracted:
    """What a reader says of a track besides the audio that it wrote: JSON values, None where nobody says.

    Frames are counted at the rate of the files that were written. What a field has the manifest's name of is what the
    manifest documents it to be.
    """

    vocal_stems: int | None = None
    frames: int | None = None
    sample_rate: int | None = None
    """Hz, of what the track was made of, whatever rate was written: nothing above half of it is music."""
    genre: str | None = None
    """Where the track itself names none."""
    stems: Sequence[str] | None = None
    vocal_kinds: Sequence[str] | None = None
    has_bleed: bool | None = None
    labelled_instrumental: bool | None = None
    length_difference: int | None = None
    stem_sum_residual_db: float | None = None
    fitted_residual_db: float | None = None
    gains_applied: bool | None = None
    vocal_stem_gains_left: Gains | None = None
    vocal_stem_gains_right: Gains | None = None
    vocal_stem_gains_published: Gains | None = None
    vocal_gain_faults: Sequence[str] | None = None
    mixed_stems: Sequence[str] | None = None

    def said(self) -> dict[str, Any]:
        """What is said, by name, as a record holds it."""
        return {name: value for name, value in vars(self).items() if value is not None}

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> Extracted:
        """What a record holds of it, among other things."""
        return cls(**{field.name: record[field.name] for field in fields(cls) if field.name in record})


class Dataset(ABC):
    """A stem dataset: how to obtain it, find its tracks, and read mixture and vocals of one of them."""

    name: str
    """First part of every track id and asset key: lower case, no spaces."""
    title: str
    description: str
    code_version: str
    """Raise it when `extract` would write other samples for the same files."""
    labels: Table | None = None
    """The table of labels, for a dataset that has some in files of their own and reads them by `read_labels`.

    Its rows belong to the track that is `labelled_as` their column `id`; a track may have any number of them.
    """
    later_labels: tuple[str, ...] = ()
    """Columns of that table that came later: where they are empty, a track is what it was before them."""

    def setting(self, settings: Settings) -> str:
        """The value of this dataset's own setting: `off`, `demo`, ..., or a path."""
        return settings.source(self.name)

    def configured(self, settings: Settings) -> Dataset:
        """This dataset, holding as values whatever settings change what `extract` writes; itself where none do.

        Called wherever a track is prepared or asked for, before it travels to a worker, which has no settings.
        """
        return self

    @property
    def parameters(self) -> Mapping[str, Any]:
        """What `extract` goes by besides its arguments (JSON values), part of the recipe of every track's stems.

        A value under which it writes what it always wrote is left out, so that what was made before stays valid.
        """
        return {}

    def version_for(self, files: Iterable[str]) -> str:
        """The version of `extract` for a track of files with these names: an earlier one where samples are as then."""
        return self.code_version

    @abstractmethod
    def obtain(self, settings: Settings, log: Log) -> Path:
        """The folder with the raw dataset, after whatever generating, downloading or unpacking the setting asks for.

        Not called where the setting is `off`. Raises InputError where the setting leads nowhere.
        """

    @abstractmethod
    def discover(self, folder: Path) -> list[Track]:
        """Every track in the raw dataset; files are named, not read.

        A reader that passes something over says so by `data.tracks.found`. Raises InputError where the folder holds
        no track.
        """

    @abstractmethod
    def extract(self, track: Track, labels: pd.DataFrame, folder: Path) -> Extracted:
        """Write the track's `mixture.wav` and `vocals.wav` into `folder`; return what is to be said of it.

        `labels` holds the track's rows of the table of labels (none for a dataset without). Both files have the same
        sample rate and number of frames. Raises InputError naming the file that cannot be used.
        """

    def read_labels(self, settings: Settings, log: Log) -> tuple[pd.DataFrame, list[InputError]]:
        """The table `labels`, and a problem for every file or track of it that could not be read."""
        # Asked for only where `labels` is set: a dataset that sets it has to say how they are read.
        raise NotImplementedError(f"{self.name} has no labels of its own")

    def labels_told(self, labels: pd.DataFrame) -> dict[str, Any]:
        """What is worth telling of the table as a whole (JSON values by name), shown with the asset `metadata`."""
        return {}


def folder_or_archive(settings: Settings, dataset: str, value: str, log: Log) -> Path:
    """The folder that a setting's path names; a zip or tar archive is unpacked under the storage root first.

    Raises InputError where the path leads nowhere or to another kind of file.
    """
    path = Path(value).expanduser().absolute()
    try:
        if path.is_dir():
            return path
        packed = path.is_file() and is_archive(path)
    except OSError as error:
        raise os_error(error, f"setting ISOLATION_{dataset.upper()}", file=path) from error
    if packed:
        status = path.stat()
        recipe = Recipe("1", {"archive": str(path), "size": status.st_size, "mtime_ns": status.st_mtime_ns}, {})
        folder = Layout(settings.root).raw(dataset)

        def unpack(partial: Path) -> dict[str, Any]:
            log(f"unpacking {path.name} ({status.st_size / 1e9:.2f} GB)")
            extract_archive(path, partial)
            return {}

        cache.make(folder, recipe, unpack)
        return folder
    raise InputError(
        f"setting ISOLATION_{dataset.upper()}",
        file=path,
        expected="a folder, a zip or a tar archive (or one of the words that the README lists)",
        found=obstacle(path) or "a file that is no archive",
        remedy=f"correct ISOLATION_{dataset.upper()}, or set it to 'off'",
    )


def fetched(
    settings: Settings,
    dataset: str,
    file: RemoteFile,
    log: Log,
    *,
    token: str | None = None,
    verify: Callable[[Path], None] = lambda _: None,
) -> Path:
    """The folder with the unpacked content of an archive that is downloaded first, unless that was done before.

    A verified archive is kept until it is unpacked, so that a run that was killed goes on where it was. `token` is
    sent to the origin of the file's address only; `verify` looks at what was unpacked, for an archive whose own bytes
    its server may change. Raises InputError where the download fails, what came is no archive, or `verify` does.
    """
    downloads = Layout(settings.root).downloads(dataset)
    folder = downloads / re.sub(r"\.(zip|tar|tgz|tar\.\w+)$", "", file.name)
    archive = downloads / file.name
    recipe = Recipe("1", {"url": file.url.split("?")[0], "checksum": list(file.checksum or [])}, {})

    def work(partial: Path) -> dict[str, Any]:
        if not (archive.is_file() and _agrees(archive, file)):
            download(file.url, archive, checksum=file.checksum, size=file.size, token=token, log=log)
        if not is_archive(archive):
            size = archive.stat().st_size
            archive.unlink()
            raise InputError(
                f"download of {file.name}",
                expected="a zip or tar archive",
                found=f"{size} bytes of something else from {file.url.split('?')[0]}",
                remedy="check the address",
            )
        log(f"unpacking {file.name}")
        extract_archive(archive, partial)
        try:
            verify(partial)
        except InputError:
            archive.unlink()  # kept, it would be taken the next time too
            raise
        return {"url": file.url.split("?")[0], "sha256": sha256_of(archive)}

    cache.make(folder, recipe, work)
    archive.unlink(missing_ok=True)
    return folder


def _agrees(archive: Path, file: RemoteFile) -> bool:
    """Whether an archive that an earlier call left is the one that is wanted, as far as its checksum is known."""
    if file.checksum is None:
        return True
    algorithm, digest = file.checksum
    with open(archive, "rb") as packed:
        return hashlib.file_digest(packed, algorithm).hexdigest() == digest


def contents_of(folder: Path, *patterns: str) -> str:
    """One SHA-256 over names and bytes of the files below `folder` whose names fit, wherever they lie."""
    found = {path for pattern in patterns for path in folder.rglob(pattern)}
    lines = sorted(f"{sha256_of(path)}  {path.name}\n" for path in found)
    return hashlib.sha256("".join(lines).encode()).hexdigest()
