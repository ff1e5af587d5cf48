from __future__ import annotations

import base64
import email.utils
import hashlib
import io
import resource
import signal
import subprocess
import sys
import traceback
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
from loopback_server import Answer, LoopbackServer, loopback_server

from data.download import download
from data.errors import InputError

CONTENT = bytes(range(256)) * 5000
OTHER = CONTENT[::-1]
SHA256 = ("sha256", hashlib.sha256(CONTENT).hexdigest())
HALF = len(CONTENT) // 2
PARTIAL, NOTE = ".partial-download-a.bin", ".partial-download-a.bin.json"
SECRET = "s3cr3t-t0k3n"

# Pauses between attempts are counted, not slept.
pytestmark = pytest.mark.usefixtures("pauses")


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def leave_half(server: LoopbackServer, folder: Path, etag: str = '"first"', name: str = "file") -> str:
    """What an interrupted call leaves: half of CONTENT beside its note. Returns the address."""
    url = server.put(name, Answer(CONTENT, etag=etag, cut=HALF), Answer(status=404))
    with pytest.raises(InputError, match="HTTP 404"):
        download(url, folder / "a.bin")
    assert names(folder) == [PARTIAL, NOTE]
    assert (folder / PARTIAL).read_bytes() == CONTENT[:HALF]
    server.requests.clear()
    return url


# Whole and verified, or not at all


def test_a_download_is_whole_and_verified(server: LoopbackServer, tmp_path: Path) -> None:
    said: list[str] = []
    url = server.put("good", CONTENT)
    path = download(url, tmp_path / "a.bin", checksum=SHA256, size=len(CONTENT), token=SECRET, log=said.append)
    assert path.read_bytes() == CONTENT
    assert names(tmp_path) == ["a.bin"]
    assert server.tokens == [f"Bearer {SECRET}"]
    assert server.requests[0].headers["Accept-Encoding"] == "identity"
    assert "Range" not in server.requests[0].headers
    percentages = [line for line in said if " % of " in line]
    assert percentages[-1] == "downloading a.bin: 100 % of 1.3 MB"
    assert len(percentages) <= 10


@pytest.mark.parametrize("body", [b"", CONTENT])
def test_a_server_need_not_say_the_size(server: LoopbackServer, tmp_path: Path, body: bytes) -> None:
    url = server.put("file", Answer(body, sized=False, etag=None))
    assert download(url, tmp_path / "a.bin").read_bytes() == body
    assert names(tmp_path) == ["a.bin"]


