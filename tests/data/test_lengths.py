"""Lengths of files that others made: what decoding gives, whatever a header says."""

from __future__ import annotations

import os
import struct
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from small_datasets import RATE, tone

from data import audio
from data.errors import InputError
from data.wav import true_length, wav_header

SECONDS = 4
FRAMES = SECONDS * RATE


@pytest.fixture(scope="module")
def song(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four seconds whose loudness changes, so that a variable bit rate varies, in 16 bit."""
    path = tmp_path_factory.mktemp("song") / "song.wav"
    samples = tone(SECONDS) * np.linspace(0, 1, FRAMES)[:, None] ** 4
    samples[FRAMES // 2 :] += 0.1 * np.random.default_rng(0).standard_normal((FRAMES // 2, 2))
    soundfile.write(path, samples, RATE, subtype="PCM_16")
    return path


def made(song: Path, target: Path, *options: str, pipe: bool = False) -> Path:
    """`song` as ffmpeg makes it with these options, through a pipe where no header can be finished."""
    command = ["ffmpeg", "-v", "error", "-nostdin", "-i", str(song), *options]
    if pipe:
        with open(target, "wb") as file:
            whole = subprocess.run([*command, "-f", target.suffix[1:], "-"], check=True, stdout=subprocess.PIPE)
            file.write(whole.stdout)
    else:
        subprocess.run([*command, str(target)], check=True)
    return target


def samples_of(path: Path, room: Path) -> np.ndarray:
    samples, rate = audio.read(audio.as_wav(path, room))
    assert rate == RATE
    return samples


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("vbr.mp3", ("-q:a", "4", "-write_xing", "0")),
        ("cbr.mp3", ("-b:a", "128k", "-write_xing", "0")),
        ("tagged.mp3", ("-b:a", "128k", "-id3v2_version", "3", "-metadata", f"title={'x' * 5000}")),
        ("song.mp2", ("-b:a", "192k")),
        ("song.ogg", ("-c:a", "libvorbis")),
        ("song.m4a", ("-b:a", "128k")),
        ("law.wav", ("-c:a", "pcm_alaw")),
        ("adpcm.wav", ("-c:a", "adpcm_ms")),
    ],
)
def test_lossy_files_have_all_of_their_frames(song: Path, tmp_path: Path, name: str, options: tuple[str, ...]) -> None:
    samples = samples_of(made(song, tmp_path / name, *options), tmp_path)
    assert 0 <= samples.shape[1] - FRAMES <= 4096
    heard, _ = audio.read(song)
    # The loud end is there, at its place.
    loud = [np.sqrt(np.mean(part[:, -RATE:] ** 2)) for part in (samples[:, :FRAMES], heard)]
    assert loud[0] == pytest.approx(loud[1], rel=0.3)


@pytest.mark.parametrize("name", ["song.flac", "song.wav", "song.aiff", "song.au", "song.caf", "song.w64", "song.wv"])
@pytest.mark.parametrize("pipe", [False, True])
def test_lossless_files_keep_every_sample_written_to_a_pipe_or_not(
    song: Path, tmp_path: Path, name: str, pipe: bool
) -> None:
    path = made(song, tmp_path / name, pipe=pipe)
    wav = audio.as_wav(path, tmp_path)
    np.testing.assert_array_equal(audio.read(wav)[0], audio.read(song)[0])
    assert audio.info(wav).subtype == "PCM_16"
    assert audio.decode_to(path, tmp_path / "decoded.wav") == FRAMES
    np.testing.assert_array_equal(audio.read(tmp_path / "decoded.wav")[0], audio.read(song)[0])


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.aiff", "rf64.wav"])
@pytest.mark.parametrize("subtype", ["PCM_24", "PCM_16"])
def test_lossless_files_keep_their_width(tmp_path: Path, name: str, subtype: str) -> None:
    form = "RF64" if name == "rf64.wav" else None
    soundfile.write(tmp_path / name, tone(0.2), RATE, subtype=subtype, format=form)
    wav = audio.as_wav(tmp_path / name, tmp_path)
    assert audio.info(wav).subtype == subtype
    np.testing.assert_array_equal(audio.read(wav)[0], soundfile.read(tmp_path / name, dtype="float32")[0].T)


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_32", "FLOAT", "DOUBLE"])
def test_every_uncompressed_wav_is_read_where_it_lies(tmp_path: Path, subtype: str) -> None:
    soundfile.write(tmp_path / "a.wav", tone(0.2), RATE, subtype=subtype)
    assert audio.as_wav(tmp_path / "a.wav", tmp_path) == tmp_path / "a.wav"


@pytest.mark.parametrize("kind", ["mp3", "ogg"])
def test_files_that_were_joined_are_read_to_the_end(song: Path, tmp_path: Path, kind: str) -> None:
    part = made(song, tmp_path / f"part.{kind}", "-b:a", "128k").read_bytes()
    (tmp_path / f"joined.{kind}").write_bytes(part + part)
    assert samples_of(tmp_path / f"joined.{kind}", tmp_path).shape[1] == pytest.approx(2 * FRAMES, abs=5000)


def test_a_flac_that_tells_of_fewer_samples_than_it_holds_is_read_to_the_end(song: Path, tmp_path: Path) -> None:
    flac = tell_of(made(song, tmp_path / "a.flac"), RATE)
    np.testing.assert_array_equal(samples_of(flac, tmp_path), audio.read(song)[0])


def test_a_flac_behind_a_tag_of_another_format_is_read(song: Path, tmp_path: Path) -> None:
    flac = made(song, tmp_path / "a.flac")
    flac.write_bytes(b"ID3\x03\0\0\0\0\0\x10" + bytes(16) + flac.read_bytes())
    np.testing.assert_array_equal(samples_of(flac, tmp_path), audio.read(song)[0])


def tell_of(flac: Path, frames: int) -> Path:
    """Write another number of samples into the header of a flac (36 bits from byte 21 on)."""
    content = bytearray(flac.read_bytes())
    content[21:26] = bytes([content[21] & 0xF0 | frames >> 32]) + struct.pack(">I", frames & 0xFFFFFFFF)
    flac.write_bytes(content)
    return flac


@pytest.mark.parametrize("name", ["a.mp3", "a.flac", "a.aiff", "a.wav", "a.m4a"])
def test_a_file_that_promises_more_than_it_holds_is_refused_and_named(song: Path, tmp_path: Path, name: str) -> None:
    whole = made(song, tmp_path / name, *(["-movflags", "faststart"] if name == "a.m4a" else [])).read_bytes()
    (tmp_path / name).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="cut short") as caught:
        audio.as_wav(tmp_path / name, tmp_path)
    assert caught.value.file == str(tmp_path / name)


def test_a_song_that_is_cut_short_is_decoded_with_a_warning(
    song: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    whole = made(song, tmp_path / "a.mp3").read_bytes()
    (tmp_path / "a.mp3").write_bytes(whole[: len(whole) // 2])
    assert 0 < audio.decode_to(tmp_path / "a.mp3", tmp_path / "a.wav") < FRAMES
    assert "cut short" in caplog.text


def test_damage_inside_a_lossless_file_is_refused(song: Path, tmp_path: Path) -> None:
    flac = made(song, tmp_path / "a.flac")
    content = bytearray(flac.read_bytes())
    content[len(content) // 2] ^= 0xFF
    flac.write_bytes(content)
    with pytest.raises(InputError, match="damage"):
        audio.as_wav(flac, tmp_path)


# Headers of wavs


def with_sizes(song: Path, path: Path, data: int, riff: int | None = None, behind: bytes = b"") -> Path:
    """`song` with another size of its samples in the header, and with something behind them."""
    content = bytearray(song.read_bytes())
    at = content.index(b"data") + 4
    content[at : at + 4] = struct.pack("<I", data)
    if riff is not None:
        content[4:8] = struct.pack("<I", riff)
    path.write_bytes(bytes(content) + behind)
    return path


LIST = b"LIST" + struct.pack("<I", 12) + b"INFOISFT" + bytes(4)
PLACEHOLDERS = [0, 2_000_000_000, 0x7F000000, 0x7FFFF000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0xFFFFFFFF - 36]


@pytest.mark.parametrize(("size", "behind"), [*((size, b"") for size in PLACEHOLDERS), (0, LIST), (0xFFFFFFFF, LIST)])
def test_a_placeholder_for_the_size_of_a_wav_is_not_believed(
    song: Path, tmp_path: Path, size: int, behind: bytes
) -> None:
    path = with_sizes(song, tmp_path / "a.wav", size, behind=behind)
    np.testing.assert_array_equal(samples_of(path, tmp_path), audio.read(song)[0])
    assert audio.decode_to(path, tmp_path / "decoded.wav") == FRAMES
    with pytest.raises(InputError, match="whose header tells its length"):
        audio.info(path)


def test_where_the_size_of_the_whole_is_a_placeholder_that_of_the_samples_is_not_believed_either(
    song: Path, tmp_path: Path
) -> None:
    path = with_sizes(song, tmp_path / "a.wav", 50_000_000, riff=0)
    np.testing.assert_array_equal(samples_of(path, tmp_path), audio.read(song)[0])


def test_chunks_behind_the_samples_are_no_audio(song: Path, tmp_path: Path) -> None:
    path = with_sizes(song, tmp_path / "a.wav", FRAMES * 4, behind=LIST)
    assert audio.as_wav(path, tmp_path) == path
    np.testing.assert_array_equal(audio.read(path)[0], audio.read(song)[0])
    assert audio.decode_to(path, tmp_path / "decoded.wav") == FRAMES


def test_a_wav_that_goes_on_behind_its_samples_with_something_unknown_is_refused(song: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not finished, or something else was appended"):
        audio.as_wav(with_sizes(song, tmp_path / "a.wav", FRAMES * 2), tmp_path)


def test_a_wav_without_samples_is_refused(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.zeros((0, 2)), RATE)
    (tmp_path / "a.wav").write_bytes((tmp_path / "a.wav").read_bytes() + LIST)
    with pytest.raises(InputError, match="no sample"):
        audio.as_wav(tmp_path / "a.wav", tmp_path)
    with pytest.raises(InputError, match="no "):
        audio.decode_to(tmp_path / "a.wav", tmp_path / "b.wav")
    assert [path.name for path in tmp_path.iterdir()] == ["a.wav"]


@pytest.mark.parametrize("claimed", [4, 2**31 + 1000, 2**32 - 44 - 4])
def test_sizes_that_wrapped_around_at_4_gb_are_told_from_the_size_of_the_file(
    song: Path, tmp_path: Path, claimed: int
) -> None:
    path = with_sizes(song, tmp_path / "a.wav", claimed)
    size = 2**32 + claimed if claimed < 2**32 - 2**16 else claimed + 2**20
    os.truncate(path, 44 + size)  # takes no room on the disk: nothing is written
    header = wav_header(path)
    assert header is not None
    assert true_length(path, header) == size


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200), st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1), st.integers(0, 43))
def test_any_header_gives_a_length_within_the_file_or_is_refused(
    tmp_path_factory: pytest.TempPathFactory, behind: bytes, data: int, riff: int, cut: int
) -> None:
    folder = tmp_path_factory.mktemp("wav")
    soundfile.write(folder / "a.wav", tone(0.001), RATE)
    path = with_sizes(folder / "a.wav", folder / "b.wav", data, riff, behind)
    path.write_bytes(path.read_bytes()[: -cut or None])
    header = wav_header(path)
    if header is None:
        return
    try:
        length = true_length(path, header)
    except InputError:
        return
    assert 0 <= length <= header.there


# Forms that no training set can use


@pytest.mark.parametrize("suffix", ["wav", "flac"])
def test_more_than_two_channels_are_refused_naming_the_file(tmp_path: Path, suffix: str) -> None:
    soundfile.write(tmp_path / f"a.{suffix}", np.zeros((1000, 6)), RATE)
    with pytest.raises(InputError, match="6 channels") as caught:
        audio.as_wav(tmp_path / f"a.{suffix}", tmp_path)
    assert caught.value.file == str(tmp_path / f"a.{suffix}")
    assert "stereo" in caught.value.remedy


@pytest.mark.parametrize("rate", [1, 100, 10_000_000])
def test_absurd_rates_are_refused(tmp_path: Path, rate: int) -> None:
    soundfile.write(tmp_path / "a.wav", np.zeros((1000, 2)), rate)
    for call in (lambda: audio.as_wav(tmp_path / "a.wav", tmp_path), lambda: decoded(tmp_path / "a.wav")):
        with pytest.raises(InputError, match=f"{rate} Hz"):
            call()


def decoded(path: Path) -> int:
    return audio.decode_to(path, path.with_name("decoded.wav"))


@pytest.mark.parametrize("suffix", ["wav", "aiff", "w64"])
def test_samples_that_are_not_finite_are_told_of_the_file_that_holds_them(tmp_path: Path, suffix: str) -> None:
    samples = tone(0.5)
    samples[7] = np.nan
    path = tmp_path / f"a.{suffix}"
    soundfile.write(path, samples, RATE, subtype="FLOAT")
    with pytest.raises(InputError, match="NaN") as caught:
        decoded(path)
    assert caught.value.file == str(path)
    with pytest.raises(InputError, match="NaN") as caught:
        audio.read(audio.as_wav(path, tmp_path))
    assert caught.value.file == str(path)
    assert not (tmp_path / "decoded.wav").exists()


def test_one_frame_is_audio(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.zeros((1, 2)), RATE)
    assert audio.info(audio.as_wav(tmp_path / "a.wav", tmp_path)).frames == 1


@pytest.mark.parametrize(("told", "whole"), [(0.5, True), (0, True), (3, False), (2**32 - 1, False)])
def test_an_mp3_that_tells_of_another_number_of_frames(song: Path, tmp_path: Path, told: float, whole: bool) -> None:
    content = bytearray(made(song, tmp_path / "a.mp3", "-b:a", "128k").read_bytes())
    at = max(content.find(b"Xing"), content.find(b"Info")) + 8
    frames = struct.unpack(">I", content[at : at + 4])[0]
    content[at : at + 4] = struct.pack(">I", round(told * frames) if told < 10 else int(told))
    (tmp_path / "a.mp3").write_bytes(content)
    if whole:
        assert samples_of(tmp_path / "a.mp3", tmp_path).shape[1] == pytest.approx(FRAMES, abs=4096)
    else:
        with pytest.raises(InputError, match="cut short"):
            audio.as_wav(tmp_path / "a.mp3", tmp_path)
    assert decoded(tmp_path / "a.mp3") == pytest.approx(FRAMES, abs=4096)


def test_an_ogg_that_does_not_say_where_it_ends_is_told_of(
    song: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    whole = made(song, tmp_path / "a.ogg").read_bytes()
    audio.as_wav(tmp_path / "a.ogg", tmp_path)
    assert caplog.text == ""
    (tmp_path / "a.ogg").write_bytes(whole[: len(whole) // 2])
    audio.as_wav(tmp_path / "a.ogg", tmp_path)
    assert "may be cut short" in caplog.text


def test_what_is_no_file_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.wav")  # opening it would wait for ever
    for call in (audio.info, audio.read, decoded):
        with pytest.raises(InputError, match="something that is no file"):
            call(tmp_path / "a.wav")
    with pytest.raises(InputError, match="a folder"):
        audio.info(tmp_path)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.caf", ()),
        ("alac.caf", ("-c:a", "alac")),
        ("a.mka", ("-c:a", "flac")),
        ("pcm.mka", ("-c:a", "pcm_s16le")),
        ("a.webm", ("-c:a", "libopus")),
    ],
)
def test_a_file_whose_streams_tell_no_length_is_held_to_what_its_header_says_of_the_whole(
    song: Path, tmp_path: Path, name: str, options: tuple[str, ...]
) -> None:
    whole = made(song, tmp_path / name, *options)
    assert audio.info(audio.as_wav(whole, tmp_path)).seconds == pytest.approx(SECONDS, abs=0.01)
    cut = tmp_path / f"cut{whole.suffix}"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size * 6 // 10])
    with pytest.raises(InputError, match=r"cut short|not audio") as caught:
        audio.as_wav(cut, tmp_path)
    assert caught.value.file == str(cut)


def test_a_flac_behind_a_flac_is_refused_because_its_seam_would_be_lost(song: Path, tmp_path: Path) -> None:
    part = made(song, tmp_path / "part.flac").read_bytes()
    (tmp_path / "joined.flac").write_bytes(part + part)
    with pytest.raises(InputError, match="one behind the other") as caught:
        audio.as_wav(tmp_path / "joined.flac", tmp_path)
    assert caught.value.file == str(tmp_path / "joined.flac")


@pytest.mark.parametrize(("place", "value"), [(22, 1), (34, 24), (32, 3)])
def test_a_wav_whose_header_contradicts_itself_is_refused(song: Path, tmp_path: Path, place: int, value: int) -> None:
    content = bytearray(song.read_bytes())
    content[place : place + 2] = struct.pack("<H", value)  # channels, bits, bytes of a frame
    (tmp_path / "a.wav").write_bytes(content)
    with pytest.raises(InputError, match="agrees with itself") as caught:
        audio.as_wav(tmp_path / "a.wav", tmp_path)
    assert caught.value.file == str(tmp_path / "a.wav")
