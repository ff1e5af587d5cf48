from __future__ import annotations

import hashlib
import io
import tarfile
import threading
import zipfile
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import yaml
from pydantic import SecretStr
from small_datasets import metadata_of, write_hq_dataset

from data.datasets.medleydb import MedleyDB
from data.datasets.musdb18 import Musdb18
from data.download import download, extract_archive
from data.errors import InputError
from data.settings import Settings

CONTENT = bytes(range(256)) * 5000


class Server:
    """An HTTP server on 127.0.0.1 whose paths say what goes wrong."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {"good": CONTENT, "cut": CONTENT}
        self.tokens: list[str | None] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                name = self.path.strip("/")
                outer.tokens.append(self.headers.get("Authorization"))
                if name not in outer.files:
                    self.send_error(int(name) if name.isdigit() else 404)
                    return
                body = outer.files[name]
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body[: len(body) // 2] if name == "cut" else body)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/{name}"

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.stop()


def zipped(folder: Path) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for path in folder.rglob("*"):
            archive.write(path, path.relative_to(folder))
    return packed.getvalue()


def test_a_download_is_whole_and_verified(server: Server, tmp_path: Path) -> None:
    said: list[str] = []
    checksum = ("sha256", hashlib.sha256(CONTENT).hexdigest())
    path = download(server.url("good"), tmp_path / "a.bin", checksum=checksum, token="secret", log=said.append)
    assert path.read_bytes() == CONTENT
    assert server.tokens == ["Bearer secret"]
    assert any("100 %" in line for line in said)
    assert not any("secret" in line for line in said)


@pytest.mark.parametrize(
    ("name", "found"),
    [("cut", "no usable answer"), ("403", "HTTP 403"), ("404", "HTTP 404"), ("429", "HTTP 429"), ("500", "HTTP 500")],
)
def test_a_download_that_fails_leaves_nothing(server: Server, tmp_path: Path, name: str, found: str) -> None:
    with pytest.raises(InputError) as caught:
        download(server.url(name), tmp_path / "a.bin")
    assert found in caught.value.found
    assert list(tmp_path.iterdir()) == []


def test_wrong_bytes_are_refused(server: Server, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="md5 0000"):
        download(server.url("good"), tmp_path / "a.bin", checksum=("md5", "0000"))
    assert list(tmp_path.iterdir()) == []


def test_a_server_that_is_not_there_is_named(tmp_path: Path, server: Server) -> None:
    url = server.url("good")
    server._server.server_close()
    with pytest.raises(InputError, match="no usable answer") as caught:
        download(url, tmp_path / "a.bin")
    assert url in caught.value.what


def test_musdb18_is_downloaded_unpacked_and_read(server: Server, tmp_path: Path, quiet: Callable[[str], None]) -> None:
    server.files["musdb.zip"] = zipped(write_hq_dataset(tmp_path / "source", train=2, test=1, seconds=0.5))
    settings = Settings(
        storage=tmp_path / "storage",
        musdb18="sample",
        musdb18_url=server.url("musdb.zip"),
        download_token=SecretStr("secret"),
    )
    folder = Musdb18().obtain(settings, quiet)
    assert len(Musdb18().discover(folder)) == 3
    assert not list(folder.glob("*.zip"))
    Musdb18().obtain(settings, quiet)
    assert len(server.tokens) == 1  # the second time it is there already
    assert "secret" not in (folder / "record.json").read_text()


def test_something_that_is_no_archive_is_refused_and_nothing_is_kept(
    server: Server, tmp_path: Path, quiet: Callable[[str], None]
) -> None:
    settings = Settings(storage=tmp_path / "storage", musdb18="sample", musdb18_url=server.url("good"))
    with pytest.raises(InputError, match="zip or tar"):
        Musdb18().obtain(settings, quiet)
    assert not any(path.is_file() for path in (tmp_path / "storage").rglob("*"))


def test_medleydb_metadata_is_fetched_when_no_folder_is_named(
    server: Server, tmp_path: Path, quiet: Callable[[str], None]
) -> None:
    source = tmp_path / "source" / "medleydb-master" / "medleydb" / "data" / "Metadata"
    source.mkdir(parents=True)
    (source / "A_Song_METADATA.yaml").write_text(yaml.safe_dump(metadata_of("A_Song", ["piano"])))
    server.files["master.zip"] = zipped(tmp_path / "source")
    settings = Settings(
        storage=tmp_path / "storage", medleydb=str(tmp_path), medleydb_metadata_url=server.url("master.zip")
    )
    table, problems = MedleyDB().read_metadata(settings, quiet)
    assert (list(table["id"]), problems) == (["A_Song"], [])


@pytest.mark.parametrize("kind", ["zip path", "tar path", "tar link"])
def test_members_that_lead_out_of_the_folder_are_refused(tmp_path: Path, kind: str) -> None:
    archive = tmp_path / "evil"
    if kind == "zip path":
        with zipfile.ZipFile(archive, "w") as packed:
            packed.writestr("../outside.txt", "gotcha")
    else:
        with tarfile.open(archive, "w") as packed_tar:
            member = tarfile.TarInfo("../outside.txt" if kind == "tar path" else "link")
            if kind == "tar link":
                member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
            packed_tar.addfile(member, io.BytesIO())
    (tmp_path / "in").mkdir()
    with pytest.raises(InputError, match="inside the archive's own folder"):
        extract_archive(archive, tmp_path / "in")
    assert list((tmp_path / "in").iterdir()) == []
    assert not (tmp_path / "outside.txt").exists()


def test_a_damaged_archive_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as packed:
        packed.writestr("a.bin", CONTENT)
    damaged = bytearray((tmp_path / "a.zip").read_bytes())
    damaged[5000:5100] = bytes(100)
    (tmp_path / "a.zip").write_bytes(damaged)
    with pytest.raises(InputError, match="undamaged"):
        extract_archive(tmp_path / "a.zip", tmp_path / "out")
