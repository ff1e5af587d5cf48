"""The same recording is recognised under another name, and no other recording is taken for it."""

from __future__ import annotations

import ctypes
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import soxr
import stempeg
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import signal

from data import audio
from data.audio import SAMPLE_RATE, Audio
from data.demo.mixing import record
from data.demo.voice import draw_singer
from data.errors import InputError
from data.recognition import (
    FRAME_S,
    MIXTURE,
    ROWS,
    Fingerprint,
    Fingerprinter,
    read_recording,
    same_recordings,
    says_something,
)

SONGS = 5
Change = Callable[[Audio, Audio, Path], Audio]  # mixture, vocals, a folder


def fingerprint(samples: Audio, vocals: Audio | None = None, block: int = 5 * SAMPLE_RATE) -> Fingerprint:
    fingerprinter = Fingerprinter()
    vocals = np.zeros_like(samples) if vocals is None else vocals
    for start in range(0, samples.shape[1], block):
        fingerprinter.feed(samples[:, start : start + block], vocals[:, start : start + block])
    return fingerprinter.finish()


def of_mixture(rows: Fingerprint) -> Fingerprint:
    """The sub-fingerprints of the mixture at its own pace."""
    row = rows[ROWS.index((MIXTURE, 1.0))]
    return row[1 : 1 + int(row[0])]


def noise(seconds: float, seed: int) -> Audio:
    return (np.random.default_rng(seed).standard_normal((2, round(seconds * SAMPLE_RATE))) * 0.1).astype(np.float32)


def tone(seconds: float, *hertz: float) -> Audio:
    time = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    mono = sum((0.2 * np.sin(2 * np.pi * each * time) for each in hertz), np.zeros_like(time))
    return np.tile(mono.astype(np.float32), (2, 1))


def words(rng: np.random.Generator, frames: int) -> Fingerprint:
    return rng.integers(0, 2**32, frames, dtype=np.uint32)


def flipped(rng: np.random.Generator, original: Fingerprint, share: float) -> Fingerprint:
    bits = rng.random((len(original), 32)) < share
    return np.asarray(original ^ np.packbits(bits, axis=1).view(np.uint32)[:, 0], dtype=np.uint32)


