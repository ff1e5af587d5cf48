"""What every dataset must be able to do, and the finding of its raw files that all share."""

from __future__ import annotations

import hashlib
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
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
from data.tracks import SourceTrack

Log = Callable[[str], None]


class Dataset(ABC):
    """A stem dataset: how to obtain it, find its tracks, and read mixture and vocals of one of them."""

    name: str
    """First part of every track id and asset key: lower case, no spaces."""
    title: str
    description: str
    code_version: str
    """Raise it when `extract` would write other samples for the same files."""
    has_metadata: bool = False
    """Whether labels come in files of their own, and `read_metadata` reads them."""
    later_labels: tuple[str, ...] = ()
    """Columns of the metadata table that came later: where they are empty, a track is what it was before them."""

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
    def discover(self, folder: Path) -> list[SourceTrack]:
        """Every track in the raw dataset, sorted by slug; files are named, not read.

        Raises InputError where the folder holds none.
        """

    @abstractmethod
    def extract(self, track: SourceTrack, metadata: pd.DataFrame, folder: Path) -> dict[str, Any]:
        """Write the track's `mixture.wav` and `vocals.wav` into `folder`; return what was measured (JSON values).

        `metadata` holds the track's rows of the metadata table (none for a dataset without). Both files have the
        same sample rate and number of frames. Raises InputError naming the file that cannot be used.
        """

    def read_metadata(self, settings: Settings, log: Log) -> tuple[pd.DataFrame, list[InputError]]:
        """The metadata table, and every metadata file that could not be read."""
        # Asked for only where `has_metadata` is set: a dataset that sets it has to say how it is read.
        raise NotImplementedError(f"{self.name} has no metadata of its own")


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
