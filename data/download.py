"""Downloads: fetch a file whole and verified, however often the line breaks.

Where a dataset lies does not belong here. A transfer that was cut, or whose process was
killed, leaves `.partial-download-<name>` and a note beside it that says of what; the next call goes on from there.
"""

from __future__ import annotations

import email.utils
import fcntl
import hashlib
import http.client
import ipaddress
import json
import os
import random
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Annotated, Any, TypeVar
from urllib.parse import urlsplit

import requests
import urllib3
from pydantic import BaseModel, NonNegativeInt, StringConstraints, TypeAdapter, ValidationError

from data.errors import InputError
from data.files import PARTIAL, flush
from data.transfer import BLOCK, Log, Progress, amount, disk_errors, require_room

_Result = TypeVar("_Result")

_TIMEOUT = (20.0, 120.0)  # seconds to connect, seconds between two blocks
_ATTEMPTS = 6  # failures in a row that gained no byte; also how often a transfer may have to start again
_PAUSE = 1.0  # seconds after the first failure, doubled after each further one
_LONGEST_PAUSE = 60.0  # seconds
_LONGEST_WAIT = 300.0  # seconds, whatever a server's Retry-After says
_PORTS = {"http": 80, "https": 443}
_sleep = time.sleep


@dataclass(frozen=True)
class RemoteFile:
    """A published file: name, address, and as far as they are known size in bytes and (algorithm, digest in hex)."""

    name: str
    url: str
    size: int | None = None
    checksum: tuple[str, str] | None = None


def download(
    url: str,
    path: Path,
    *,
    checksum: tuple[str, str] | None = None,
    size: int | None = None,
    token: str | None = None,
    log: Log = lambda _: None,
) -> Path:
    """Stream `url` to `path`, whole and verified or not at all, going on where an earlier call was cut short.

    `checksum` is (algorithm of hashlib, hexadecimal digest), `size` is in bytes. `token` is sent as a bearer token to
    the origin of `url` only (scheme, host and port), and over https unless that is this machine; neither it nor the
    query of `url` is logged or stored. Raises InputError where the server refuses, goes on failing, or sends other
    bytes than expected, where the disk is too small or refuses, and where another process is fetching the same file.
    """
    with disk_errors(path.parent, path.name):
        path.parent.mkdir(parents=True, exist_ok=True)
    with disk_errors(path.parent, path.name), _partial_of(path, _shown(url), size) as partial:
        for last in (False, True):
            _persist(lambda: _transfer(url, partial, token, log), url, log, lambda: partial.offset)
            wrong = partial.disagreement(checksum, log)
            if wrong is None:
                partial.publish()
                break
            # Bytes of two connections may be of two files; those of one cannot.
            mixed = partial.resumed
            partial.discard()
            if last or not mixed:
                raise _failed(url, *wrong)
            log(f"{path.name}: expected {wrong[0]}, found {wrong[1]}; starting again from zero")
    return path


def remote_files(record_url: str, token: str | None = None) -> list[RemoteFile]:
    """The files of a Zenodo record, by its REST address such as https://zenodo.org/api/records/1649325.

    Raises InputError as `download` does, and for an answer that lists no files, as restricted records give.
    """

    def ask() -> Any:
        with _ask(record_url, {"Accept": "application/json"}, token) as answer:
            try:
                return answer.json()
            except (ValueError, RecursionError):  # no JSON, or nested deeper than any listing
                return None

    record = _persist(ask, record_url, lambda _: None)
    listed = record.get("files", record) if isinstance(record, dict) else None
    if isinstance(listed, dict):
        listed = listed.get("entries")
    try:
        if isinstance(listed, dict):
            listed = [{"key": key, **entry} for key, entry in listed.items()]
        files = [_Entry.model_validate(entry).file() for entry in listed or ()]
        found = "no files" if isinstance(record, dict) else "something else"
    except (ValidationError, TypeError, KeyError) as error:
        files, found = [], f"files in another form ({type(error).__name__})"
    if not files:
        raise InputError(
            f"record {_shown(record_url)}",
            expected="a JSON record with files: key, size, checksum and links of each",
            found=found,
            remedy="request access to the record from its publisher where it is restricted, and set "
            "ISOLATION_DOWNLOAD_TOKEN to a token of the account that has it; or check the address",
        )
    return files


