from __future__ import annotations

import struct
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from data import audio
from data.errors import InputError


def noise(frames: int, scale: float = 0.3) -> audio.Audio:
    return (np.random.default_rng(0).standard_normal((2, frames)) * scale).astype(np.float32).clip(-0.99, 0.99)


@settings(max_examples=30, deadline=None)
@given(arrays.arrays(np.float32, (2, 50), elements=st.floats(-4, 4, width=32)))
def test_what_is_written_reads_back_unchanged(tmp_path_factory: pytest.TempPathFactory, samples: audio.Audio) -> None:
    path = tmp_path_factory.mktemp("wav") / "a.wav"
    audio.write(path, samples)
    again, rate = audio.read(path)
    assert rate == 44100
    np.testing.assert_array_equal(again, samples)


@pytest.mark.parametrize(("bits", "subtype"), [(16, "PCM_16"), (24, "PCM_24")])
def test_the_smallest_lossless_format_is_chosen(bits: int, subtype: str) -> None:
    steps = 2.0 ** (bits - 1)
    samples = (np.round(noise(100) * steps) / steps).astype(np.float32)
    assert audio.lossless_subtype(samples) == subtype


def test_samples_beyond_full_scale_are_kept_in_floating_point(tmp_path: Path) -> None:
    audio.write(tmp_path / "a.wav", noise(100) * 3)
    assert audio.info(tmp_path / "a.wav").subtype == "FLOAT"


def test_an_integer_format_refuses_to_clip_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"clip a peak of 1\.5"):
        audio.write(tmp_path / "a.wav", np.full((2, 10), 1.5, np.float32), subtype="PCM_16")
    assert list(tmp_path.iterdir()) == []


def test_a_part_is_read_without_the_rest(tmp_path: Path) -> None:
    samples = noise(1000)
    audio.write(tmp_path / "a.wav", samples)
    part, _ = audio.read(tmp_path / "a.wav", start=300, frames=50)
    np.testing.assert_array_equal(part, samples[:, 300:350])


def test_a_file_that_ends_before_its_header_says_is_refused(tmp_path: Path) -> None:
    audio.write(tmp_path / "a.wav", noise(44100))
    whole = (tmp_path / "a.wav").read_bytes()
    (tmp_path / "cut.wav").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError) as caught:
        audio.read(tmp_path / "cut.wav")
    assert "cut.wav" in str(caught.value)
    assert "as the header says" in caught.value.expected
    assert "cut short" in caught.value.found


def test_a_file_that_is_not_audio_is_named(tmp_path: Path) -> None:
    (tmp_path / "text.wav").write_text("this is not audio")
    with pytest.raises(InputError, match=r"text\.wav") as caught:
        audio.read(tmp_path / "text.wav")
    assert "17 bytes that are not audio" in caught.value.found


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_samples_that_are_not_finite_are_counted_and_refused(tmp_path: Path, bad: float) -> None:
    samples = noise(100)
    samples[1, 3:5] = bad
    soundfile.write(tmp_path / "a.wav", samples.T, 44100, subtype="FLOAT")
    with pytest.raises(InputError) as caught:
        audio.read(tmp_path / "a.wav")
    assert "2 samples that are NaN or infinite" in caught.value.found


def test_any_format_decodes_to_stereo_at_44100_hz(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", noise(22050)[0], 22050)
    subprocess.run(["ffmpeg", "-v", "error", "-i", tmp_path / "a.wav", tmp_path / "a.mp3"], check=True)
    frames = audio.decode_to(tmp_path / "a.mp3", tmp_path / "out.wav")
    decoded, rate = audio.read(tmp_path / "out.wav")
    assert (decoded.shape[0], rate) == (2, 44100)
    assert decoded.shape[1] == frames == pytest.approx(44100, rel=0.06)
    np.testing.assert_array_equal(decoded[0], decoded[1])


def test_a_file_without_audio_is_refused_and_nothing_is_left(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("no audio here")
    with pytest.raises(InputError, match="ffmpeg can decode"):
        audio.decode_to(tmp_path / "a.txt", tmp_path / "out.wav")
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_equal_samples_are_equal_bytes_whatever_the_time_of_day(tmp_path: Path) -> None:
    """libsndfile writes the second of writing into the PEAK chunk of a floating-point wav."""
    audio.write(tmp_path / "a.wav", noise(100) * 3, subtype="FLOAT")
    content = (tmp_path / "a.wav").read_bytes()
    assert b"PEAK" not in content[: len(content) - 100 * 8]
    np.testing.assert_array_equal(audio.read(tmp_path / "a.wav")[0], noise(100) * 3)


def chunks_of(path: Path) -> dict[bytes, bytes]:
    """The chunks of a wav by name."""
    content, found, at = path.read_bytes(), {}, 12
    wide = 0
    while at + 8 <= len(content):
        name, length = struct.unpack("<4sI", content[at : at + 8])
        if name == b"ds64":
            wide = struct.unpack("<QQ", content[at + 8 : at + 24])[1]
        at += 8 + (wide if length == 0xFFFFFFFF else length)
        found[name] = content[at - length : at]
    return found


@pytest.mark.parametrize("form", ["RIFF", "RF64"])
@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "FLOAT", "DOUBLE"])
def test_a_wav_holds_its_samples_and_nothing_that_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, subtype: str, form: str
) -> None:
    if form == "RF64":
        monkeypatch.setattr(audio, "LARGEST", 1000)
    samples = noise(1000)
    with audio.Writer(tmp_path / "a.wav", 44100, subtype, frames=1000) as wav:
        wav.write(samples)
    assert (tmp_path / "a.wav").read_bytes().startswith(form.encode())
    chunks = chunks_of(tmp_path / "a.wav")
    assert set(chunks) - {b"PEAK"} <= {b"ds64", b"fmt ", b"fact", b"PAD ", b"data"}
    assert set(chunks.get(b"PEAK", bytes(8))[4:8]) == {0}  # where the time would be
    np.testing.assert_allclose(audio.read(tmp_path / "a.wav")[0], samples, atol=1e-4)
    assert audio.as_wav(tmp_path / "a.wav", tmp_path) == tmp_path / "a.wav"


def test_a_plain_wav_is_not_used_for_more_than_it_can_count(tmp_path: Path) -> None:
    for hours, kind in ((3, b"RIFF"), (4, b"RF64")):
        with audio.Writer(tmp_path / "a.wav", 44100, "FLOAT", frames=hours * 3600 * 44100) as wav:
            wav.write(noise(100))
        assert (tmp_path / "a.wav").read_bytes()[:4] == kind


def test_no_more_is_written_than_was_announced(tmp_path: Path) -> None:
    with (
        audio.Writer(tmp_path / "a.wav", 44100, "FLOAT", frames=100) as wav,
        pytest.raises(ValueError, match="1 frames more"),
    ):
        wav.write(noise(101))


def test_a_disk_that_takes_no_more_is_told() -> None:
    with pytest.raises(InputError, match="space on the disk") as caught:
        audio.Writer("/dev/full", 44100, "FLOAT", frames=10)
    assert caught.value.file == "/dev"
