from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
from small_datasets import RATE, tone

from data import audio
from data.datasets.base import Extracted
from data.datasets.own import Own
from data.errors import InputError
from data.settings import Settings
from data.tracks import Track


def write(folder: Path, **files: np.ndarray) -> Path:
    """Files of a track; the format is the suffix, `vocals_flac=...` becomes vocals.flac."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, samples in files.items():
        soundfile.write(folder / name.replace("_", "."), samples, RATE)
    return folder


def extract(root: Path) -> tuple[Track, Extracted, np.ndarray, np.ndarray]:
    (track,) = Own().discover(root)
    out = root.parent / "out"
    out.mkdir()
    measured = Own().extract(track, pd.DataFrame(), out)
    return track, measured, audio.read(out / "mixture.wav")[0], audio.read(out / "vocals.wav")[0]


def test_mixture_and_vocals_are_kept_as_they_are(tmp_path: Path) -> None:
    write(tmp_path / "own" / "Ann - One", mixture_wav=tone(1.0), vocals_wav=tone(1.0, 330))
    track, measured, mixture, vocals = extract(tmp_path / "own")
    assert (track.slug, track.artist, track.title) == ("ann-one", "Ann", "One")
    for name, samples in (("mixture", mixture), ("vocals", vocals)):
        np.testing.assert_array_equal(samples, audio.read(tmp_path / "own" / "Ann - One" / f"{name}.wav")[0])
    assert measured.length_difference == 0


def test_vocals_and_accompaniment_become_their_sum_without_clipping(tmp_path: Path) -> None:
    loud = tone(1.0, level=0.9)
    write(tmp_path / "own" / "A", vocals_wav=loud, accompaniment_wav=loud)
    _, _, mixture, vocals = extract(tmp_path / "own")
    np.testing.assert_allclose(mixture, 2 * vocals, atol=1e-6)
    assert np.abs(mixture).max() > 1.2


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "mp3"])
def test_every_format_is_read(tmp_path: Path, suffix: str) -> None:
    files = {f"mixture_{suffix}": tone(2.0), f"vocals_{suffix}": tone(2.0, 330)}
    write(tmp_path / "own" / "A", **files)
    _, _, mixture, vocals = extract(tmp_path / "own")
    assert mixture.shape == vocals.shape
    assert mixture.shape[1] == pytest.approx(2 * RATE, abs=2500)  # mp3 and ogg pad
    np.testing.assert_allclose(np.abs(vocals).max(), np.abs(tone(2.0, 330)).max(), atol=0.03)


def test_files_of_different_rate_channels_and_length_are_brought_together(tmp_path: Path) -> None:
    folder = write(tmp_path / "own" / "A", mixture_wav=tone(2.0))
    soundfile.write(folder / "vocals.wav", tone(1.5, 330, rate=48000)[:, 0], 48000)
    _, measured, mixture, vocals = extract(tmp_path / "own")
    assert mixture.shape == vocals.shape == (2, RATE * 3 // 2)
    assert measured.length_difference == -RATE // 2
    time = np.arange(RATE) / RATE
    expected = 0.2 * (0.6 + 0.4 * np.sin(2 * np.pi * 0.7 * time)) * np.sin(2 * np.pi * 330 * time)
    np.testing.assert_allclose(vocals[0, 100:RATE], expected[100:], atol=1e-3)


def test_vocals_that_are_longer_are_cut_to_the_accompaniment(tmp_path: Path) -> None:
    write(tmp_path / "own" / "A", vocals_wav=tone(2.5, 330), accompaniment_wav=tone(1.2))
    _, measured, mixture, vocals = extract(tmp_path / "own")
    assert mixture.shape == vocals.shape == (2, round(1.2 * RATE))
    assert measured.length_difference == round(1.3 * RATE)


def test_labels_beside_the_files_are_used(tmp_path: Path) -> None:
    folder = write(tmp_path / "own" / "some folder", mixture_wav=tone(0.2), vocals_wav=tone(0.2))
    (folder / "track.yaml").write_text("artist: Ann\ntitle: One\nlicence: CC0\ngenre: Rock\nsplit: test\n")
    (track,) = Own().discover(tmp_path / "own")
    found = (track.artist, track.title, track.licence, track.genre, track.split)
    assert found == ("Ann", "One", "CC0", "Rock", "test")


@pytest.mark.parametrize("text", ["- a list", "split: holdout", "licens: CC0", "artist: [", "\xff"])
def test_labels_that_cannot_be_used_stop_their_track_only(tmp_path: Path, text: str) -> None:
    bad = write(tmp_path / "own" / "Bad", mixture_wav=tone(0.2), vocals_wav=tone(0.2))
    (bad / "track.yaml").write_bytes(text.encode("latin-1"))
    write(tmp_path / "own" / "Good", mixture_wav=tone(0.2), vocals_wav=tone(0.2))
    tracks = {track.title: track for track in Own().discover(tmp_path / "own")}
    assert set(tracks) == {"Bad", "Good"}
    with pytest.raises(InputError, match=r"track\.yaml") as caught:
        Own().extract(tracks["Bad"], pd.DataFrame(), tmp_path)
    assert "split is one of" in caught.value.expected


def test_two_files_of_one_kind_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "own" / "A", mixture_wav=tone(0.2), vocals_wav=tone(0.2), vocals_flac=tone(0.2))
    (track,) = Own().discover(tmp_path / "own")
    with pytest.raises(InputError, match=r"vocals\.flac, vocals\.wav"):
        Own().extract(track, pd.DataFrame(), tmp_path)


def test_folders_without_vocals_are_no_tracks(tmp_path: Path) -> None:
    write(tmp_path / "own" / "A", mixture_wav=tone(0.2))
    write(tmp_path / "own" / "B" / "session", mixture_wav=tone(0.2), vocals_wav=tone(0.2))
    (track,) = Own().discover(tmp_path / "own")
    assert track.slug == "b-session"


def test_a_folder_without_tracks_is_refused(tmp_path: Path, quiet: Callable[[str], None]) -> None:
    settings = Settings(own=str(tmp_path), storage=tmp_path / "storage")
    with pytest.raises(InputError, match="ISOLATION_OWN"):
        Own().discover(Own().obtain(settings, quiet))


def test_other_names_and_kinds_of_files_are_taken(tmp_path: Path) -> None:
    sound = tone(0.2)
    own = tmp_path / "own"
    write(own / "A", mix_wav=sound, Vocals_WAV=sound)
    write(own / "B", Instrumental_flac=sound, VOCALS_aiff=sound)
    write(own / "C", MIX_mp3=sound, vocal_ogg=sound)
    for name, kind in (("D", "m4a"), ("E", "opus")):
        (own / name).mkdir()
        for role in ("mixture", "vocals"):
            command = ["ffmpeg", "-v", "error", "-i", own / "A" / "mix.wav", own / name / f"{role}.{kind}"]
            subprocess.run(command, check=True)
    tracks = Own().discover(own)
    assert [track.title for track in tracks] == ["A", "B", "C", "D", "E"]
    for track in tracks:
        out = tmp_path / track.slug
        out.mkdir()
        measured = Own().extract(track, pd.DataFrame(), out)
        assert set(measured.stems) in ({"mixture", "vocals"}, {"accompaniment", "vocals"})


def test_two_names_of_one_kind_of_file_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "own" / "A", mixture_wav=tone(0.2), mix_flac=tone(0.2), vocals_wav=tone(0.2))
    (track,) = Own().discover(tmp_path / "own")
    with pytest.raises(InputError, match=r"mix\.flac, mixture\.wav"):
        Own().extract(track, pd.DataFrame(), tmp_path)


def test_what_nearly_is_a_track_is_named_with_its_reason(tmp_path: Path) -> None:
    sound, own = tone(0.2), tmp_path / "own"
    write(own / "Good", mixture_wav=sound, vocals_wav=sound)
    write(own / "Lead", mixture_wav=sound)
    soundfile.write(own / "Lead" / "Lead vocals.wav", sound, RATE)
    write(own / "Parts", mixture_wav=sound)
    soundfile.write(own / "Parts" / "vocals-lead.wav", sound, RATE)
    (own / "Parts" / "vocals-choir.wav").symlink_to("nowhere")
    write(own / "Session" / "stems", drums_wav=sound)
    write(own / "Noted", drums_wav=sound)
    (own / "Noted" / "track.yaml").write_text("vokals: [drums]\n")
    write(own / "Alone", vocals_wav=sound)
    write(own / "Played", mixture_wav=sound)
    write(own / "Bounces", drums_wav=sound)
    write(own / "Folder", mixture_wav=sound)
    (own / "Folder" / "vocals.wav").mkdir()
    write(own / "Pipe", mixture_wav=sound)
    os.mkfifo(own / "Pipe" / "vocals.wav")
    write(own / "Broken", mixture_wav=sound)
    (own / "Broken" / "vocals.wav").symlink_to("nowhere")
    (own / "Papers").mkdir()
    (own / "Papers" / "contract.txt").touch()
    tracks = Own().discover(own)
    assert [track.title for track in tracks] == ["Good"]
    assert {one.path.name: one.reason for one in tracks.passed_over} == {
        "Lead": "no file called vocals, but Lead vocals.wav",
        "Parts": "vocals-choir.wav is a broken link",
        "stems": "stems, but no track.yaml beside them that says which are vocals",
        "Noted": "a track.yaml that cannot be used (vokals: ['drums'])",
        "Alone": "vocals, but neither mixture nor accompaniment",
        "Played": "no vocals",
        "Bounces": "audio, but none called vocals",
        "Folder": "vocals.wav is a folder",
        "Pipe": "vocals.wav is a pipe, socket or device",
        "Broken": "vocals.wav is a broken link",
    }


def test_a_source_of_near_tracks_says_why_there_is_none(tmp_path: Path) -> None:
    write(tmp_path / "own" / "A", mix_wav=tone(0.2))
    with pytest.raises(InputError, match=r"passed over: A \(no vocals\)"):
        Own().discover(tmp_path / "own")


@pytest.mark.parametrize(
    ("text", "label"), [("title: no", "no"), ("title: 2020-01-01", "2020-01-01"), ("title: 4:33", "4:33")]
)
def test_a_title_is_what_stands_there(tmp_path: Path, text: str, label: str) -> None:
    folder = write(tmp_path / "own" / "A - B", mixture_wav=tone(0.2), vocals_wav=tone(0.2))
    (folder / "Track.yml").write_text(f"{text}\nartist:\n")
    (track,) = Own().discover(tmp_path / "own")
    assert (track.title, track.artist) == (label, "A")


@pytest.mark.parametrize("kind", ["pipe", "folder", "two", "list", "long"])
def test_labels_of_any_shape_stop_their_track_only(tmp_path: Path, kind: str) -> None:
    for name in ("Bad", "Good"):
        write(tmp_path / "own" / name, mixture_wav=tone(0.2), vocals_wav=tone(0.2))
    labels = tmp_path / "own" / "Bad" / "track.yaml"
    match kind:
        case "pipe":
            os.mkfifo(labels)
        case "folder":
            labels.mkdir()
        case "two":
            labels.write_text("title: a")
            labels.with_suffix(".yml").write_text("title: b")
        case "list":
            labels.write_text("title: [1]")
        case "long":
            labels.write_text(f"title: {'a' * 5000}")
    bad, good = Own().discover(tmp_path / "own")
    with pytest.raises(InputError, match=r"track\.y"):
        Own().extract(bad, pd.DataFrame(), tmp_path)
    Own().extract(good, pd.DataFrame(), tmp_path)


def test_names_of_one_slug_are_two_tracks(tmp_path: Path) -> None:
    for name in ("own", "C", "C#", "王菲 - 她", "王菲 - 他"):
        write(tmp_path / "own" / name, mixture_wav=tone(0.2), vocals_wav=tone(0.2))
    write(tmp_path / "own", mixture_wav=tone(0.2), vocals_wav=tone(0.2))  # the folder itself: a track called own
    tracks = Own().discover(tmp_path / "own")
    assert len({track.slug for track in tracks}) == 6
    assert sorted(track.title for track in tracks) == ["C", "C#", "own", "own", "他", "她"]


def test_what_this_project_made_is_no_source(tmp_path: Path) -> None:
    """Neither a storage root that lies among the tracks, nor an output that was copied there."""
    own = tmp_path / "own"
    write(own / "A", mixture_wav=tone(0.2), vocals_wav=tone(0.2))
    write(own / "storage" / "own" / "stems" / "a", mixture_wav=tone(0.2), vocals_wav=tone(0.2))
    (own / "storage" / "dagster").mkdir()
    (own / "storage" / "dagster" / "dagster.yaml").touch()
    write(own / "copied", mixture_wav=tone(0.2), vocals_wav=tone(0.2))
    (own / "copied" / "record.json").write_text("{}")
    tracks = Own().discover(own)
    assert [track.slug for track in tracks] == ["a"]
    assert {one.path.name for one in tracks.passed_over} == {"storage", "copied"}


def test_a_surround_file_is_refused_by_its_own_name(tmp_path: Path) -> None:
    folder = write(tmp_path / "own" / "A", vocals_wav=tone(0.2))
    soundfile.write(folder / "mixture.wav", np.zeros((1000, 6)), RATE)
    with pytest.raises(InputError, match="6 channels") as caught:
        extract(tmp_path / "own")
    assert caught.value.file == str(folder / "mixture.wav")
    assert list((tmp_path / "out").iterdir()) == []


def test_a_mono_mixture_goes_with_stereo_vocals(tmp_path: Path) -> None:
    folder = write(tmp_path / "own" / "A", vocals_wav=tone(0.5, 330))
    soundfile.write(folder / "mixture.wav", tone(0.5)[:, 0], RATE)
    _, _, mixture, vocals = extract(tmp_path / "own")
    assert mixture.shape == vocals.shape == (2, RATE // 2)
    np.testing.assert_array_equal(mixture[0], mixture[1])


def test_files_whose_headers_do_not_tell_their_length_are_stored_whole(tmp_path: Path) -> None:
    folder = write(tmp_path / "own" / "A", vocals_flac=tone(1.0, 330))
    soundfile.write(folder / "plain.wav", tone(1.0), RATE)
    content = bytearray((folder / "plain.wav").read_bytes())
    at = content.index(b"data") + 4
    content[at : at + 4] = b"\xff\xff\xff\xff"
    (folder / "mixture.wav").write_bytes(content)
    _, measured, mixture, _ = extract(tmp_path / "own")
    np.testing.assert_array_equal(mixture, audio.read(folder / "plain.wav")[0])
    assert measured.frames == RATE
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["mixture.wav", "vocals.wav"]


def test_tracks_too_long_for_a_plain_wav_are_stored_in_one_that_can_count_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audio, "LARGEST", RATE)
    write(tmp_path / "own" / "A", mixture_wav=tone(1.0), vocals_wav=tone(1.0, 330))
    _, _, mixture, _ = extract(tmp_path / "own")
    assert mixture.shape[1] == RATE
    assert (tmp_path / "out" / "mixture.wav").read_bytes()[:4] == b"RF64"


def test_tracks_whose_samples_a_new_version_leaves_as_they_are_are_not_made_again() -> None:
    assert Own().version_for(["mixture.WAV", "vocals.flac", "track.yaml"]) == "1"
    assert Own().version_for(["mixture.wav", "vocals.mp3"]) == Own().code_version != "1"