def origin(url: str) -> tuple[str, str, int | None]:
    """Scheme, host and port of an address: who is asked. A token for one origin is for no other."""
    parts = urlsplit(url)
    try:
        port = parts.port
    except ValueError:  # no number
        port = None
    return parts.scheme.lower(), (parts.hostname or "").lower(), port or _PORTS.get(parts.scheme.lower())


class _Entry(BaseModel):
    """What a record says of a file; the newer form has `content` beside a `self` that only describes."""

    key: Annotated[str, StringConstraints(pattern=r"^[^/\\\x00-\x1f\x7f.\-][^/\\\x00-\x1f\x7f]*$", max_length=80)]
    size: NonNegativeInt
    checksum: Annotated[str, StringConstraints(pattern=r"^(md5|sha1|sha256|sha512):[0-9a-fA-F]+$")]
    links: dict[str, str]

    def file(self) -> RemoteFile:
        url = self.links.get("content") or self.links["self"]
        algorithm, _, digest = self.checksum.partition(":")
        return RemoteFile(self.key, url, self.size, (algorithm, digest.lower()))


_Tag = Annotated[str, StringConstraints(pattern=r"^[ -~]*$")]  # what may stand in a header


@dataclass(frozen=True)
class _Entity:
    """What the bytes are part of: the address without its query, what the server calls this version, its bytes."""

    url: str
    etag: _Tag | None
    modified: _Tag | None
    total: NonNegativeInt | None

    @property
    def validator(self) -> str | None:
        return self.etag or self.modified

    def agrees(self, other: _Entity) -> bool:
        pairs = ((self.etag, other.etag), (self.modified, other.modified), (self.total, other.total))
        return all(one is None or two is None or one == two for one, two in pairs)


class _Partial:
    """What has arrived of a file, and the note beside it that says of which."""

    def __init__(self, path: Path, partial: Path, file: IO[bytes], url: str, size: int | None) -> None:
        self.path, self.url, self.size = path, url, size
        self._partial, self._note, self._file = partial, partial.with_name(f"{partial.name}.json"), file
        self.offset = os.fstat(file.fileno()).st_size
        self.resumed = False
        self._restarts = 0
        try:
            self.entity = TypeAdapter(_Entity).validate_json(self._note.read_bytes())
        except (OSError, ValueError):  # none, or not one of ours
            self.entity = _Entity(url, None, None, None)

    @property
    def resumable(self) -> bool:
        fits = self.entity.url == self.url and (self.size is None or self.entity.total in (None, self.size))
        return fits and self.offset > 0 and self.entity.validator is not None

    @property
    def total(self) -> int | None:
        return self.size if self.entity.total is None else self.entity.total

    def start(self, entity: _Entity) -> None:
        # Emptied before the new note is written: a note never stands beside bytes of another file.
        self.discard()
        self.entity, self.resumed = entity, False
        self._note.write_text(json.dumps(asdict(entity)))

    def append(self, block: bytes) -> None:
        rest = memoryview(block)
        while rest:  # unbuffered, so that what was received is in the file whatever happens next
            written = self._file.write(rest)
            self.offset, rest = self.offset + written, rest[written:]

    def discard(self) -> None:
        """Forget what has arrived; a server that makes this necessary again and again is given up."""
        if self.offset:
            self._restarts += 1
            self._file.truncate(0)
            self.offset = 0
        if self._restarts > _ATTEMPTS:
            found = f"{self._restarts} transfers that broke off and could not be continued"
            raise _failed(self.url, "the file in one piece, or a server that sends the rest of one", found)

    def disagreement(self, checksum: tuple[str, str] | None, log: Log) -> tuple[str, str] | None:
        """What was expected and what was found, where these differ. All bytes are read back from the disk."""
        if self.total is not None and self.offset != self.total:
            return f"{self.total} bytes", f"{self.offset} bytes"
        if checksum is None:
            return None
        algorithm, expected = checksum
        log(f"verifying {self.path.name}")
        with open(self._partial, "rb") as file:
            found = hashlib.file_digest(file, algorithm).hexdigest()
        return None if found == expected.lower() else (f"{algorithm} {expected}", f"{algorithm} {found}")

    def publish(self) -> None:
        os.fsync(self._file.fileno())
        os.replace(self._partial, self.path)
        flush(self.path.parent)
        self.offset = 0  # nothing is left to go on from

    def tidy(self) -> None:
        """Remove what no later call could use."""
        if not self.resumable:
            self._partial.unlink(missing_ok=True)
            self._note.unlink(missing_ok=True)