def test_a_terminal_gets_a_bar_and_no_lines(
    server: LoopbackServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = io.StringIO()
    terminal.isatty = lambda: True  # type: ignore[method-assign]
    monkeypatch.setattr(sys, "stderr", terminal)
    said: list[str] = []
    download(server.put("file", CONTENT), tmp_path / "a.bin", log=said.append)
    assert "downloading a.bin" in terminal.getvalue()
    assert said == []


@pytest.mark.parametrize("code", [401, 403, 404, 410, 418])
def test_a_refusal_is_an_error_at_once(server: LoopbackServer, tmp_path: Path, pauses: list[float], code: int) -> None:
    with pytest.raises(InputError) as caught:
        download(server.url(str(code)), tmp_path / "a.bin", token=SECRET)
    assert caught.value.found.startswith(f"HTTP {code}")
    assert ("ISOLATION_DOWNLOAD_TOKEN" in caught.value.remedy) == (code in (401, 403))
    assert ("access" in caught.value.remedy) == (code in (401, 403))
    assert (len(server.requests), pauses) == (1, [])
    assert names(tmp_path) == []


@pytest.mark.parametrize("code", [408, 429, 500, 503])
def test_a_failure_that_lasts_is_an_error_after_six_attempts(
    server: LoopbackServer, tmp_path: Path, pauses: list[float], code: int
) -> None:
    with pytest.raises(InputError, match=f"HTTP {code} .*6 times in a row"):
        download(server.url(str(code)), tmp_path / "a.bin")
    assert len(server.requests) == 6
    for pause, longest in zip(pauses, (1, 2, 4, 8, 16), strict=True):
        assert longest / 2 <= pause <= longest
    assert names(tmp_path) == []


def test_failures_that_pass_are_outlived(server: LoopbackServer, tmp_path: Path) -> None:
    said: list[str] = []
    url = server.put("file", Answer(status=500), Answer(status=502), Answer(CONTENT))
    assert download(url, tmp_path / "a.bin", checksum=SHA256, log=said.append).read_bytes() == CONTENT
    assert [request.status for request in server.requests] == [500, 502, 200]
    assert sum("trying again" in line for line in said) == 2


@pytest.mark.parametrize(
    ("asked", "shortest", "longest"),
    [("7", 7, 7), ("86400", 300, 300), (timedelta(days=1), 300, 300), (timedelta(days=-1), 0.5, 1), ("soon", 0.5, 1)],
)
def test_a_server_is_given_the_time_it_asks_for(
    server: LoopbackServer, tmp_path: Path, pauses: list[float], asked: str | timedelta, shortest: float, longest: float
) -> None:
    # The date is made here and not where the values are listed: processes that collect the tests side by side
    # must find the same names, whatever second it is.
    value = asked if isinstance(asked, str) else email.utils.format_datetime(datetime.now(UTC) + asked, usegmt=True)
    url = server.put("file", Answer(status=429, headers={"Retry-After": value}), Answer(CONTENT))
    download(url, tmp_path / "a.bin", checksum=SHA256)
    assert len(pauses) == 1
    assert shortest <= pauses[0] <= longest


def test_a_server_that_is_not_there_is_named(server: LoopbackServer, tmp_path: Path, pauses: list[float]) -> None:
    url = server.url("file")
    server._server.server_close()
    with pytest.raises(InputError, match="no usable answer") as caught:
        download(url, tmp_path / "a.bin")
    assert url in caught.value.what
    assert len(pauses) == 5


@pytest.mark.parametrize("url", ["nonsense", "ftp://127.0.0.1/file", "http://"])
def test_an_address_that_is_none_is_refused_at_once(tmp_path: Path, pauses: list[float], url: str) -> None:
    with pytest.raises(InputError, match="no usable answer"):
        download(url, tmp_path / "a.bin")
    assert pauses == []


def test_wrong_bytes_are_refused(server: LoopbackServer, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="md5 0000") as caught:
        download(server.put("file", CONTENT), tmp_path / "a.bin", checksum=("md5", "0000"))
    assert hashlib.md5(CONTENT).hexdigest() in caught.value.found
    assert len(server.requests) == 1
    assert names(tmp_path) == []


@pytest.mark.parametrize("sized", [True, False])
@pytest.mark.parametrize("difference", [-1, 1])
def test_another_size_is_refused(server: LoopbackServer, tmp_path: Path, sized: bool, difference: int) -> None:
    url = server.put("file", Answer(CONTENT, sized=sized))
    with pytest.raises(InputError, match=f"{len(CONTENT) + difference} bytes"):
        download(url, tmp_path / "a.bin", size=len(CONTENT) + difference)
    assert names(tmp_path) == []


# Going on where it broke off


def test_a_flaky_line_finishes_however_often_it_breaks(
    server: LoopbackServer, tmp_path: Path, pauses: list[float]
) -> None:
    said: list[str] = []
    url = server.put("file", *[Answer(CONTENT, cut=100_000)] * 12, Answer(CONTENT))
    path = download(url, tmp_path / "a.bin", checksum=SHA256, size=len(CONTENT), log=said.append)
    assert path.read_bytes() == CONTENT
    assert names(tmp_path) == ["a.bin"]
    assert [request.headers.get("Range") for request in server.requests] == [
        None,
        *(f"bytes={count * 100_000}-" for count in range(1, 13)),
    ]
    assert sum(request.sent for request in server.requests) == len(CONTENT)
    assert max(pauses) <= 1  # whatever moves on starts counting anew
    assert "a.bin: resuming at 1.2 MB of 1.3 MB" in said
    percentages = [line for line in said if " % of " in line]
    assert len(percentages) == len(set(percentages)) <= 10


def test_what_was_interrupted_is_continued_by_the_next_call(server: LoopbackServer, tmp_path: Path) -> None:
    leave_half(server, tmp_path)
    said: list[str] = []
    url = server.put("file", CONTENT)
    assert download(url, tmp_path / "a.bin", checksum=SHA256, log=said.append).read_bytes() == CONTENT
    (request,) = server.requests
    assert (request.headers["Range"], request.headers["If-Range"]) == (f"bytes={HALF}-", '"first"')
    assert (request.status, request.sent) == (206, len(CONTENT) - HALF)
    assert "a.bin: resuming at 640000 bytes of 1.3 MB" in said
    assert names(tmp_path) == ["a.bin"]


def test_what_a_killed_process_left_is_continued(server: LoopbackServer, tmp_path: Path) -> None:
    url = server.put("file", Answer(CONTENT, stall=HALF), Answer(CONTENT))
    code = "import sys, pathlib; from data.download import download; download(sys.argv[1], pathlib.Path(sys.argv[2]))"
    root = Path(__file__).parents[2]
    with subprocess.Popen([sys.executable, "-c", code, url, str(tmp_path / "a.bin")], cwd=root) as process:
        while process.poll() is None:
            if (tmp_path / PARTIAL).exists() and (tmp_path / PARTIAL).stat().st_size == HALF:
                with pytest.raises(InputError, match="another process"):
                    download(url, tmp_path / "a.bin")
                process.send_signal(signal.SIGKILL)
                process.wait()
    assert process.returncode == -signal.SIGKILL
    assert names(tmp_path) == [PARTIAL, NOTE]
    assert download(url, tmp_path / "a.bin", checksum=SHA256).read_bytes() == CONTENT
    assert [request.headers.get("Range") for request in server.requests] == [None, f"bytes={HALF}-"]
    assert server.requests[1].sent == len(CONTENT) - HALF


def test_a_modification_time_will_do_where_there_is_no_strong_tag(server: LoopbackServer, tmp_path: Path) -> None:
    answer = {"etag": 'W/"weak"', "modified": "Mon, 05 Jan 2026 10:00:00 GMT"}
    url = server.put("file", Answer(CONTENT, cut=HALF, **answer), Answer(CONTENT, **answer))  # type: ignore[arg-type]
    assert download(url, tmp_path / "a.bin", checksum=SHA256).read_bytes() == CONTENT
    assert server.requests[1].headers["If-Range"] == answer["modified"]
    assert server.requests[1].status == 206


def test_what_cannot_be_told_apart_is_not_continued(server: LoopbackServer, tmp_path: Path) -> None:
    weak = Answer(CONTENT, etag='W/"weak"')
    url = server.put("file", Answer(CONTENT, etag='W/"weak"', cut=HALF), weak)
    assert download(url, tmp_path / "a.bin").read_bytes() == CONTENT
    assert [request.headers.get("Range") for request in server.requests] == [None, None]


@pytest.mark.parametrize(
    "answers",
    [
        [Answer(CONTENT, ranges=False)],
        [Answer(CONTENT, content_range="bytes 0-9/1280000"), Answer(CONTENT)],
        [Answer(CONTENT, content_range=f"bytes {HALF + 1}-1279999/1280000"), Answer(CONTENT)],
        [Answer(CONTENT, content_range=f"bytes {HALF}-1279999/1280001"), Answer(CONTENT)],
        [Answer(CONTENT, content_range="nonsense"), Answer(CONTENT)],
        [Answer(CONTENT, status=416), Answer(CONTENT)],
    ],
    ids=["whole file", "start", "offset", "total", "unreadable", "416"],
)
def test_a_server_that_cannot_go_on_sends_all_of_it(
    server: LoopbackServer, tmp_path: Path, answers: list[Answer]
) -> None:
    leave_half(server, tmp_path)
    url = server.put("file", *answers)
    assert download(url, tmp_path / "a.bin").read_bytes() == CONTENT
    assert server.requests[0].headers["Range"] == f"bytes={HALF}-"
    assert names(tmp_path) == ["a.bin"]


@pytest.mark.parametrize("if_range", [True, False])
def test_a_file_that_changed_in_between_is_fetched_from_zero(
    server: LoopbackServer, tmp_path: Path, if_range: bool
) -> None:
    changed = Answer(OTHER, etag='"second"', if_range=if_range)
    url = server.put("file", Answer(CONTENT, cut=HALF), changed)
    assert download(url, tmp_path / "a.bin").read_bytes() == OTHER
    assert server.requests[1].headers["If-Range"] == '"first"'


def test_bytes_of_another_address_are_not_continued(server: LoopbackServer, tmp_path: Path) -> None:
    leave_half(server, tmp_path, name="other")
    assert download(server.put("file", CONTENT), tmp_path / "a.bin").read_bytes() == CONTENT
    assert "Range" not in server.requests[0].headers


ODD_TAG = '{"url": "URL", "etag": "\\u202e", "modified": null, "total": null}'


@pytest.mark.parametrize("note", [None, "", "[]", "{", '{"url": 1}', "[" * 3000, ODD_TAG])
def test_bytes_without_a_note_are_not_continued(server: LoopbackServer, tmp_path: Path, note: str | None) -> None:
    url = leave_half(server, tmp_path)
    server.put("file", CONTENT)
    (tmp_path / NOTE).unlink() if note is None else (tmp_path / NOTE).write_text(note.replace("URL", url))
    assert download(url, tmp_path / "a.bin").read_bytes() == CONTENT
    assert "Range" not in server.requests[0].headers


def test_bytes_of_a_file_of_another_size_are_not_continued(server: LoopbackServer, tmp_path: Path) -> None:
    leave_half(server, tmp_path)
    longer = CONTENT + b"more"
    url = server.put("file", longer)
    assert download(url, tmp_path / "a.bin", size=len(longer)).read_bytes() == longer
    assert "Range" not in server.requests[0].headers


def test_a_page_instead_of_the_file_does_not_cost_what_has_arrived(server: LoopbackServer, tmp_path: Path) -> None:
    leave_half(server, tmp_path)
    url = server.put("file", Answer(b"<html>please log in</html>", etag=None))
    with pytest.raises(InputError, match="the server says"):
        download(url, tmp_path / "a.bin", size=len(CONTENT))
    assert (tmp_path / PARTIAL).read_bytes() == CONTENT[:HALF]


@pytest.mark.parametrize("damaged", [False, True])
def test_a_file_that_had_arrived_whole_is_verified(server: LoopbackServer, tmp_path: Path, damaged: bool) -> None:
    url = leave_half(server, tmp_path)
    (tmp_path / PARTIAL).write_bytes(OTHER if damaged else CONTENT)
    server.put("file", CONTENT)
    assert download(url, tmp_path / "a.bin", checksum=SHA256).read_bytes() == CONTENT
    assert [request.status for request in server.requests] == ([416, 200] if damaged else [416])


def test_more_bytes_than_there_should_be_are_thrown_away(server: LoopbackServer, tmp_path: Path) -> None:
    url = leave_half(server, tmp_path)
    (tmp_path / PARTIAL).write_bytes(CONTENT + b"more")
    server.put("file", CONTENT)
    assert download(url, tmp_path / "a.bin").read_bytes() == CONTENT


def test_wrong_bytes_of_two_connections_are_fetched_once_more(server: LoopbackServer, tmp_path: Path) -> None:
    leave_half(server, tmp_path)
    (tmp_path / PARTIAL).write_bytes(OTHER[:HALF])
    said: list[str] = []
    assert (
        download(server.put("file", CONTENT), tmp_path / "a.bin", checksum=SHA256, log=said.append).read_bytes()
        == CONTENT
    )
    assert [request.status for request in server.requests] == [206, 200]
    assert any("starting again from zero" in line for line in said)


def test_wrong_bytes_of_two_connections_are_fetched_no_more_than_once(server: LoopbackServer, tmp_path: Path) -> None:
    url = server.put("file", *[Answer(CONTENT, cut=HALF), Answer(CONTENT)] * 3)
    with pytest.raises(InputError, match="sha256 0000") as caught:
        download(url, tmp_path / "a.bin", checksum=("sha256", "0000"))
    assert SHA256[1] in caught.value.found
    assert [request.status for request in server.requests] == [200, 206, 200, 206]
    assert names(tmp_path) == []


@pytest.mark.parametrize("cuts", [[HALF], [1000, HALF, 10, 200_000]])
def test_a_server_that_never_gets_to_the_end_is_given_up(
    server: LoopbackServer, tmp_path: Path, cuts: list[int]
) -> None:
    url = server.put("file", *[Answer(CONTENT, cut=cut, ranges=False) for cut in cuts] * 10)
    with pytest.raises(InputError, match=r"could not be continued|6 times in a row"):
        download(url, tmp_path / "a.bin")
    assert len(server.requests) < 15
    assert not (tmp_path / "a.bin").exists()


def test_a_line_that_yields_nothing_is_given_up_and_what_arrived_is_kept(
    server: LoopbackServer, tmp_path: Path
) -> None:
    url = server.put("file", Answer(CONTENT, cut=HALF), Answer(CONTENT, cut=0))
    with pytest.raises(InputError, match=r"no usable answer .*6 times in a row"):
        download(url, tmp_path / "a.bin")
    assert len(server.requests) == 6
    assert names(tmp_path) == [PARTIAL, NOTE]


# Room on the disk


def test_a_disk_that_is_too_small_is_told_beforehand(
    server: LoopbackServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("data.transfer.shutil.disk_usage", lambda _: SimpleNamespace(free=1_200_000))
    url = server.put("file", CONTENT)
    with pytest.raises(InputError) as caught:
        download(url, tmp_path / "a.bin")
    assert ("1.3 MB" in caught.value.expected, caught.value.found) == (True, "1.2 MB free")
    assert "ISOLATION_STORAGE" in caught.value.remedy
    assert names(tmp_path) == []


def test_only_what_is_missing_needs_room(
    server: LoopbackServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = leave_half(server, tmp_path)
    server.put("file", CONTENT)
    monkeypatch.setattr("data.transfer.shutil.disk_usage", lambda _: SimpleNamespace(free=HALF))
    assert download(url, tmp_path / "a.bin").read_bytes() == CONTENT


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_disk_that_is_full_while_writing_is_told(server: LoopbackServer, tmp_path: Path) -> None:
    (tmp_path / PARTIAL).symlink_to("/dev/full")
    with pytest.raises(InputError, match="No space left") as caught:
        download(server.put("file", CONTENT), tmp_path / "a.bin")
    assert "ISOLATION_STORAGE" in caught.value.remedy


def test_what_fitted_on_the_disk_is_kept_and_continued(server: LoopbackServer, tmp_path: Path) -> None:
    url = server.put("file", CONTENT)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (HALF, hard))
    try:
        with pytest.raises(InputError, match="File too large"):
            download(url, tmp_path / "a.bin")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (tmp_path / PARTIAL).read_bytes() == CONTENT[:HALF]
    assert download(url, tmp_path / "a.bin", checksum=SHA256).read_bytes() == CONTENT
    assert server.requests[1].headers["Range"] == f"bytes={HALF}-"


@pytest.mark.parametrize("name", ["x" * 250, "folder/a.bin", "file/a.bin"])
def test_a_place_that_cannot_be_written_to_is_told(server: LoopbackServer, tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder" / PARTIAL).mkdir(parents=True)
    with pytest.raises(InputError, match=r"writing .*a\.bin|writing xxx"):
        download(server.put("file", CONTENT), tmp_path / name)


# Secrets


@pytest.mark.parametrize(
    "answers",
    [
        [Answer(CONTENT, cut=HALF), Answer(CONTENT)],
        [Answer(CONTENT, cut=HALF), Answer(status=403)],
        [Answer(CONTENT, cut=HALF), Answer(CONTENT, cut=0)],
        [Answer(status=500)],
        [Answer(OTHER)],
        [Answer(status=302, headers={"Location": "gopher://elsewhere/?sig=s1gn4ture"})],
        [Answer(status=302, headers={"Location": "http://127.0.0.1:1/?sig=s1gn4ture"})],
    ],
    ids=["good", "403", "cut", "500", "wrong bytes", "bad redirect", "dead redirect"],
)
def test_secrets_stay_secret(
    server: LoopbackServer, tmp_path: Path, caplog: pytest.LogCaptureFixture, answers: list[Answer]
) -> None:
    said: list[str] = []
    url = server.put("file", *answers).replace("http://", "http://user:p4ssw0rd@") + "?sig=s1gn4ture#s1gn4ture"
    try:
        download(url, tmp_path / "a.bin", checksum=SHA256, token=SECRET, log=said.append)
    except InputError as error:
        said.append("".join(traceback.format_exception(error)))
    assert server.tokens[0] == f"Bearer {SECRET}"
    assert "?sig=s1gn4ture" in server.requests[0].path
    said += [path.read_text() for path in tmp_path.glob("*.json")]
    said += [record.getMessage() for record in caplog.records if record.levelname != "DEBUG"]
    for secret in (SECRET, "s1gn4ture", "p4ssw0rd"):
        assert not any(secret in line for line in said)


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_a_token_goes_to_no_other_host_or_port(server: LoopbackServer, tmp_path: Path, code: int) -> None:
    with loopback_server() as other:
        back = server.put("file", CONTENT)
        on = other.put("on", Answer(status=code, headers={"Location": back}))
        elsewhere = server.put("elsewhere", Answer(status=code, headers={"Location": on}))
        moved = server.put(
            "moved", Answer(status=code, headers={"Location": elsewhere.replace("127.0.0.1", "localhost")})
        )
        assert download(moved, tmp_path / "a.bin", checksum=SHA256, token=SECRET).read_bytes() == CONTENT
        assert server.tokens == [f"Bearer {SECRET}", None, None]  # once it is off, it stays so
        assert other.tokens == [None]


def test_an_address_that_others_can_listen_to_gets_no_token(server: LoopbackServer, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="https://") as caught:
        download("http://records.example/file", tmp_path / "a.bin", token=SECRET)
    assert SECRET not in str(caught.value)
    assert names(tmp_path) == []


def test_a_token_follows_on_the_same_host(server: LoopbackServer, tmp_path: Path) -> None:
    server.put("file", CONTENT)
    url = server.put("moved", Answer(status=302, headers={"Location": "/file"}))
    download(url, tmp_path / "a.bin", checksum=SHA256, token=SECRET)
    assert server.tokens == [f"Bearer {SECRET}"] * 2


@pytest.mark.parametrize("machine", ["machine 127.0.0.1", "machine localhost", "default"])
@pytest.mark.parametrize("token", [SECRET, None])
def test_logins_of_the_netrc_file_go_nowhere(
    server: LoopbackServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, machine: str, token: str | None
) -> None:
    (tmp_path / "netrc").write_text(f"{machine} login someone password else\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    server.put("file", CONTENT)
    moved = server.put("moved", Answer(status=302, headers={"Location": server.url("file", host="localhost")}))
    download(moved, tmp_path / "a.bin", token=token)
    assert server.tokens == [f"Bearer {SECRET}" if token else None, None]


def test_a_login_in_the_address_is_used(server: LoopbackServer, tmp_path: Path) -> None:
    url = server.put("file", CONTENT).replace("http://", "http://user:p4ssw0rd@")
    download(url, tmp_path / "a.bin")
    assert server.tokens == ["Basic " + base64.b64encode(b"user:p4ssw0rd").decode()]


@pytest.mark.parametrize("token", [f"{SECRET}\n", f"{SECRET} ", f"{SECRET}é"])
def test_a_token_that_cannot_be_sent_is_refused_unshown(server: LoopbackServer, tmp_path: Path, token: str) -> None:
    with pytest.raises(InputError, match="ISOLATION_DOWNLOAD_TOKEN") as caught:
        download(server.put("file", CONTENT), tmp_path / "a.bin", token=token)
    assert SECRET not in str(caught.value)
    assert server.requests == []
