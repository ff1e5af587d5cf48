"""What reaches ffmpeg and libsndfile: one local file, whatever it is called and whatever it holds."""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
from loopback_server import LoopbackServer
from small_datasets import RATE, tone

from data import audio, ffmpeg
from data.errors import InputError

REPOSITORY = Path(__file__).parents[2]
NAMES = [
    "Live:Song",
    "-dash",
    "-",
    "%03d",
    "http:song",
    "concat:a|b",
    "pipe:0",
    "two\nlines",
    "quote'\"$HOME`x`",
    "他",
    os.fsdecode(b"caf\xe9"),
    "trailing ",
]


@pytest.mark.parametrize("suffix", ["", ".flac"])
@pytest.mark.parametrize("name", NAMES)
def test_any_name_is_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, suffix: str) -> None:
    monkeypatch.chdir(tmp_path)
    path = Path(f"{name}{suffix}")
    with open(path, "wb") as file:
        soundfile.write(file, tone(0.1), RATE, format="FLAC")
    samples, rate = audio.read(path)
    assert (samples.shape, rate) == ((2, round(0.1 * RATE)), RATE)
    assert audio.decode_to(path, Path("out") / path) == samples.shape[1]
    audio.write(Path("again") / path, samples)
    np.testing.assert_array_equal(audio.read(Path("again") / path)[0], samples)


@pytest.mark.parametrize("kind", ["hls", "concat", "dash", "sdp"])
@pytest.mark.parametrize("name", ["song.mp3", "song.m3u8"])
def test_a_playlist_is_no_song_and_is_not_followed(
    tmp_path: Path, server: LoopbackServer, kind: str, name: str
) -> None:
    soundfile.write(tmp_path / "other.wav", tone(0.1), RATE)
    address = server.put("a.ts", b"x" * 1000)
    content = {
        "hls": f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{address}\n#EXTINF:9,\nother.wav\n#EXT-X-ENDLIST\n",
        "concat": "ffconcat version 1.0\nfile other.wav\n",
        "dash": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"><Period><AdaptationSet>'
        f'<Representation id="1"><BaseURL>{address}</BaseURL></Representation></AdaptationSet></Period></MPD>',
        "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio 5004 RTP/AVP 0\n",
    }[kind]
    (tmp_path / name).write_text(content)
    for call in (
        lambda: audio.decode_to(tmp_path / name, tmp_path / "out.wav"),
        lambda: audio.as_wav(tmp_path / name, tmp_path),
    ):
        with pytest.raises(InputError, match="not audio, or of a kind that is not opened here"):
            call()
    assert server.requests == []
    assert not (tmp_path / "out.wav").exists()


def test_a_video_without_sound_is_told_to_have_none(tmp_path: Path) -> None:
    silent = ["-f", "lavfi", "-i", "testsrc=d=1:s=64x64", "-an", str(tmp_path / "v.mp4")]
    subprocess.run(["ffmpeg", "-v", "error", *silent], check=True)
    with pytest.raises(InputError) as caught:
        audio.decode_to(tmp_path / "v.mp4", tmp_path / "out.wav")
    assert (caught.value.file, caught.value.found) == (str(tmp_path / "v.mp4"), "no audio stream")


def test_an_empty_file_is_told_to_be_empty(tmp_path: Path) -> None:
    (tmp_path / "a.mp3").touch()
    with pytest.raises(InputError, match="an empty file"):
        audio.as_wav(tmp_path / "a.mp3", tmp_path)


def test_what_ffmpeg_says_is_shown_without_its_addresses_and_other_paths() -> None:
    said = "[mov @ 0x55aa] bad\n[aac @ 0x55bb] file:/store/.partial-1/x.wav: Invalid data in file:/songs/a b.m4a"
    assert ffmpeg.reason(said, "/songs/a b.m4a") == "the output Invalid data in a b.m4a"


@pytest.mark.parametrize("promised", [True, False], ids=["promised by the header", "not told by the header"])
def test_a_small_file_that_decodes_to_more_than_the_disk_holds_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, promised: bool
) -> None:
    silence = ["ffmpeg", "-v", "error", "-f", "lavfi", "-i", "anullsrc=r=44100:cl=stereo", "-t", "60", "-f", "flac"]
    if promised:
        subprocess.run([*silence, str(tmp_path / "bomb.flac")], check=True)
    else:
        (tmp_path / "bomb.flac").write_bytes(subprocess.run([*silence, "-"], check=True, capture_output=True).stdout)
    assert (tmp_path / "bomb.flac").stat().st_size < 100_000
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=5_000_000))
    with pytest.raises(InputError, match="space on the disk") as caught:
        audio.decode_to(tmp_path / "bomb.flac", tmp_path / "out.wav")
    assert caught.value.file == str(tmp_path / "bomb.flac")
    assert [path.name for path in tmp_path.iterdir()] == ["bomb.flac"]


@pytest.mark.parametrize("program", ["ffmpeg", "ffprobe"])
def test_a_program_that_comes_to_no_end_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str
) -> None:
    soundfile.write(tmp_path / "a.flac", tone(0.1), RATE)
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / program).write_text("#!/bin/sh\nexec sleep 1000\n")
    (tools / program).chmod(stat.S_IRWXU)
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    monkeypatch.setattr(ffmpeg, "STALLED", 0.5)
    with pytest.raises(InputError, match="without a sample"):
        audio.decode_to(tmp_path / "a.flac", tmp_path / "out.wav")
    assert not (tmp_path / "out.wav").exists()  # and the program has ended: its end is waited for


@pytest.mark.parametrize(("name", "words"), [("XFSZ", "room for a file of this size"), ("KILL", "out of memory")])
def test_a_program_that_a_signal_ended_does_not_blame_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, words: str
) -> None:
    program = tmp_path / "ffmpeg"
    program.write_text(f"#!/bin/sh\nkill -{name} $$\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    soundfile.write(tmp_path / "song.wav", tone(0.1), RATE)
    with pytest.raises(InputError) as refused:
        ffmpeg.decode(tmp_path / "song.wav", [([], tmp_path / "out.wav")])
    assert words in str(refused.value)
    assert "check that the file plays" not in str(refused.value)


def test_programs_and_libsndfile_are_called_in_one_place_each() -> None:
    """Elsewhere a name would be taken for an address, a header believed, or the time of day written into a file."""
    # The others write into memory, in formats that hold no time.
    allowed = {"data/audio.py", "models/report/excerpts.py", "models/reporters/tensorboard.py"}
    for room in ("data", "models", "assets", "pipelines"):
        for path in (REPOSITORY / room).rglob("*.py"):
            name, text = path.relative_to(REPOSITORY).as_posix(), path.read_text()
            assert not re.search(r"^\s*(import|from) soundfile", text, re.MULTILINE) or name in allowed, name
            assert not re.search(r"\[[^\]]*require_program\(.ff", text) or name == "data/ffmpeg.py", name