@contextmanager
def _partial_of(path: Path, url: str, size: int | None) -> Iterator[_Partial]:
    name = path.with_name(f"{PARTIAL}download-{path.name}")
    with open(name, "ab", buffering=0) as file:
        if not _locked(file, name):
            remedy = "wait until it has finished, and try again"
            raise _failed(url, f"nobody else to fetch {path}", "another process that is fetching it", remedy)
        partial = _Partial(path, name, file, url, size)
        try:
            yield partial
        finally:
            partial.tidy()


def _locked(file: IO[bytes], name: Path) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        pass  # a file system without locks
    # Whoever held the lock may have renamed or removed the file between our opening and locking it.
    return name.exists() and os.path.samestat(os.fstat(file.fileno()), name.stat())


class _Passing(Exception):
    """A failure that may pass; `wait` is how long the server asks to wait, in seconds."""

    def __init__(self, found: str, wait: float = 0.0) -> None:
        super().__init__(found)
        self.wait = wait


def _persist(attempt: Callable[[], _Result], url: str, log: Log, reached: Callable[[], int] = lambda: 0) -> _Result:
    """The result of `attempt`, repeated while failures may pass; those that moved `reached` on do not add up."""
    failures = 0
    while True:
        before = reached()
        try:
            return attempt()
        except _Passing as problem:
            found, wait = str(problem), problem.wait
        failures = 1 if reached() > before else failures + 1
        if failures == _ATTEMPTS:
            raise _failed(url, "the file", f"{found}, {failures} times in a row")
        # Half of the pause is chance: clients that were cut off together do not come back together.
        pause = max(wait, min(_LONGEST_PAUSE, _PAUSE * 2 ** (failures - 1)) * random.uniform(0.5, 1.0))
        log(f"{_shown(url)}: {found}; trying again in {pause:.0f} s")
        _sleep(pause)


def _transfer(url: str, partial: _Partial, token: str | None, log: Log) -> None:
    """Ask once for what is still missing, and take what comes."""
    if not partial.resumable:
        partial.discard()
    headers = {}
    if partial.offset:
        headers = {"Range": f"bytes={partial.offset}-", "If-Range": partial.entity.validator or ""}
    with _ask(url, headers, token) as answer:
        if answer.status_code == 416 and partial.offset == partial.entity.total:
            partial.resumed = True  # all had arrived when the earlier process ended
            return
        start, total = _extent(answer)
        etag = answer.headers.get("ETag", "")
        # A weak tag may stand for other bytes, and may not be used to ask for a part.
        entity = _Entity(partial.url, None if etag[:1] != '"' else etag, answer.headers.get("Last-Modified"), total)
        if partial.offset and start == partial.offset and entity.agrees(partial.entity):
            partial.resumed = True
            of = "" if partial.total is None else f" of {amount(partial.total)}"
            log(f"{partial.path.name}: resuming at {amount(partial.offset)}{of}")
        elif start == 0:
            if partial.size is not None and total not in (None, partial.size):
                raise _failed(url, f"{partial.size} bytes", f"{total} bytes, the server says")
            partial.start(entity)
        else:
            partial.discard()
            raise _Passing(f"HTTP {answer.status_code} with another part of the file than was asked for")
        _receive(answer, partial, log)


def _receive(answer: requests.Response, partial: _Partial, log: Log) -> None:
    folder, name, total = partial.path.parent, partial.path.name, partial.total
    if total is not None:
        require_room(folder, total - partial.offset, name)
    with Progress(f"downloading {name}", total, partial.offset, log) as progress:
        # read1 gives what there is: a cut connection costs nothing that had arrived.
        while block := answer.raw.read1(BLOCK, decode_content=False):
            partial.append(block)
            progress.at(partial.offset)
            if total is not None and partial.offset > total:
                return
    # Only the server knows whether more is to come; a `size` that it does not confirm may be wrong.
    promised = partial.entity.total
    if promised is not None and partial.offset < promised:
        raise _Passing(f"the transfer ended at {amount(partial.offset)} of {amount(promised)}")


