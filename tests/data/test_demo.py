"""The demo corpus: the real readers read it, it is music with a voice in it, and it follows from its seed."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import musdb
import numpy as np
import pytest
import soundfile
import stempeg
import yaml

from data import medleydb_metadata
from data.audio import SAMPLE_RATE
from data.datasets.musdb18 import Musdb18
from data.demo import corpus, names
from data.demo.licence import LICENCE, is_generated
from data.demo.mixing import PEAK, record
from data.demo.music import ROLES, Note, Syllable, compose
from data.demo.voice import Singer, draw_singer, sing
from data.errors import InputError

# Of the files that MedleyDB's authors publish.
KEYS = [
    "album",
    "artist",
    "composer",
    "excerpt",
    "genre",
    "has_bleed",
    "instrumental",
    "mix_filename",
    "origin",
    "producer",
    "raw_dir",
    "stem_dir",
    "stems",
    "title",
    "version",
    "website",
]
VOICES = {"female singer", "male singer", "vocalists"}


@pytest.fixture(scope="module")
def musdb18(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("musdb") / "musdb18"
    corpus.write_musdb18(root, tracks=3, seconds=4.0, workers=2)
    return root


@pytest.fixture(scope="module")
def medleydb(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("medleydb")
    corpus.write_medleydb(folder / "audio", folder / "metadata", tracks=8, seconds=2.0, workers=2)
    return folder / "audio", folder / "metadata"


def decibels(signal: np.ndarray, against: np.ndarray) -> float:
    return float(10 * np.log10(np.sum(np.square(signal, dtype=float)) / np.sum(np.square(against, dtype=float))))


def test_musdb_reads_every_track_with_vocals_as_long_as_the_mixture(musdb18: Path) -> None:
    tracks = musdb.DB(root=str(musdb18), is_wav=False).tracks
    generated = [track for track in tracks if "Falcon" not in track.name]
    assert sorted(track.subset for track in generated) == ["test", "train", "train"]
    for track in generated:
        vocals = track.targets["vocals"].audio
        assert track.rate == SAMPLE_RATE
        assert vocals.shape == track.audio.shape
        assert abs(len(vocals) - 4 * SAMPLE_RATE) < 2048  # AAC pads to whole blocks
        assert np.abs(vocals).max() > 0.05


def test_a_mixture_is_the_sum_of_its_stems_but_for_the_encoding(musdb18: Path) -> None:
    for path in musdb18.glob("train/*.stem.mp4"):
        mixture, *stems = stempeg.read_stems(str(path))[0]
        assert decibels(mixture, mixture - np.sum(stems, axis=0)) > 15


def test_the_real_excerpt_is_a_test_track_under_its_own_name(musdb18: Path) -> None:
    copied = musdb18 / "test" / "The Easton Ellises - Falcon 69.stem.mp4"
    assert copied.read_bytes() == Path(stempeg.example_stem_path()).read_bytes()


def test_generated_songs_are_known_by_their_licence_and_the_real_excerpt_is_none_of_them(
    musdb18: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(musdb18, tmp_path / "demo")
    (folder / "licence.txt").write_text(f"{LICENCE}\n")
    real = {track.title for track in Musdb18().discover(folder) if not is_generated(track.licence)}
    assert real == {"Falcon 69"}
    assert is_generated(f" {LICENCE.upper()}\n")
    assert not any(is_generated(licence) for licence in ("", "CC0", "CC0 1.0", "CC BY-NC-SA 4.0"))


def test_medleydb_metadata_reads_as_the_published_files_do(medleydb: tuple[Path, Path]) -> None:
    _, metadata = medleydb
    rows, problems = medleydb_metadata.read_folder(metadata)
    assert not problems
    assert len(set(rows["id"])) == 8
    for path in metadata.iterdir():
        content = yaml.safe_load(path.read_text())
        assert sorted(content) == KEYS
        assert content["instrumental"] in ("yes", "no")  # a quoted string, not a boolean


def test_medleydb_folders_hold_what_their_metadata_names(medleydb: tuple[Path, Path]) -> None:
    audio, metadata = medleydb
    for path in metadata.iterdir():
        content = yaml.safe_load(path.read_text())
        folder = audio / path.name.removesuffix("_METADATA.yaml")
        stems = content["stems"].values()
        assert (folder / content["mix_filename"]).is_file()
        named = {stem["filename"] for stem in stems}
        assert {file.name for file in (folder / content["stem_dir"]).iterdir()} == named
        raws = {raw["filename"] for stem in stems for raw in stem["raw"].values()}
        assert {file.name for file in (folder / content["raw_dir"]).iterdir()} == raws


def test_medleydb_has_no_one_two_and_four_vocal_stems_and_one_wrong_label(medleydb: tuple[Path, Path]) -> None:
    counts, mislabelled = [], 0
    for path in medleydb[1].iterdir():
        content = yaml.safe_load(path.read_text())
        vocal = sum(stem["instrument"] in VOICES for stem in content["stems"].values())
        counts.append(vocal)
        mislabelled += vocal == 0 and content["instrumental"] == "no"
    assert sorted(counts) == [0, 0, 1, 1, 2, 2, 2, 4]
    assert mislabelled == 1


def test_medleydb_varies_bit_depth_and_channels(medleydb: tuple[Path, Path]) -> None:
    audio, _ = medleydb
    forms = {(soundfile.info(path).subtype, soundfile.info(path).channels) for path in audio.glob("*/*_STEMS/*.wav")}
    assert forms == {("PCM_16", 2), ("PCM_24", 2), ("PCM_16", 1)}


def test_medleydb_masters_the_mix_and_has_stems_at_other_levels_than_in_it(medleydb: tuple[Path, Path]) -> None:
    audio, _ = medleydb
    off = []
    for folder in audio.iterdir():
        mix, _ = soundfile.read(folder / f"{folder.name}_MIX.wav")
        stems = [soundfile.read(path, always_2d=True)[0] for path in sorted(folder.glob("*_STEMS/*.wav"))]
        stereo = [np.broadcast_to(stem, mix.shape) for stem in stems]
        gains = [np.linalg.lstsq(np.stack([s[:, c] for s in stereo], 1), mix[:, c])[0] for c in (0, 1)]
        mended = np.stack([sum(g * s[:, c] for g, s in zip(gains[c], stereo, strict=True)) for c in (0, 1)], axis=1)
        assert np.abs(mix).max() < 1
        assert 10 < decibels(mix, mix - mended) < 40
        assert decibels(mix, mix - np.sum(stereo, axis=0)) < decibels(mix, mix - mended) - 3
        off += list(np.abs(20 * np.log10(np.abs(gains[0]))))
    assert np.mean(np.array(off) > 3) > 0.3


def test_the_same_seed_gives_the_same_bytes_whatever_the_number_of_workers(tmp_path: Path) -> None:
    def written(name: str, seed: int, workers: int) -> dict[str, bytes]:
        corpus.write_medleydb(
            tmp_path / name, tmp_path / f"{name} yaml", seed=seed, tracks=2, seconds=2.0, workers=workers
        )
        files = [*(tmp_path / name).rglob("*.wav"), *(tmp_path / f"{name} yaml").iterdir()]
        return {path.name: path.read_bytes() for path in files}

    once = written("once", 5, 1)
    assert written("again", 5, 2) == once
    other = written("other", 6, 2)
    assert not any(other.get(name) == content for name, content in once.items() if name.endswith("_MIX.wav"))


def test_a_generation_that_breaks_off_leaves_what_was_there_before(tmp_path: Path) -> None:
    def interrupt(_: str) -> None:
        raise KeyboardInterrupt

    root, metadata = tmp_path / "audio", tmp_path / "metadata"
    root.mkdir()
    (root / "old").write_text("kept")
    with pytest.raises(KeyboardInterrupt):
        corpus.write_medleydb(root, metadata, tracks=2, seconds=1.0, workers=1, progress=interrupt)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["audio", "old"]


def test_a_stem_file_that_ffmpeg_cut_short_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole: Callable[..., None] = stempeg.write_stems
    monkeypatch.setattr(
        stempeg, "write_stems", lambda path, data, **options: whole(path, data[:, : data.shape[1] // 2], **options)
    )
    with pytest.raises(InputError, match=r"5 streams, the shortest of 0\.5"):
        corpus._musdb18_track(corpus._Plan((0, 0, 0), 0, 0, 1.0, tmp_path))


def test_a_wav_that_would_clip_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="would clip"):
        corpus._write(tmp_path / "loud.wav", np.full((2, 10), 1.2, dtype=np.float32), "PCM_16")


@pytest.mark.parametrize("tracks", [1, 41])
def test_a_number_of_tracks_that_cannot_be_is_refused_at_once(tmp_path: Path, tracks: int) -> None:
    with pytest.raises(ValueError, match=f"not {tracks}"):
        corpus.write_musdb18(tmp_path / "musdb18", tracks=tracks)
    assert not list(tmp_path.iterdir())


def test_names_are_distinct_and_unlike_those_of_real_tracks() -> None:
    assert len({names.artist(number) for number in range(names.LIMIT)}) == names.LIMIT
    assert len({names.title(number) for number in range(names.LIMIT)}) == names.LIMIT
    with pytest.raises(ValueError, match="120"):
        names.artist(names.LIMIT)


@pytest.mark.parametrize("seed", range(4))
def test_a_recording_is_a_balanced_mix_with_pauses_in_the_voice(seed: int) -> None:
    singer = draw_singer(np.random.default_rng(seed), female=seed % 2 == 0)
    recording = record(np.random.default_rng(seed), 16.0, singers=[singer], harmonies=(2,))
    vocals, mixture = recording.source("vocals"), recording.mixture
    assert np.abs(mixture).max() == pytest.approx(PEAK, abs=1e-3)
    assert max(np.abs(stem).max() for stem in recording.stems) < 1
    assert -9 < decibels(vocals, mixture - vocals) < 2
    blocks = np.abs(vocals[:, : 64 * 11025]).reshape(2, 64, 11025).max(axis=(0, 2)) > 0.01
    assert 0.4 < blocks.mean() <= 1
    quietest = np.abs(vocals[:, : 640 * 1102]).reshape(2, 640, 1102).max(axis=(0, 2)).min()
    assert quietest < 0.02 * np.abs(vocals).max()
    # Neither channel tells the voice from the band: the band, too, stands in the middle and the voice in the room.
    for stereo in (vocals, mixture - vocals):
        side = stereo[0] - stereo[1]
        assert 3 < decibels(stereo.sum(axis=0), side) < 40


def test_without_singers_the_voice_is_silent_and_an_instrument_has_the_melody() -> None:
    song = compose(np.random.default_rng(0), 12.0, centre=None, instruments=("violin",))
    assert not song.lead
    assert len(song.parts["violin"]) > 8
    recording = record(np.random.default_rng(0), 4.0, singers=[])
    assert not recording.source("vocals").any()


@pytest.mark.parametrize("instrument", sorted(ROLES))
def test_every_instrument_has_something_to_play(instrument: str) -> None:
    song = compose(np.random.default_rng(1), 24.0, centre=60, instruments=(instrument,))
    assert song.parts[instrument]
    assert all(note.start >= 0 and 20 < note.pitch < 110 for note in song.parts[instrument])


def sung(vowel: str, consonant: str = "", *, pitch: int = 48, vibrato: float = 0.0) -> np.ndarray:
    """One syllable that begins at 0.5 s and lasts 1.2 s."""
    singer = Singer(
        female=False, tract=1.0, tilt=1.1, vibrato_rate=5.5, vibrato_depth=vibrato, glide=0.02, breath=0.02, ring=1.0
    )
    phrase = (Syllable(Note(0.5, 1.2, pitch, 0.9), consonant, vowel),)
    return np.asarray(sing(singer, [phrase], 2 * SAMPLE_RATE, np.random.default_rng(0)), dtype=float)


def band(signal: np.ndarray, low: float, high: float) -> float:
    """The energy of `signal` between two frequencies in Hz."""
    spectrum = np.abs(np.fft.rfft(signal * np.hanning(len(signal)))) ** 2
    hertz = np.fft.rfftfreq(len(signal), 1 / SAMPLE_RATE)
    return float(spectrum[(hertz >= low) & (hertz < high)].sum())


def pitches(signal: np.ndarray, near: float) -> np.ndarray:
    """The frequency in Hz of the first harmonic close to `near`, every 50 ms."""
    found = []
    for start in range(0, len(signal) - 8192, 2205):
        spectrum = np.abs(np.fft.rfft(signal[start : start + 8192] * np.hanning(8192), 1 << 18))
        hertz = np.fft.rfftfreq(1 << 18, 1 / SAMPLE_RATE)
        window = (hertz > near * 0.8) & (hertz < near * 1.25)
        found.append(hertz[window][np.argmax(spectrum[window])])
    return np.array(found)


def test_the_voice_sings_in_tune_and_rests_otherwise() -> None:
    signal = sung("a")
    held = pitches(signal[int(0.8 * SAMPLE_RATE) : int(1.6 * SAMPLE_RATE)], 130.8)
    assert np.abs(1200 * np.log2(held / 130.81)).max() < 60  # cents: drift and jitter stay small
    assert np.abs(signal[: int(0.1 * SAMPLE_RATE)]).max() < 1e-4
    assert np.abs(signal[int(1.85 * SAMPLE_RATE) :]).max() < 1e-3


def test_vibrato_moves_the_pitch() -> None:
    held = slice(int(1.0 * SAMPLE_RATE), int(1.65 * SAMPLE_RATE))
    # At the tenth harmonic the swing is ten times as wide; a short window follows it.
    still, moving = (pitches(sung("a", pitch=60, vibrato=depth)[held], 4 * 261.6) for depth in (0.0, 0.8))
    assert np.std(moving) > 2 * np.std(still)


def test_vowels_differ_by_their_formants() -> None:
    held = slice(int(0.8 * SAMPLE_RATE), int(1.6 * SAMPLE_RATE))
    ah, ee = sung("a")[held], sung("i")[held]
    # Peterson and Barney: "a" has formants at 730 and 1090 Hz, "i" at 270 and 2290 Hz.
    assert band(ah, 600, 1250) > 5 * band(ah, 150, 400)
    assert band(ee, 150, 400) > 5 * band(ee, 600, 1250)
    assert band(ee, 2000, 2600) > 5 * band(ee, 1000, 1600)


def test_consonants_make_noise_before_the_vowel() -> None:
    before = slice(int(0.41 * SAMPLE_RATE), int(0.49 * SAMPLE_RATE))
    plain, hissed, hummed = (sung("a", consonant)[before] for consonant in ("", "s", "m"))
    assert band(hissed, 5000, 10000) > 100 * band(plain, 5000, 10000)
    assert band(hissed, 5000, 10000) > 20 * band(hissed, 100, 1000)
    assert band(hummed, 100, 500) > 20 * band(hummed, 2500, 10000)
