from __future__ import annotations

import hashlib
import io
import json
import re
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from loopback_server import Answer, LoopbackServer, loopback_server
from pydantic import SecretStr
from pydantic.fields import FieldInfo
from small_datasets import metadata_of, write_hq_dataset, write_medleydb_track

from data.datasets.base import contents_of, fetched
from data.datasets.medleydb import MedleyDB
from data.datasets.musdb18 import Musdb18
from data.download import RemoteFile, remote_files
from data.errors import InputError
from data.settings import Settings

SECRET = "s3cr3t-t0k3n"

pytestmark = pytest.mark.usefixtures("pauses")


def zipped(folder: Path) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for path in folder.rglob("*"):
            archive.write(path, path.relative_to(folder))
    return packed.getvalue()


# Records


def record(**changes: object) -> dict[str, object]:
    entry = {
        "key": "MedleyDB.zip",
        "size": 5,
        "checksum": "md5:0123456789abcdef0123456789abcdef",
        "links": {"self": "https://zenodo.org/api/records/1/files/MedleyDB.zip/content"},
    }
    return {**entry, **changes}


@pytest.mark.parametrize(
    "files",
    [
        {"files": [record()]},
        {"files": {"enabled": True, "entries": {"MedleyDB.zip": record()}}},
        {"files": {"entries": {"MedleyDB.zip": {k: v for k, v in record().items() if k != "key"}}}},
        {"entries": [record(links={"self": "https://zenodo.org/about", "content": record()["links"]["self"]})]},  # type: ignore[index]
    ],
    ids=["list", "mapping", "mapping without keys", "entries with content"],
)
def test_the_files_of_a_record_are_listed(server: LoopbackServer, files: dict[str, object]) -> None:
    url = server.put("record", Answer(status=503), Answer(json.dumps(files).encode()))
    link = "https://zenodo.org/api/records/1/files/MedleyDB.zip/content"
    expected = RemoteFile("MedleyDB.zip", link, 5, ("md5", "0123456789abcdef0123456789abcdef"))
    assert remote_files(url, SECRET) == [expected]
    assert server.tokens == [f"Bearer {SECRET}"] * 2


@pytest.mark.parametrize(
    "body",
    [
        b"<html>",
        b"[]",
        b"null",
        b"{}",
        b'{"files": []}',
        b'{"files": {}}',
        b'{"files": 5}',
        b'{"files": null}',
        b'{"files": ["a"]}',
        b'{"files": {"entries": {"a": 5}}}',
        json.dumps({"files": [record(), record(key="../a.zip")]}).encode(),
        json.dumps({"files": [record(key="..")]}).encode(),
        json.dumps({"files": [record(key="a\\b")]}).encode(),
        json.dumps({"files": [record(key=".zip")]}).encode(),
        json.dumps({"files": [record(key="-o.zip")]}).encode(),
        json.dumps({"files": [record(key="a\nb.zip")]}).encode(),
        json.dumps({"files": [record(key="a" * 300 + ".zip")]}).encode(),
        json.dumps({"files": [record(size=-1)]}).encode(),
        json.dumps({"files": [record(checksum="0123")]}).encode(),
        json.dumps({"files": [record(links={})]}).encode(),
        json.dumps({"files": [record(links={"self": 1})]}).encode(),
    ],
)
def test_a_record_without_usable_files_is_refused(server: LoopbackServer, body: bytes) -> None:
    with pytest.raises(InputError, match="record ") as caught:
        remote_files(server.put("record", body) + "?token=s1gn4ture", None)
    assert "request access" in caught.value.remedy
    assert "ISOLATION_DOWNLOAD_TOKEN" in caught.value.remedy
    assert "s1gn4ture" not in str(caught.value)


@pytest.mark.parametrize(("code", "times"), [(403, 1), (404, 1), (500, 6)])
def test_a_record_that_is_refused_is_an_error(server: LoopbackServer, code: int, times: int) -> None:
    with pytest.raises(InputError, match=f"HTTP {code}"):
        remote_files(server.url(str(code)), None)
    assert len(server.requests) == times


# Datasets