def _extent(answer: requests.Response) -> tuple[int, int | None]:
    """The first byte the answer holds (-1: it does not say), and the size of the whole file, if it says."""
    if answer.status_code == 200:
        length = answer.headers.get("Content-Length", "")
        return 0, int(length) if length.isdecimal() else None
    form = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", answer.headers.get("Content-Range", "").strip())
    return (-1, None) if form is None else (int(form[1]), None if form[2] == "*" else int(form[2]))


@contextmanager
def _ask(url: str, headers: dict[str, str], token: str | None) -> Iterator[requests.Response]:
    """The answer to a GET, if it is of use. Causes are not chained: their messages hold the query of the address."""
    headers = {"Accept-Encoding": "identity", **headers}
    signed = _Signed(url, token)
    try:
        with _Session() as session:
            with session.get(url, stream=True, timeout=_TIMEOUT, headers=headers, auth=signed) as answer:
                _refuse_status(url, answer)
                yield answer
    except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
        found = f"no usable answer ({type(error).__name__})"
        passing = (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError)
        if isinstance(error, (*passing, urllib3.exceptions.HTTPError)):
            raise _Passing(found) from None
        raise _failed(url, "the file", found) from None


class _Session(requests.Session):
    """Asks without the logins of the user's .netrc, and takes what proves who asks to no other origin."""

    def rebuild_auth(self, prepared_request: requests.PreparedRequest, response: requests.Response) -> None:
        # requests keeps it from http to https of one host, and adds what .netrc has for the new one.
        if origin(prepared_request.url or "") != origin(response.request.url or ""):
            prepared_request.headers.pop("Authorization", None)


class _Signed(requests.auth.AuthBase):
    """Signs a request with a bearer token, else with what stands in the address; never by .netrc."""

    def __init__(self, url: str, token: str | None) -> None:
        self._token = token
        if not token:
            return
        scheme, host, _ = origin(url)
        if scheme != "https" and not _is_this_machine(host):
            raise InputError(
                "setting ISOLATION_DOWNLOAD_TOKEN",
                expected="an address with https://, so that nobody on the way can read the token",
                found=_shown(url),
                remedy="correct ISOLATION_RECORDS_URL, or unset ISOLATION_DOWNLOAD_TOKEN",
            )
        if not re.fullmatch(r"[!-~]+", token):
            raise InputError(
                "setting ISOLATION_DOWNLOAD_TOKEN",
                expected="printable ASCII characters without spaces",
                found="others among them",
                remedy="copy the token again",
            )

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if self._token:
            request.headers["Authorization"] = f"Bearer {self._token}"
            return request
        user, password = requests.utils.get_auth_from_url(request.url or "")
        return requests.auth.HTTPBasicAuth(user, password)(request) if user or password else request


def _is_this_machine(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _refuse_status(url: str, answer: requests.Response) -> None:
    code, ranged = answer.status_code, "Range" in answer.request.headers
    if code in (200, 206) or (code == 416 and ranged):
        return
    found = f"HTTP {code} {http.client.responses.get(code, '')}".strip()
    if code in (408, 429) or code >= 500:
        raise _Passing(found, _retry_after(answer.headers.get("Retry-After", "")))
    if code in (401, 403):
        remedy = (
            "ask the publisher for access to the file, and set ISOLATION_DOWNLOAD_TOKEN to a token of the account "
            "to which it was granted"
        )
        raise _failed(url, "the file", found, remedy)
    raise _failed(url, "the file", found)


def _retry_after(value: str) -> float:
    """Seconds to wait, of a header that gives seconds or a date."""
    wait = 0.0
    if value.strip().isdecimal():
        wait = float(value)
    elif value:
        with suppress(ValueError, OverflowError):
            wait = email.utils.parsedate_to_datetime(value).timestamp() - time.time()
    return min(max(wait, 0.0), _LONGEST_WAIT)


def _failed(url: str, expected: str, found: str, remedy: str | None = None) -> InputError:
    remedy = remedy or "check the address and the connection and try again, or download by hand and set the path"
    return InputError(f"download of {_shown(url)}", expected=expected, found=found, remedy=remedy)


def _shown(url: str) -> str:
    """An address without what may be secret in it: the user, the query."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