@pytest.fixture(scope="module")
def songs() -> list[tuple[Audio, Audio]]:
    """Mixture and vocals of songs of 16 s, which have chords, instruments and (two each) a voice in common."""
    made = []
    for number in range(SONGS):
        voice = np.random.default_rng([7, number // 2])
        recording = record(np.random.default_rng([5, number]), 16.0, singers=[draw_singer(voice, female=number < 3)])
        made.append((recording.mixture, recording.source("vocals")))
    return made


@pytest.fixture(scope="module")
def originals(songs: list[tuple[Audio, Audio]]) -> dict[str, Fingerprint]:
    return {f"song {number}": fingerprint(*song) for number, song in enumerate(songs)}


def encoded(samples: Audio, folder: Path, name: str, *options: str) -> Audio:
    """`samples` as ffmpeg makes them of `name`, a file of its kind, with these options."""
    audio.write(folder / "plain.wav", samples, subtype="FLOAT")
    command = [audio.require_program("ffmpeg"), "-v", "error", "-y", "-i", folder / "plain.wav", *options]
    subprocess.run([*command, folder / name], check=True)
    audio.decode_to(folder / name, folder / "decoded.wav")
    return audio.read(folder / "decoded.wav")[0]


def through_48_khz(samples: Audio) -> Audio:
    return np.asarray(soxr.resample(soxr.resample(samples.T, 44100, 48000), 48000, 44100).T)


def tilted(samples: Audio) -> Audio:
    low = signal.lfilter(*signal.butter(1, 1000, fs=SAMPLE_RATE), samples)
    return np.asarray(1.26 * low + 0.79 * (samples - low), dtype=np.float32)  # 2 dB up below 1 kHz, 2 dB down above


def quieter_vocals(mixture: Audio, vocals: Audio) -> Audio:
    return mixture - np.float32(1 - 10 ** (-3 / 20)) * vocals


def without(seconds: float, samples: Audio) -> Audio:
    return samples[:, round(seconds * SAMPLE_RATE) :]


CHANGES: dict[str, tuple[float, Change]] = {
    "AAC": (0, lambda mixture, _, folder: encoded(mixture, folder, "a.m4a", "-c:a", "aac", "-b:a", "128k")),
    "mp3": (0, lambda mixture, _, folder: encoded(mixture, folder, "a.mp3", "-b:a", "96k")),
    "9 dB quieter": (0, lambda mixture, *_: mixture * np.float32(0.355)),
    "later": (3.7, lambda mixture, *_: without(3.7, mixture)),
    "48 kHz": (0, lambda mixture, *_: through_48_khz(mixture)),
    "vocals 3 dB quieter": (0, lambda mixture, vocals, _: quieter_vocals(mixture, vocals)),
    "tilted": (0, lambda mixture, *_: tilted(mixture)),
    "clipped softly": (0, lambda mixture, *_: np.tanh(np.float32(2.5) * mixture)),
    "12 seconds of it": (4.3, lambda mixture, *_: without(4.3, mixture)[:, : 12 * SAMPLE_RATE]),
    "mono": (0, lambda mixture, *_: np.repeat(mixture.mean(axis=0, keepdims=True), 2, axis=0)),
    "remastered": (
        2.1,
        lambda mixture, vocals, folder: encoded(
            without(2.1, np.tanh(2 * tilted(quieter_vocals(mixture, vocals)))), folder, "a.m4a", "-b:a", "128k"
        ),
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_every_song_is_recognised_after_a_change_and_none_for_another(
    songs: list[tuple[Audio, Audio]], originals: dict[str, Fingerprint], tmp_path: Path, change: str
) -> None:
    begins, apply = CHANGES[change]
    changed = {f"{song} again": apply(*both, tmp_path) for song, both in zip(originals, songs, strict=True)}
    copies = {song: fingerprint(samples) for song, samples in changed.items()}
    matches = same_recordings(originals | copies)
    assert [(match.first, match.second) for match in matches] == [(song, f"{song} again") for song in originals]
    for match in matches:
        assert match.how == "fingerprint"
        assert match.rate == pytest.approx(1, abs=0.003)
        assert match.similarity > 0.85
        assert match.offset_s == pytest.approx(begins, abs=FRAME_S)
        assert match.overlap_s == pytest.approx(len(of_mixture(copies[match.second])) * FRAME_S, abs=0.5)


@pytest.mark.parametrize("rate", [0.97, 0.98, 1.01, 1.03])
@pytest.mark.parametrize("kind", ["tempo", "speed"])
def test_a_song_is_recognised_at_another_pace(
    songs: list[tuple[Audio, Audio]], originals: dict[str, Fingerprint], tmp_path: Path, kind: str, rate: float
) -> None:
    filters = {"tempo": f"atempo={rate}", "speed": f"asetrate={round(SAMPLE_RATE * rate)},aresample={SAMPLE_RATE}"}
    copies = {
        f"{song} again": fingerprint(encoded(mixture, tmp_path, "a.wav", "-af", filters[kind]))
        for song, (mixture, _) in zip(originals, songs, strict=True)
    }
    matches = same_recordings(originals | copies)
    assert [(match.first, match.second) for match in matches] == [(song, f"{song} again") for song in originals]
    for match in matches:
        assert match.rate == pytest.approx(rate, abs=0.006)
        assert match.offset_s == pytest.approx(0, abs=0.4)


def test_an_instrumental_and_its_sung_original_share_the_accompaniment(
    songs: list[tuple[Audio, Audio]], originals: dict[str, Fingerprint]
) -> None:
    instrumentals = {
        f"{song} played": fingerprint(mixture - vocals)
        for song, (mixture, vocals) in zip(originals, songs, strict=True)
    }
    matches = same_recordings(originals | instrumentals)
    assert [(match.first, match.second) for match in matches] == [(song, f"{song} played") for song in originals]
    assert {match.how for match in matches} == {"accompaniment"}


def test_another_singer_over_the_same_accompaniment_is_found(
    songs: list[tuple[Audio, Audio]], originals: dict[str, Fingerprint]
) -> None:
    (mixture, vocals), (_, others) = songs[0], songs[1]
    frames = min(mixture.shape[1], others.shape[1])
    # Twice as loud as he is by himself, so that the mixtures have little in common.
    sung = (mixture - vocals)[:, :frames] + 2 * others[:, :frames]
    (match,) = same_recordings({"song": originals["song 0"], "cover": fingerprint(sung, 2 * others[:, :frames])})
    assert match.how == "accompaniment"
    assert match.agreement > 0.9


def test_equal_recordings_are_told_as_at_one_pace(originals: dict[str, Fingerprint]) -> None:
    (match,) = same_recordings({"one": originals["song 0"], "two": originals["song 0"].copy()})
    assert (match.how, match.agreement, match.offset_s, match.rate) == ("fingerprint", 1.0, 0.0, 1.0)


def test_a_real_recording_matches_its_encoding(originals: dict[str, Fingerprint], tmp_path: Path) -> None:
    audio.decode_to(stempeg.example_stem_path(), tmp_path / "excerpt.wav")
    excerpt, _ = audio.read(tmp_path / "excerpt.wav")
    again = encoded(excerpt, tmp_path, "again.mp3", "-b:a", "128k")
    matches = same_recordings(originals | {"excerpt": fingerprint(excerpt), "again": fingerprint(again)})
    assert [(match.first, match.second) for match in matches] == [("again", "excerpt")]


def test_noises_do_not_match_although_their_fingerprints_are_alike() -> None:
    noises = {f"noise {seed}": fingerprint(noise(20, seed)) for seed in range(5)}
    alike = np.bitwise_count(of_mixture(noises["noise 0"]) ^ of_mixture(noises["noise 1"])).mean() / 32
    assert alike < 0.2
    assert same_recordings(noises) == []
    again = fingerprint(without(2, noise(20, 3)))
    assert [match.second for match in same_recordings(noises | {"again": again})] == ["noise 3"]


@pytest.mark.parametrize(
    "samples",
    [
        np.zeros((2, 0), np.float32),
        np.zeros((2, 20 * SAMPLE_RATE), np.float32),
        np.full((2, 20 * SAMPLE_RATE), 0.3, np.float32),
        tone(20, 440),
        tone(20, 220, 277.2, 329.6),
        noise(2.5, 0),
    ],
    ids=["nothing", "silence", "offset", "tone", "chord", "short"],
)
def test_what_says_nothing_of_itself_has_empty_fingerprints_and_matches_nothing(samples: Audio) -> None:
    empty = fingerprint(samples)
    assert empty.shape == (len(ROWS), 1)
    assert not empty.any()
    assert not says_something(empty)
    assert empty.dtype == np.uint32
    assert same_recordings({"one": empty, "two": empty.copy()}) == []


def test_no_tracks_and_one_track_have_no_match(originals: dict[str, Fingerprint]) -> None:
    assert same_recordings({}) == []
    assert same_recordings({"song": originals["song 0"]}) == []


def test_long_silences_in_common_do_not_make_songs_the_same(songs: list[tuple[Audio, Audio]]) -> None:
    silence = np.zeros((2, 60 * SAMPLE_RATE), np.float32)
    padded = [np.concatenate([silence, mixture, silence], axis=1) for mixture, _ in songs[:4]]
    assert same_recordings({str(number): fingerprint(samples) for number, samples in enumerate(padded)}) == []


def test_silences_do_not_count_even_where_sub_fingerprints_are_shared_by_chance() -> None:
    rng = np.random.default_rng(2)
    music = words(rng, 60)
    other = flipped(rng, music, 0.35)
    other[[10, 30, 50]] = music[[10, 30, 50]]
    silence = np.full(600, 0x256DF977, np.uint32)
    assert same_recordings({"one": np.append(silence, music), "two": np.append(silence, other)}) == []


def test_a_loop_is_aligned_where_most_of_it_overlaps() -> None:
    rng = np.random.default_rng(6)
    loop = np.tile(words(rng, 40), 10)
    (match,) = same_recordings({"loop": loop, "again": flipped(rng, loop, 0.03)})
    assert match.offset_s == 0
    assert match.overlap_s == pytest.approx(400 * FRAME_S)


def test_two_seconds_in_common_are_too_little() -> None:
    rng = np.random.default_rng(3)
    song = words(rng, 300)
    assert same_recordings({"song": song, "next": np.append(song[-16:], words(rng, 300))}) == []
    assert len(same_recordings({"song": song, "next": np.append(song[-24:], words(rng, 300))})) == 1


@settings(max_examples=50, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    frames=st.integers(60, 400),
    skipped=st.integers(0, 400),
    before=st.integers(0, 25),
    longer_is_first=st.booleans(),
)
def test_offset_and_overlap_are_right_whichever_comes_first(
    seed: int, frames: int, skipped: int, before: int, longer_is_first: bool
) -> None:
    rng = np.random.default_rng(seed)
    recording = words(rng, frames + skipped)
    part = np.append(words(rng, before), flipped(rng, recording[skipped:], 0.05))
    whole, other = ("a", "b") if longer_is_first else ("b", "a")
    (match,) = same_recordings({whole: recording, other: part})
    offset = (skipped - before) * (1 if longer_is_first else -1)
    assert match.offset_s == pytest.approx(offset * FRAME_S)
    assert match.overlap_s == pytest.approx((frames + min(skipped, before)) * FRAME_S)


def test_planted_copies_are_found_among_hundreds_of_tracks_and_nothing_else() -> None:
    rng = np.random.default_rng(4)
    tracks = {f"{number:03d}": words(rng, 1900) for number in range(346)}
    planted = {f"{number:03d} copy": number for number in (0, 17, 171, 300, 345)}
    for copy, number in planted.items():
        tracks[copy] = flipped(rng, tracks[f"{number:03d}"][number:], 0.08)
    matches = same_recordings(tracks)
    assert [(match.first, match.second) for match in matches] == [(copy[:3], copy) for copy in planted]
    for match in matches:
        assert match.similarity == pytest.approx(0.92, abs=0.005)
        assert match.offset_s == pytest.approx(planted[match.second] * FRAME_S)


def test_a_few_copies_are_all_matched_with_each_other() -> None:
    rng = np.random.default_rng(8)
    song = words(rng, 200)
    assert len(same_recordings({f"copy {number}": flipped(rng, song, 0.02) for number in range(8)})) == 8 * 7 // 2


def test_each_of_many_copies_is_found() -> None:
    rng = np.random.default_rng(5)
    song = words(rng, 200)
    matches = same_recordings({f"copy {number}": flipped(rng, song, 0.02) for number in range(50)})
    assert {name for match in matches for name in (match.first, match.second)} == {f"copy {n}" for n in range(50)}


@settings(max_examples=10, deadline=None)
@given(st.integers(500, 500_000))
def test_a_fingerprint_does_not_depend_on_the_size_of_the_blocks(block: int) -> None:
    samples = noise(8, 6)
    np.testing.assert_array_equal(fingerprint(samples, block=block), fingerprint(samples, block=samples.shape[1]))


def test_samples_beyond_full_scale_are_clipped(songs: list[tuple[Audio, Audio]]) -> None:
    loud = 3 * songs[0][0]
    assert np.abs(loud).max() > 1
    np.testing.assert_array_equal(fingerprint(loud), fingerprint(loud.clip(-1, 1)))


def test_a_missing_library_is_named_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing_there(name: str, *_: object, **__: object) -> None:
        raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr(ctypes, "CDLL", nothing_there)
    monkeypatch.delitem(sys.modules, "chromaprint", raising=False)
    with pytest.raises(InputError, match=r"(?s)libchromaprint.*apt-get install libchromaprint1"):
        Fingerprinter()


def test_fingerprints_that_another_version_took_otherwise_match_nothing() -> None:
    rows = fingerprint(noise(8.0, 1))
    assert same_recordings({"a": rows, "b": np.concatenate([rows, rows])}) == []


@pytest.mark.parametrize("seed", range(60))
def test_a_damaged_file_of_fingerprints_is_refused_in_words_and_takes_no_memory(tmp_path: Path, seed: int) -> None:
    path, random = tmp_path / "recording.npy", np.random.default_rng(seed)
    rows = np.zeros((6, 9), np.uint32)
    rows[:, 0] = 8
    np.save(path, rows)
    np.testing.assert_array_equal(read_recording(path), rows)
    content = bytearray(path.read_bytes())
    for _ in range(1 + seed % 4):
        content[random.integers(0, len(content))] = random.integers(0, 256)
    path.write_bytes(content[: len(content) if seed % 3 else random.integers(0, len(content))])
    with suppress(InputError):
        assert read_recording(path).nbytes <= len(content)


@pytest.mark.parametrize("rows", [np.full((6, 4), 9, np.uint32), np.zeros((2, 2, 2), np.uint32), np.zeros((6, 4))])
def test_fingerprints_of_another_form_are_refused(tmp_path: Path, rows: np.ndarray) -> None:
    np.save(tmp_path / "recording.npy", rows)
    with pytest.raises(InputError, match="damaged file"):
        read_recording(tmp_path / "recording.npy")
