"""Downloads and archives: fetch a file whole and verified, unpack it without leaving its folder."""

from __future__ import annotations

import hashlib
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import requests

from data.errors import InputError
from data.files import publish

_BLOCK = 1 << 20  # bytes
_TIMEOUT = (20.0, 120.0)  # seconds to connect, seconds between two blocks


def download(
    url: str,
    path: Path,
    *,
    checksum: tuple[str, str] | None = None,
    token: str | None = None,
    log: Callable[[str], None] = lambda _: None,
) -> Path:
    """Stream `url` to `path`, whole and verified or not at all.

    `checksum` is (algorithm of hashlib, hexadecimal digest). `token` is sent as a bearer token and never logged.
    Raises InputError where the server refuses, the transfer breaks off, or the bytes are not the expected ones.
    """
    digest = hashlib.new(checksum[0]) if checksum else None
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    received = 0
    try:
        with (
            requests.get(url, stream=True, timeout=_TIMEOUT, headers=headers) as answer,
            publish(path) as partial,
            open(partial, "wb") as file,
        ):
            answer.raise_for_status()
            total = int(answer.headers.get("Content-Length", 0))
            tenth = 0
            for block in answer.iter_content(_BLOCK):
                file.write(block)
                received += len(block)
                if digest:
                    digest.update(block)
                if total and received * 10 // total > tenth:
                    tenth = received * 10 // total
                    log(f"downloading {path.name}: {tenth * 10} % of {total / 1e6:.1f} MB")
            file.flush()
            if total and received < total and "Content-Encoding" not in answer.headers:
                raise _failed(url, f"{total} bytes", f"the connection ended after {received} bytes")
            if digest and checksum and digest.hexdigest() != checksum[1]:
                raise _failed(url, f"{checksum[0]} {checksum[1]}", f"{checksum[0]} {digest.hexdigest()}")
    except requests.HTTPError as error:
        raise _failed(url, "the file", f"HTTP {error.response.status_code} {error.response.reason}") from error
    except requests.RequestException as error:
        raise _failed(url, "the file", f"no usable answer ({type(error).__name__})") from error
    return path


def extract_archive(archive: Path, folder: Path) -> None:
    """Unpack a zip or tar archive into `folder`.

    Members that would land outside the folder, links and devices are refused. Raises InputError for these, and for a
    damaged archive.
    """
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as packed:
                for member in packed.infolist():
                    if not (folder / member.filename).resolve().is_relative_to(folder.resolve()):
                        raise _unsafe(archive, member.filename)
                packed.extractall(folder)
        else:
            with tarfile.open(archive) as packed_tar:
                packed_tar.extractall(folder, filter="data")
    except tarfile.FilterError as error:
        raise _unsafe(archive, error.tarinfo.name) from error
    except (zipfile.BadZipFile, tarfile.TarError, EOFError) as error:
        raise InputError(
            "archive",
            file=archive,
            expected="an undamaged zip or tar archive",
            found=str(error) or type(error).__name__,
            remedy="download it again",
        ) from error


def _failed(url: str, expected: str, found: str) -> InputError:
    return InputError(
        f"download of {url.split('?')[0]}",
        expected=expected,
        found=found,
        remedy="check the connection and try again, or download the file by hand and set its path",
    )


def _unsafe(archive: Path, member: str) -> InputError:
    return InputError(
        "archive",
        file=archive,
        expected="only files and folders inside the archive's own folder",
        found=f"the member {member!r}",
        remedy="do not use this archive; get it from its publisher",
    )
