"""What `isolate` calls its results and where it puts them, whatever songs are called; and what stops it."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import soundfile
from pipelines_site import PROJECT
from small_datasets import RATE, tone
from tiny import network_of, tiny_candidate

from data import audio
from models.checkpoint import Checkpoint, save_checkpoint
from pipelines import isolate
from pipelines.isolate import RESULTS, main, title_of


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A separator that never learnt anything."""
    path = tmp_path_factory.mktemp("model") / "checkpoint.pt"
    candidate = tiny_candidate()
    save_checkpoint(path, Checkpoint(candidate, network_of(candidate).state_dict()))
    return path


@pytest.fixture
def here(tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with a song `s.wav`."""
    monkeypatch.setenv("ISOLATION_STORAGE", str(tmp_path / "storage"))
    monkeypatch.setenv("ISOLATION_DEVICE", "cpu")
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    _write_song(folder / "s.wav")
    return folder


def _write_song(path: Path, seconds: float = 0.4) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "wb") as file:
        soundfile.write(file, tone(seconds), RATE, format="WAV")
    return path


def _names(folder: Path) -> set[bytes]:
    return {os.fsencode(path.name) for path in folder.iterdir()}


def test_songs_of_any_name_are_separated_into_folders_of_that_name(here: Path, model: Path) -> None:
    titles = {
        b"Live:Song.wav": b"Live:Song",
        b"-x.wav": b"-x",
        b"100%03d.wav": b"100%03d",
        b"two\nlines.wav": b"two\nlines",
        b"caf\xe9.wav": b"caf\xe9",
        b"M.E.R.C. Music - Knockout": b"M.E.R.C. Music - Knockout",
        b"Vol. 1": b"Vol. 1",
        b"Vol. 2": b"Vol. 2",
        b"Vol. 3.WAV": b"Vol. 3",
        b"...wav": b"...wav",
        b"..\\up.wav": b"..\\up",
        b"Mr. ": b"Mr. ",
        b"etc.": b"etc.",
        b"n" * 251 + b".wav": b"n" * 251,
        b"m" * 255: b"m" * 255,
        "Ünïcode 他.wav".encode(): "Ünïcode 他".encode(),
    }
    for name in titles:
        shutil.copyfile(here / "s.wav", Path(os.fsdecode(name)))
    before = _names(here)
    assert main(["--model", str(model), "-o=-out:1", "--", *(os.fsdecode(name) for name in titles)]) == 0
    assert _names(here) == before | {b"-out:1"}
    assert _names(here / "-out:1") == set(titles.values())
    for folder in (here / "-out:1").iterdir():
        assert _names(folder) == {name.encode() for name in RESULTS}
    first, second = (here / "-out:1" / os.fsdecode(titles[name]) / RESULTS[0] for name in (b"Vol. 1", b"caf\xe9.wav"))
    assert first.read_bytes() == second.read_bytes()


def test_only_the_suffixes_of_formats_are_taken_off() -> None:
    for name, title in (
        ("Song.mp3", "Song"),
        ("Song.FLAC", "Song"),
        ("Clip.webm", "Clip"),
        ("Artist - Song.stem.mp4", "Artist - Song.stem"),
        ("feat. Someone", "feat. Someone"),
        ("No. 9", "No. 9"),
        (".mp3", ".mp3"),
        ("..mp3", "..mp3"),
        ("...mp3", "...mp3"),
        ("noext", "noext"),
    ):
        assert title_of(Path("folder.wav") / name) == title


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no device that is always full")
@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_where_nothing_can_be_told_the_songs_are_separated_all_the_same(
    here: Path, model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], stream: str
) -> None:
    _write_song(here / "t.wav")
    with open("/dev/full", "w", buffering=1, encoding="utf-8") as full:
        monkeypatch.setattr(sys, stream, full)
        assert main(["--model", str(model), "-o", "out", "nowhere.wav", "s.wav", "t.wav"]) == 2
    monkeypatch.undo()
    for name in ("s", "t"):
        assert _names(here / "out" / name) == {result.encode() for result in RESULTS}
    captured = capsys.readouterr()
    if stream == "stdout":
        assert "standard output, which is to tell that out/t is done" in captured.err
    else:
        assert captured.out.count(" -> ") == 2


@pytest.mark.parametrize("name", ["vocals", "accompaniment"])
def test_a_result_never_takes_the_place_of_a_song(here: Path, model: Path, name: str) -> None:
    song = _write_song(here / name / f"{name}.wav")
    other = _write_song(here / "elsewhere" / "other.wav")
    content = song.read_bytes()
    for given in (str(song), f"./{name}/{name}.wav"):
        assert main(["--model", str(model), given, str(other), "-o", "."]) == 2
        assert song.read_bytes() == content
        assert (here / "other" / "vocals.wav").is_file()


def test_a_song_under_a_second_name_is_not_replaced_either(
    here: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = (here / "s.wav").read_bytes()
    (here / "out" / "s").mkdir(parents=True)
    (here / "out" / "link").mkdir()
    os.link(here / "s.wav", here / "out" / "s" / "vocals.wav")
    (here / "link.wav").symlink_to(here / "out" / "link" / "vocals.wav")
    os.link(here / "s.wav", here / "out" / "link" / "vocals.wav")
    shutil.copyfile(here / "s.wav", here / "noext")
    assert main(["--model", str(model), "s.wav", "link.wav", "-o", "out"]) == 2
    assert main(["--model", str(model), "noext", "-o", "."]) == 2
    assert "choose another -o" in capsys.readouterr().err
    for path in ("s.wav", "link.wav", "noext", "out/s/vocals.wav", "out/link/vocals.wav"):
        assert (here / path).read_bytes() == content
    assert _names(here / "out" / "s") == {b"vocals.wav"}


def test_of_two_songs_for_one_folder_the_second_is_refused_and_all_others_are_done(
    here: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = _write_song(here / "a" / "song.wav", 0.3), _write_song(here / "b" / "song.flac", 0.5)
    (here / "out").mkdir()
    (here / "out" / "other name").symlink_to("song")  # as file systems do that take Song and song for one name
    third = _write_song(here / "other name.wav", 0.6)
    assert main(["--model", str(model), str(first), str(second), str(third), "s.wav", "nowhere.mp3", "-o", "out"]) == 2
    told = capsys.readouterr()
    assert told.err.count("songs with different names") == 2
    assert "no such file" in told.err
    assert _names(here / "out") == {b"song", b"other name", b"s"}
    assert audio.info(here / "out" / "song" / "vocals.wav").frames == round(0.3 * RATE)


@pytest.mark.parametrize("output", ["s.wav", "s.wav/below", "s.wav/further/below", ""])
def test_an_output_that_can_be_no_folder_is_refused_before_anything_is_done(
    here: Path, output: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["s.wav", "-o", output]) == 2
    assert "choose another -o" in capsys.readouterr().err
    assert _names(here) == {b"s.wav"}


def test_a_disk_that_is_full_for_one_song_does_not_stop_the_next(
    here: Path, model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    decode = audio.decode_to

    def decode_the_short(source: Path, path: Path) -> int:
        if source.name == "long.wav":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return decode(source, path)

    monkeypatch.setattr(isolate.audio, "decode_to", decode_the_short)
    shutil.copyfile(here / "s.wav", here / "long.wav")
    assert main(["--model", str(model), "long.wav", "s.wav", "-o", "out"]) == 2
    told = capsys.readouterr().err
    assert "room on the disk" in told
    assert str(Path("out") / "long") in told
    assert _names(here / "out") == {b"s"}


def test_results_that_stand_beside_other_files_are_replaced_and_the_others_stay(here: Path, model: Path) -> None:
    (here / "out" / "s").mkdir(parents=True)
    (here / "out" / "s" / "notes.txt").write_text("mine")
    (here / "out" / "s" / "vocals.wav").write_text("an earlier one")
    assert main(["--model", str(model), "s.wav", "-o", "out"]) == 0
    assert _names(here / "out" / "s") == {b"notes.txt", b"vocals.wav", b"accompaniment.wav"}
    assert audio.info(here / "out" / "s" / "vocals.wav").frames == round(0.4 * RATE)


def test_samples_that_are_no_numbers_are_told_of_the_song(
    here: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    samples = tone(0.4)
    samples[9] = float("nan")
    soundfile.write(here / "nan.wav", samples, RATE, subtype="FLOAT")
    assert main(["--model", str(model), "nan.wav", "-o", "out"]) == 2
    told = capsys.readouterr().err
    assert "file:     nan.wav" in told
    assert "partial" not in told


def _start(here: Path, model: Path, song: str, module: str = "pipelines.isolate") -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", module, "--model", str(model), str(here / song), "-o", str(here / "out")],
        cwd=PROJECT,
        env=os.environ | {"PYTHONIOENCODING": "ascii"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


def _until_it_writes(process: subprocess.Popen[str], here: Path) -> None:
    deadline = time.monotonic() + 120
    while not any(
        path.stat().st_size > 10_000 for path in (here / "out").glob(".partial-*/.partial-results/vocals.wav")
    ):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)  # until the file says so: a separation under way tells nobody else


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_leaves_neither_files_nor_a_traceback(here: Path, model: Path, signum: signal.Signals) -> None:
    _write_song(here / "long.wav", 400.0)
    process = _start(here, model, "long.wav")
    _until_it_writes(process, here)
    os.killpg(process.pid, signum)
    os.killpg(process.pid, signum)
    printed, errors = process.communicate(timeout=60)
    assert process.returncode == 128 + signum
    assert (printed, errors) == ("", f"stopped by {signum.name}; 0 of 1 songs are done\n")
    assert _names(here / "out") == set()


def test_what_a_killed_separation_left_is_removed_by_the_next_one(here: Path, model: Path) -> None:
    _write_song(here / "long.wav", 400.0)
    process = _start(here, model, "long.wav")
    _until_it_writes(process, here)
    process.kill()
    process.communicate(timeout=60)
    assert _names(here / "out")
    os.rename(here / "s.wav", here / "Jürgen.wav")
    done = _start(here, model, "Jürgen.wav")
    printed, errors = done.communicate(timeout=60)
    assert (done.returncode, errors) == (0, "")
    assert "J\\xfcrgen" in printed  # this terminal shows ASCII only
    assert _names(here / "out") == {"Jürgen".encode()}