def test_musdb18_is_downloaded_unpacked_and_read(
    server: LoopbackServer, tmp_path: Path, quiet: Callable[[str], None]
) -> None:
    url = server.put("musdb.zip", zipped(write_hq_dataset(tmp_path / "source", train=2, test=1, seconds=0.5)))
    settings = Settings(
        storage=tmp_path / "storage", musdb18="sample", musdb18_url=url, download_token=SecretStr(SECRET)
    )
    folder = Musdb18().obtain(settings, quiet)
    assert len(Musdb18().discover(folder)) == 3
    assert not list(folder.glob("*.zip"))
    Musdb18().obtain(settings, quiet)
    assert server.tokens == [None]  # the second time it is there already; the token is for MedleyDB's records
    assert SECRET not in (folder / "record.json").read_text()


def test_something_that_is_no_archive_is_refused_and_nothing_is_kept(
    server: LoopbackServer, tmp_path: Path, quiet: Callable[[str], None]
) -> None:
    url = server.put("good", b"no archive at all")
    settings = Settings(storage=tmp_path / "storage", musdb18="sample", musdb18_url=url)
    with pytest.raises(InputError, match="zip or tar"):
        Musdb18().obtain(settings, quiet)
    assert not any(path.is_file() for path in (tmp_path / "storage").rglob("*"))


def test_medleydb_is_downloaded_from_its_records_with_a_token(
    server: LoopbackServer, tmp_path: Path, quiet: Callable[[str], None]
) -> None:
    files = {}
    for number, name in (("1649325", "Ann_One"), ("1715175", "Bob_Two")):
        write_medleydb_track(tmp_path / f"V{number}", tmp_path / "labels", name, ["piano"], seconds=0.2)
        packed = zipped(tmp_path / f"V{number}")
        url = server.put(f"MedleyDB_{number}.zip", Answer(packed))
        checksum = "md5:" + hashlib.md5(packed).hexdigest()
        entry = {"key": f"MedleyDB_{number}.zip", "size": len(packed), "checksum": checksum, "links": {"self": url}}
        listing = {"files": [entry, entry | {"key": "README.txt"}]}
        files[number] = server.put(number, Answer(json.dumps(listing).encode()))
    settings = Settings(
        storage=tmp_path / "storage",
        medleydb="download",
        records_url=files["1649325"].rpartition("/")[0],
        download_token=SecretStr(SECRET),
    )
    folder = MedleyDB().obtain(settings, quiet)
    assert [track.slug for track in MedleyDB().discover(folder)] == ["ann-one", "bob-two"]
    assert {request.headers.get("Authorization") for request in server.requests} == {f"Bearer {SECRET}"}
    assert not list((tmp_path / "storage").rglob("*.zip"))
    for path in (tmp_path / "storage").rglob("*.json"):
        assert SECRET not in path.read_text()
    server.requests.clear()
    only = MedleyDB().obtain(settings.model_copy(update={"medleydb": "download-v2"}), quiet)
    assert [track.slug for track in MedleyDB().discover(only)] == ["bob-two"]
    assert all(".zip" not in request.path for request in server.requests)  # unpacked before


def test_medleydb_metadata_is_fetched_when_no_folder_is_named(
    server: LoopbackServer, tmp_path: Path, quiet: Callable[[str], None]
) -> None:
    source = tmp_path / "source" / "medleydb-master" / "medleydb" / "data" / "Metadata"
    source.mkdir(parents=True)
    (source / "A_Song_METADATA.yaml").write_text(yaml.safe_dump(metadata_of("A_Song", ["piano"])))
    url = server.put("master.zip", zipped(tmp_path / "source"))
    settings = Settings(
        storage=tmp_path / "storage",
        medleydb=str(tmp_path),
        medleydb_metadata_url=url,
        records_url=server.url("records"),
        download_token=SecretStr(SECRET),
    )
    table, problems = MedleyDB().read_labels(settings, quiet)
    assert (list(table["id"]), problems) == (["A_Song"], [])
    assert server.tokens == [None]


