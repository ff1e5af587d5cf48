from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import random
import resource
import stat
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from data.archives import extract_archive, is_archive
from data.errors import InputError

CONTENT = bytes(range(256)) * 5000
OTHER = CONTENT[::-1]
HALF = len(CONTENT) // 2


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An empty folder to unpack into."""
    (tmp_path / "in").mkdir()
    return tmp_path / "in"


def write_zip(path: Path, *members: tuple[str | zipfile.ZipInfo, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, content in members:
            packed.writestr(name, content, zipfile.ZIP_DEFLATED)
    return path


def write_tar(path: Path, *members: tuple[str | tarfile.TarInfo, bytes], mode: str = "w") -> Path:
    with tarfile.open(path, mode) as packed:  # type: ignore[call-overload]
        for named, content in members:
            member = tarfile.TarInfo(named) if isinstance(named, str) else named
            member.size = len(content)
            packed.addfile(member, io.BytesIO(content))
    return path


def special_zip(kind: int) -> zipfile.ZipInfo:
    member = zipfile.ZipInfo("odd")
    member.create_system, member.external_attr = 3, (kind | 0o644) << 16
    return member


def special_tar(kind: bytes, **fields: object) -> tarfile.TarInfo:
    member = tarfile.TarInfo("odd")
    member.type = kind
    for name, value in fields.items():
        setattr(member, name, value)
    return member


@pytest.mark.parametrize("suffix", ["zip", "tar", "tar.gz", "tar.bz2", "tar.xz"])
def test_an_archive_is_unpacked_with_ordinary_permissions(tmp_path: Path, folder: Path, suffix: str) -> None:
    archive = tmp_path / f"a.{suffix}"
    if suffix == "zip":
        locked, suid = special_zip(stat.S_IFREG), special_zip(stat.S_IFREG)
        locked.filename, suid.filename = "top/locked.wav", "top/deep/suid.wav"
        locked.external_attr, suid.external_attr = stat.S_IFREG << 16, (stat.S_IFREG | 0o6777) << 16
        write_zip(archive, ("top/", b""), (locked, CONTENT), (suid, OTHER), ("top/empty", b""))
    else:
        top = special_tar(tarfile.DIRTYPE, name="./", mode=0)
        locked_tar = special_tar(tarfile.REGTYPE, name="./top/locked.wav", mode=0)
        suid_tar = special_tar(tarfile.REGTYPE, name="./top/deep/suid.wav", mode=0o6777)
        members = ((top, b""), (locked_tar, CONTENT), (suid_tar, OTHER), ("top/empty", b""))
        write_tar(archive, *members, mode="w:" + suffix.partition(".")[2])
    said: list[str] = []
    extract_archive(archive, folder, log=said.append)
    assert (folder / "top/locked.wav").read_bytes() == CONTENT
    assert (folder / "top/deep/suid.wav").read_bytes() == OTHER
    assert (folder / "top/empty").read_bytes() == b""
    (folder / "ordinary").touch()
    ordinary = (folder / "ordinary").stat().st_mode
    assert {path.stat().st_mode for path in folder.rglob("*") if path.is_file()} == {ordinary}
    assert all(os.access(path, os.R_OK | os.W_OK | os.X_OK) for path in folder.rglob("*") if path.is_dir())
    assert said[-1] == f"unpacked 3 files of 2.6 MB from a.{suffix}"


LEADING_OUT = [
    "../outside",
    "a/../../outside",
    "a/..",
    "..",
    "/outside",
    "//outside",
    "C:/outside",
    "C:outside",
    "..\\outside",
    "a\\..\\..\\outside",
    "\\\\host\\share",
    "a\\b",
]
KINDS = {"fifo": stat.S_IFIFO, "link": stat.S_IFLNK, "device": stat.S_IFCHR, "block": stat.S_IFBLK}
TYPES = {
    "fifo": tarfile.FIFOTYPE,
    "link": tarfile.SYMTYPE,
    "hard link": tarfile.LNKTYPE,
    "device": tarfile.CHRTYPE,
    "block": tarfile.BLKTYPE,
    "unknown": b"V",
}


def refuses(archive: Path, folder: Path, expected: str, member: str) -> InputError:
    """Check that the archive is refused for its member, that nothing is unpacked, and nothing beside the folder."""
    before = names(folder.parent)
    with pytest.raises(InputError, match=expected) as caught:
        extract_archive(archive, folder)
    assert repr(member) in caught.value.found
    assert caught.value.file == str(archive)
    assert names(folder) == []
    assert names(folder.parent) == before
    return caught.value


@pytest.mark.parametrize("write", [write_zip, write_tar])
@pytest.mark.parametrize("name", LEADING_OUT)
def test_members_that_lead_out_of_the_folder_are_refused(
    tmp_path: Path, folder: Path, name: str, write: Callable[..., Path]
) -> None:
    archive = write(tmp_path / "evil", ("good", b"good"), (name, b"gotcha"))
    refuses(archive, folder, "inside the archive's own folder", name)


@pytest.mark.parametrize("kind", KINDS)
def test_special_members_of_a_zip_are_refused(tmp_path: Path, folder: Path, kind: str) -> None:
    archive = write_zip(tmp_path / "evil", ("good", b"good"), (special_zip(KINDS[kind]), b"/etc/passwd"))
    refuses(archive, folder, "inside the archive's own folder", "odd")


@pytest.mark.parametrize("target", ["/etc/passwd", "../outside", "good"])
@pytest.mark.parametrize("kind", TYPES)
def test_special_members_of_a_tar_are_refused(tmp_path: Path, folder: Path, kind: str, target: str) -> None:
    member = special_tar(TYPES[kind], linkname=target if "link" in kind else "")
    archive = write_tar(tmp_path / "evil", ("good", b"good"), (member, b""))
    refuses(archive, folder, "inside the archive's own folder", "odd")


def test_encrypted_members_are_refused(tmp_path: Path, folder: Path) -> None:
    content = bytearray(write_zip(tmp_path / "evil", ("odd", b"good")).read_bytes())
    content[content.index(b"PK\3\4") + 6] |= 1
    content[content.index(b"PK\1\2") + 8] |= 1
    (tmp_path / "evil").write_bytes(content)
    assert "encrypted" in refuses(tmp_path / "evil", folder, "unencrypted", "odd").found


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("write", [write_zip, write_tar])
@pytest.mark.parametrize(
    ("first", "second"), [("odd", "odd"), ("odd", "./odd"), ("odd", "odd/below"), ("odd/below", "odd")]
)
def test_members_in_each_others_place_are_refused(
    tmp_path: Path, folder: Path, write: Callable[..., Path], first: str, second: str
) -> None:
    archive = write(tmp_path / "evil", (first, b"one"), (second, b"two"))
    refuses(archive, folder, "each once", second)


@pytest.mark.parametrize("write", [write_zip, write_tar])
def test_a_name_that_is_too_long_is_refused(tmp_path: Path, folder: Path, write: Callable[..., Path]) -> None:
    refuses(write(tmp_path / "evil", ("x" * 300, b"")), folder, "names that can be", "x" * 300)


def test_several_archives_share_a_folder_but_replace_nothing(tmp_path: Path, folder: Path) -> None:
    extract_archive(write_zip(tmp_path / "1", ("Audio/a", b"a")), folder)
    extract_archive(write_tar(tmp_path / "2", ("Audio/b", b"b")), folder)
    with pytest.raises(InputError, match="'Audio/a'"):
        extract_archive(write_zip(tmp_path / "3", ("Audio/c", b"c"), ("New/d", b"d"), ("Audio/a", b"?")), folder)
    assert sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*")) == ["Audio", "Audio/a", "Audio/b"]
    assert (folder / "Audio/a").read_bytes() == b"a"


@pytest.fixture
def small_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("data.archives._UNPACKED_ALWAYS", 1 << 20)


@pytest.mark.usefixtures("small_limit")
@pytest.mark.parametrize("pieces", [1, 5])
@pytest.mark.parametrize("suffix", ["zip", "gz", "bz2", "xz"])
def test_a_bomb_is_refused(tmp_path: Path, folder: Path, suffix: str, pieces: int) -> None:
    members = [(f"odd{count}", bytes(2 * (1 << 20) // pieces)) for count in range(pieces)]
    archive = tmp_path / "bomb"
    write_zip(archive, *members) if suffix == "zip" else write_tar(archive, *members, mode=f"w:{suffix}")
    assert archive.stat().st_size < 10_000
    # A zip says all before the first member; a tar is refused at the member that is too much.
    refuses(archive, folder, "unpacks to at most 1.0 MB", f"odd{0 if suffix == 'zip' else pieces // 2}")


def test_silence_is_no_bomb(tmp_path: Path, folder: Path) -> None:
    extract_archive(write_zip(tmp_path / "a.zip", ("silence", bytes(3 << 20))), folder)
    assert (folder / "silence").stat().st_size == 3 << 20


@pytest.mark.usefixtures("small_limit")
def test_a_bomb_that_lies_about_its_size_unpacks_to_nothing(tmp_path: Path, folder: Path) -> None:
    content = bytearray(write_zip(tmp_path / "bomb", ("odd", bytes(8 << 20))).read_bytes())
    central = content.index(b"PK\1\2")
    content[central + 24 : central + 28] = (1000).to_bytes(4, "little")
    (tmp_path / "bomb").write_bytes(content)
    with pytest.raises(InputError, match="undamaged"):
        extract_archive(tmp_path / "bomb", folder)
    assert names(folder) == []


@pytest.mark.parametrize("size", [1 << 40, -512])
def test_a_tar_that_claims_an_impossible_size_is_refused(tmp_path: Path, folder: Path, size: int) -> None:
    member = special_tar(tarfile.REGTYPE, pax_headers={"size": str(size)})
    archive = write_tar(tmp_path / "evil", (member, b"small"))
    refuses(archive, folder, "unpacks to at most", "odd")


def test_a_tar_whose_headers_would_fill_the_memory_is_refused(tmp_path: Path, folder: Path) -> None:
    archive = write_tar(tmp_path / "evil", ("good", b""), ("x" * (2 << 20), b""), mode="w:gz")
    with pytest.raises(InputError, match="a header of"):
        extract_archive(archive, folder)


@pytest.mark.parametrize("write", [write_zip, write_tar])
def test_too_many_members_are_refused(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, write: Callable[..., Path]
) -> None:
    monkeypatch.setattr("data.archives._MEMBERS", 3)
    members = [(name, b"") for name in "abcd"]
    refuses(write(tmp_path / "many", *members), folder, "at most 3 members", "d")
    extract_archive(write(tmp_path / "few", *members[:3]), folder)


@pytest.mark.parametrize("write", [write_zip, write_tar])
def test_more_members_than_a_dataset_of_that_size_has_are_refused(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, write: Callable[..., Path]
) -> None:
    monkeypatch.setattr("data.archives._MEMBERS_ALWAYS", 3)
    empty = [(f"empty{number}", b"") for number in range(100)]
    with pytest.raises(InputError, match="members in an archive of its size"):
        extract_archive(write(tmp_path / "many", *empty), folder)
    assert names(folder) == []
    full = [(f"full{number}", os.urandom(1000)) for number in range(100)]
    extract_archive(write(tmp_path / "full", *full), folder)


@pytest.mark.parametrize("write", [write_zip, write_tar])
@pytest.mark.parametrize("deep", ["a/" * 1500 + "x", "a/" * 1500, "a/" * 51 + "x"])
def test_folders_that_are_too_deep_are_refused(
    tmp_path: Path, folder: Path, deep: str, write: Callable[..., Path]
) -> None:
    archive = write(tmp_path / "deep", ("good", b"good"), (deep, b""))
    with pytest.raises(InputError, match="50 folders deep"):
        extract_archive(archive, folder)
    assert names(folder) == []


@pytest.mark.parametrize("name", ["", ".", "/", "//", "./."])
def test_members_of_a_zip_without_a_name_are_refused(tmp_path: Path, folder: Path, name: str) -> None:
    class Nameless(zipfile.ZipInfo):
        def is_dir(self) -> bool:
            return False

    member = Nameless("N")
    member.filename = name  # only now: the writer would mend it
    archive = write_zip(tmp_path / "evil", ("good", b"good"), (member, b"gotcha"))
    refuses(archive, folder, "inside the archive's own folder", name)


@pytest.mark.parametrize("name", ["", ".", "./."])
def test_members_of_a_tar_without_a_name_are_refused(tmp_path: Path, folder: Path, name: str) -> None:
    archive = write_tar(tmp_path / "evil", ("good", b"good"), (name, b"gotcha"))
    with pytest.raises(InputError, match=r"inside the archive's own folder|undamaged"):
        extract_archive(archive, folder)
    assert names(folder) == []


def test_a_file_with_holes_is_refused(tmp_path: Path, folder: Path) -> None:
    archive = write_tar(tmp_path / "evil", (special_tar(tarfile.GNUTYPE_SPARSE), b""))
    refuses(archive, folder, "inside the archive's own folder", "odd")


@pytest.mark.parametrize("kind", ["zip", "tar", "gz", "bz2", "xz"])
def test_an_archive_damaged_anywhere_is_unpacked_or_refused(tmp_path: Path, folder: Path, kind: str) -> None:
    members = (("top/a.wav", CONTENT[:600]), ("top/" + "é" * 120, OTHER[:50]), ("empty", b""))
    sound = tmp_path / "sound"
    write_zip(sound, *members) if kind == "zip" else write_tar(sound, *members, mode=f"w:{kind.replace('tar', '')}")
    chance = random.Random(kind)
    refused = 0
    for round in range(120):
        content = bytearray(sound.read_bytes())
        for _ in range(chance.choice((1, 1, 4))):
            position = chance.randrange(len(content))
            content[position : position + chance.choice((1, 4))] = chance.choice((b"\xff" * 4, b"\0" * 4, b"7", b""))
        (tmp_path / "damaged").write_bytes(content)
        target = folder / str(round)
        try:
            extract_archive(tmp_path / "damaged", target)
        except InputError:
            refused += 1
            assert names(target) == []
    assert refused > 20
    assert names(tmp_path) == ["damaged", "in", "sound"]


@pytest.mark.parametrize("write", [write_zip, write_tar])
def test_an_archive_that_does_not_fit_on_the_disk_is_refused(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, write: Callable[..., Path]
) -> None:
    archive = write(tmp_path / "a", ("one", CONTENT), ("two", CONTENT))
    free = iter([1_300_000, *[20_000] * 20])
    monkeypatch.setattr("data.transfer.shutil.disk_usage", lambda _: SimpleNamespace(free=next(free)))
    with pytest.raises(InputError, match="ISOLATION_STORAGE") as caught:
        extract_archive(archive, folder)
    assert "free" in caught.value.found
    assert names(folder) == []


@pytest.mark.parametrize("write", [write_zip, write_tar])
def test_a_disk_that_is_full_while_unpacking_is_told(tmp_path: Path, folder: Path, write: Callable[..., Path]) -> None:
    archive = write(tmp_path / "a", ("one", CONTENT), ("two", CONTENT))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (HALF, hard))
    try:
        with pytest.raises(InputError, match="File too large"):
            extract_archive(archive, folder)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert names(folder) == []


def plain_tar() -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for name in ("first", "second"):
            member = tarfile.TarInfo(name)
            member.size = len(CONTENT)
            archive.addfile(member, io.BytesIO(CONTENT))
    return packed.getvalue()


def flipped(content: bytes, position: int) -> bytes:
    return content[:position] + bytes([content[position] ^ 255]) + content[position + 1 :]


def one_zip() -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("a.bin", CONTENT)
    return packed.getvalue()


DAMAGED = {
    "nothing": lambda: b"",
    "no archive": lambda: CONTENT,
    "zip content": lambda: flipped(one_zip(), 5000),
    "zip cut": lambda: one_zip()[:-30],
    "zip without its beginning": lambda: one_zip()[700_000:],
    "tar cut in a file": lambda: plain_tar()[:700_000],
    "tar cut between files": lambda: plain_tar()[: 512 + 1_280_000],
    "tar header": lambda: flipped(plain_tar(), 512 + 1_280_000 + 10),
    "gzip cut": lambda: gzip.compress(plain_tar())[:-200],
    "gzip checksum": lambda: flipped(gzip.compress(plain_tar()), -5 % len(gzip.compress(plain_tar()))),
    "gzip content": lambda: flipped(gzip.compress(plain_tar()), 3000),
    "bzip2 content": lambda: flipped(bz2.compress(plain_tar()), 3000),
    "bzip2 cut": lambda: bz2.compress(plain_tar())[:-200],
    "xz content": lambda: flipped(lzma.compress(plain_tar()), 300),
    "xz cut": lambda: lzma.compress(plain_tar())[:-20],
}


@pytest.mark.parametrize("kind", DAMAGED)
def test_a_damaged_archive_is_refused_and_nothing_is_kept(tmp_path: Path, folder: Path, kind: str) -> None:
    (tmp_path / "damaged").write_bytes(DAMAGED[kind]())
    with pytest.raises(InputError, match="undamaged"):
        extract_archive(tmp_path / "damaged", folder)
    assert names(folder) == []


def test_an_archive_without_a_file_is_refused(tmp_path: Path, folder: Path) -> None:
    zipfile.ZipFile(tmp_path / "a.zip", "w").close()
    tarfile.open(tmp_path / "a.tar", "w").close()
    folders = write_zip(tmp_path / "folders.zip", ("a/", b""), ("a/b/", b""))
    for archive in (tmp_path / "a.zip", tmp_path / "a.tar", folders):
        with pytest.raises(InputError, match="with files in it") as refused:
            extract_archive(archive, folder)
        assert refused.value.file == str(archive)
        assert names(folder) == []


def test_a_zip_that_unpacks_itself_is_a_zip(tmp_path: Path, folder: Path) -> None:
    archive = write_zip(tmp_path / "a.zip", ("a.wav", CONTENT))
    archive.write_bytes(b"#!/bin/sh\nexit 1\n" * 100 + archive.read_bytes())
    extract_archive(archive, folder)
    assert (folder / "a.wav").read_bytes() == CONTENT


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress])
def test_a_packed_tar_cut_anywhere_is_an_archive_or_none_and_never_more(
    tmp_path: Path, folder: Path, pack: Callable[[bytes], bytes]
) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        header = tarfile.TarInfo("a.wav")
        header.size = 2000
        tar.addfile(header, io.BytesIO(random.Random(1).randbytes(2000)))
    packed = pack((tmp_path / "a.tar").read_bytes())
    for length in range(0, len(packed), 7):
        (tmp_path / "cut").write_bytes(packed[:length])
        if is_archive(tmp_path / "cut"):
            with pytest.raises(InputError):
                extract_archive(tmp_path / "cut", folder)
    assert names(folder) == []


def test_the_place_in_which_an_archive_is_unpacked_is_not_told(tmp_path: Path, folder: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        tar.addfile(tarfile.TarInfo("../evil"))
    with pytest.raises(InputError, match="land outside of it") as refused:
        extract_archive(tmp_path / "a.tar", folder)
    assert str(folder) not in str(refused.value)
