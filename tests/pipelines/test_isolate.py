"""`isolate` as people with a song use it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile
from pipelines_site import Site
from small_datasets import RATE, tone

from data import audio


@pytest.fixture
def song(tmp_path: Path) -> Path:
    """Three seconds of stereo music as an mp3."""
    path = tmp_path / "A Song.mp3"
    soundfile.write(tmp_path / "song.wav", tone(3.0) + tone(3.0, 90), RATE)
    subprocess.run(["ffmpeg", "-v", "error", "-i", tmp_path / "song.wav", path], check=True)
    return path


def test_a_song_becomes_vocals_and_accompaniment_that_add_up(finished: Site, song: Path, tmp_path: Path) -> None:
    done = finished.run(str(song), "-o", str(tmp_path / "out"), module="pipelines.isolate")
    assert done.returncode == 0, done.stderr
    vocals, rate = audio.read(tmp_path / "out" / "A Song" / "vocals.wav")
    accompaniment, _ = audio.read(tmp_path / "out" / "A Song" / "accompaniment.wav")
    audio.decode_to(song, tmp_path / "decoded.wav")
    mixture, _ = audio.read(tmp_path / "decoded.wav")
    assert rate == RATE
    np.testing.assert_allclose(vocals + accompaniment, mixture, atol=1e-6)
    assert vocals.any()
    assert sorted(path.name for path in (tmp_path / "out" / "A Song").iterdir()) == ["accompaniment.wav", "vocals.wav"]


def test_a_long_song_in_chunks_equals_the_song_in_one_piece(finished: Site, tmp_path: Path) -> None:
    from models.checkpoint import load_separator
    from models.separate import separate
    from pipelines.isolate import separate_song

    mixture = (tone(45.0, 200) + tone(45.0, 90)).astype(np.float32)
    soundfile.write(tmp_path / "long.wav", mixture, RATE, subtype="FLOAT")
    separator = load_separator(finished.storage / "evaluation" / "champion" / "checkpoint.pt")
    separate_song(separator, tmp_path / "long.wav", tmp_path / "out")
    streamed, _ = audio.read(tmp_path / "out" / "vocals.wav")
    np.testing.assert_allclose(streamed, separate(separator, mixture.T), atol=1e-6)


def test_a_song_twenty_decibels_quieter_gives_the_same_vocals_as_quiet(finished: Site, tmp_path: Path) -> None:
    from models.checkpoint import load_separator
    from pipelines.isolate import separate_song

    separator = load_separator(finished.storage / "evaluation" / "champion" / "checkpoint.pt")
    mixture = (tone(25.0, 200) + tone(25.0, 90)).astype(np.float32)
    mixture[: 12 * RATE] *= 0.1
    found = []
    for name, gain in (("loud", 1.0), ("quiet", 0.1), ("louder", 7.0)):
        soundfile.write(tmp_path / f"{name}.wav", np.float32(gain) * mixture, RATE, subtype="FLOAT")
        separate_song(separator, tmp_path / f"{name}.wav", tmp_path / name)
        found.append(audio.read(tmp_path / name / "vocals.wav")[0] / gain)
    assert np.abs(found[0]).max() > 1e-3
    for other in found[1:]:
        np.testing.assert_allclose(other, found[0], rtol=0, atol=1e-4 * np.abs(found[0]).max())


def test_mono_and_other_rates_are_taken(finished: Site, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "mono.flac", tone(1.0, rate=48000)[:, 0], 48000)
    done = finished.run(str(tmp_path / "mono.flac"), "-o", str(tmp_path / "out"), module="pipelines.isolate")
    assert done.returncode == 0, done.stderr
    info = audio.info(tmp_path / "out" / "mono" / "vocals.wav")
    assert (info.sample_rate, info.channels, info.frames) == (RATE, 2, pytest.approx(RATE, abs=32))


def test_a_bad_song_is_named_and_the_others_are_separated(finished: Site, song: Path, tmp_path: Path) -> None:
    (tmp_path / "text.mp3").write_text("not music")
    arguments = [str(tmp_path / "text.mp3"), str(song), "-o", str(tmp_path / "out")]
    done = finished.run(*arguments, module="pipelines.isolate")
    assert done.returncode == 2
    assert "text.mp3" in done.stderr
    assert "Traceback" not in done.stderr
    assert (tmp_path / "out" / "A Song" / "vocals.wav").is_file()
    assert not any(path.is_file() for path in (tmp_path / "out" / "text").rglob("*"))


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["nowhere.mp3", "-o", "{out}"], "no such file"),
        (["{song}", "{song}", "-o", "{out}"], "different names"),
        (["{song}", "-o", "{song}"], "found:    a file"),
        (["{song}", "-o", "{out}", "--model", "{song}"], "checkpoint of this project"),
        (["{song}", "-o", "{out}", "--model", "nowhere.pt"], "no such file"),
        (["{song}", "-o", "{out}", "--device", "toaster"], "device toaster"),
        (["{song}"], "required: -o"),
    ],
)
def test_wrong_arguments_are_explained(
    finished: Site, song: Path, tmp_path: Path, arguments: list[str], expected: str
) -> None:
    filled = [argument.format(song=song, out=tmp_path / "out") for argument in arguments]
    done = finished.run(*filled, module="pipelines.isolate")
    assert done.returncode == 2
    assert expected in done.stderr
    assert "Traceback" not in done.stderr
    assert song.is_file()


def test_without_a_champion_it_says_how_to_get_one(song: Path, tmp_path: Path) -> None:
    done = Site(tmp_path).run(str(song), "-o", str(tmp_path / "out"), module="pipelines.isolate")
    assert done.returncode == 2
    assert "make demo" in done.stderr