def test_metadata_of_the_pinned_commit_is_verified_by_its_content(
    server: LoopbackServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quiet: Callable[[str], None]
) -> None:
    source = tmp_path / "source" / "medleydb-commit"
    (source / "data").mkdir(parents=True)
    labels, gains = source / "data" / "A_Song_METADATA.yaml", source / "mixing_coefficients.yaml"
    labels.write_text(yaml.safe_dump(metadata_of("A_Song", ["piano"])))
    gains.write_text("A_Song: {1: 0.5}")
    (source / "README.md").write_text("what is not read may change")
    pinned = Settings().medleydb_metadata_url
    assert re.fullmatch(r"https://github\.com/marl/medleydb/archive/[0-9a-f]{40}\.zip", pinned)
    monkeypatch.setattr("data.datasets.medleydb._METADATA_CONTENTS", contents_of(source, "*.yaml"))
    monkeypatch.setitem(
        Settings.model_fields, "medleydb_metadata_url", FieldInfo(default=server.url("pinned"), annotation=str)
    )
    settings = Settings(
        storage=tmp_path / "storage", medleydb=str(tmp_path), medleydb_metadata_url=server.url("pinned")
    )
    gains.write_text("A_Song: {1: 0.6}")
    server.put("pinned", zipped(tmp_path / "source"))
    with pytest.raises(InputError, match="metadata") as caught:
        MedleyDB().read_labels(settings, quiet)
    assert "ISOLATION_MEDLEYDB_METADATA" in caught.value.remedy
    assert not list((tmp_path / "storage").rglob("*.zip"))
    gains.write_text("A_Song: {1: 0.5}")
    (source / "README.md").write_text("and does")
    server.put("pinned", zipped(tmp_path / "source"))
    table, _ = MedleyDB().read_labels(settings, quiet)
    assert list(table["published_gain"]) == [0.5]


@pytest.mark.parametrize("change", ["renamed", "removed", "added", "changed"])
def test_the_checksum_of_contents_tells_every_change_but_where_files_lie(tmp_path: Path, change: str) -> None:
    for name in ("a.yaml", "b.yaml"):
        (tmp_path / name).write_text(name)
    before = contents_of(tmp_path, "*.yaml", "a*")
    (tmp_path / "deep").mkdir()
    (tmp_path / "b.yaml").rename(tmp_path / "deep" / "b.yaml")
    (tmp_path / "other.txt").touch()
    assert contents_of(tmp_path, "*.yaml") == before
    file = tmp_path / "a.yaml"
    {
        "renamed": lambda: file.rename(tmp_path / "c.yaml"),
        "removed": file.unlink,
        "added": (tmp_path / "d.yaml").touch,
        "changed": lambda: file.write_text("A.yaml"),
    }[change]()
    assert contents_of(tmp_path, "*.yaml") != before


def test_an_archive_that_was_left_of_something_else_is_not_taken(
    server: LoopbackServer, tmp_path: Path, quiet: Callable[[str], None]
) -> None:
    packed = zipped(write_hq_dataset(tmp_path / "source", train=1, test=1, seconds=0.5))
    settings = Settings(storage=tmp_path / "storage")
    left = tmp_path / "storage/musdb18/downloads/a.zip"
    left.parent.mkdir(parents=True)
    left.write_bytes(zipped(tmp_path))
    file = RemoteFile("a.zip", server.put("a.zip", packed), None, ("md5", hashlib.md5(packed).hexdigest()))
    assert (fetched(settings, "musdb18", file, quiet) / "train").is_dir()
    assert len(server.requests) == 1


def test_a_file_on_another_server_than_the_records_gets_no_token(
    server: LoopbackServer, tmp_path: Path, quiet: Callable[[str], None]
) -> None:
    write_medleydb_track(tmp_path / "source", tmp_path / "labels", "Ann_One", ["piano"], seconds=0.2)
    packed = zipped(tmp_path / "source")
    with loopback_server() as mirror:
        links = {"Medley.v1.zip": mirror.put("one.zip", packed), "Medley.v2.zip": server.put("two.zip", packed)}
        checksum = "md5:" + hashlib.md5(packed).hexdigest()
        entries = [
            {"key": key, "size": len(packed), "checksum": checksum, "links": {"self": url}}
            for key, url in links.items()
        ]
        listing = server.put("1649325", json.dumps({"files": entries}).encode())
        settings = Settings(
            storage=tmp_path / "storage",
            medleydb="download-v1",
            records_url=listing.rpartition("/")[0],
            download_token=SecretStr(SECRET),
        )
        folder = MedleyDB().obtain(settings, quiet)
        assert mirror.tokens == [None]
        assert server.tokens == [f"Bearer {SECRET}"] * 2
    assert sorted(path.name for path in folder.iterdir()) == ["Medley.v1", "Medley.v2"]
