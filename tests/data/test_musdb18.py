from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import musdb
import numpy as np
import pandas as pd
import pytest
import soundfile
from small_datasets import RATE, tone, write_hq_dataset, write_hq_track, write_stem_mp4

from data import audio
from data.datasets.musdb18 import Musdb18, extract_stem_mp4
from data.errors import InputError
from data.settings import Settings
from data.tracks import Track

NO_METADATA = pd.DataFrame()


@pytest.fixture(scope="module")
def stem_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_stem_mp4(tmp_path_factory.mktemp("musdb") / "train" / "An Artist - A Song.stem.mp4")


def run_ffmpeg(*arguments: object) -> None:
    subprocess.run(["ffmpeg", "-v", "error", "-nostdin", *map(str, arguments)], check=True)


def empty(folder: Path) -> Path:
    folder.mkdir()
    return folder


def only_track(root: Path) -> Track:
    (track,) = Musdb18().discover(root)
    return track


def test_a_stem_file_reads_as_musdb_reads_it(stem_file: Path, tmp_path: Path) -> None:
    (reference,) = musdb.DB(root=str(stem_file.parent.parent), subsets="train").tracks
    Musdb18().extract(only_track(stem_file.parent.parent), NO_METADATA, tmp_path)
    mixture, rate = audio.read(tmp_path / "mixture.wav")
    vocals, _ = audio.read(tmp_path / "vocals.wav")
    assert rate == RATE
    np.testing.assert_array_equal(mixture, reference.audio.T.astype(np.float32))
    np.testing.assert_array_equal(vocals, reference.targets["vocals"].audio.T.astype(np.float32))


def test_official_parts_and_names_are_kept(stem_file: Path, tmp_path: Path) -> None:
    for name, subset in (
        ("Actions - One Minute Smile", "train"),  # one of musdb's official validation tracks
        ("Some One - Sông Number 1!", "train"),
        ("Al James - Schoolboy Facination", "test"),
    ):
        target = tmp_path / subset / f"{name}.stem.mp4"
        target.parent.mkdir(exist_ok=True)
        shutil.copy(stem_file, target)
    (tmp_path / "train" / "._Some One - Ghost.stem.mp4").write_text("a Mac was here")
    found = {track.slug: (track.split, track.artist, track.title) for track in Musdb18().discover(tmp_path)}
    assert found == {
        "actions-one-minute-smile": ("validation", "Actions", "One Minute Smile"),
        "some-one-song-number-1": ("train", "Some One", "Sông Number 1!"),
        "al-james-schoolboy-facination": ("test", "Al James", "Schoolboy Facination"),
    }


def test_an_archive_that_holds_the_dataset_in_a_folder_is_unpacked_once(
    hq: Path, tmp_path: Path, quiet: Callable[[str], None]
) -> None:
    archive = shutil.make_archive(str(tmp_path / "musdb18"), "zip", hq.parent, hq.name)
    settings = Settings(storage=tmp_path / "storage", musdb18=archive)
    folder = Musdb18().obtain(settings, quiet)
    assert len(Musdb18().discover(folder)) == 9
    before = folder.stat().st_mtime_ns
    assert Musdb18().obtain(settings, quiet).stat().st_mtime_ns == before


def test_a_stem_file_cut_short_is_refused(stem_file: Path, tmp_path: Path) -> None:
    # Index first, as the real files have it: then a cut file decodes without an error, only shorter.
    moved = tmp_path / "An Artist - A Song.stem.mp4"
    run_ffmpeg("-i", stem_file, "-map", "0", "-c", "copy", "-movflags", "faststart", moved)
    whole = moved.read_bytes()
    extract_stem_mp4(moved, empty(tmp_path / "whole"))
    cut = tmp_path / "cut.stem.mp4"
    cut.write_bytes(whole[: int(len(whole) * 0.6)])
    with pytest.raises(InputError, match="cut short or damaged") as caught:
        extract_stem_mp4(cut, empty(tmp_path / "half"))
    assert "as the container says" in caught.value.expected


def test_a_picture_in_a_stem_file_does_no_harm(stem_file: Path, tmp_path: Path) -> None:
    pixel = tmp_path / "cover.png"
    run_ffmpeg("-f", "lavfi", "-i", "color=red:size=16x16:duration=0.04", "-frames:v", "1", pixel)
    pictured = tmp_path / "An Artist - A Song.stem.mp4"
    run_ffmpeg(
        *(
            "-i",
            stem_file,
            "-i",
            pixel,
            "-map",
            "0",
            "-map",
            "1",
            "-c",
            "copy",
            "-disposition:v:0",
            "attached_pic",
            pictured,
        )
    )
    frames = extract_stem_mp4(pictured, empty(tmp_path / "out"))
    assert frames == extract_stem_mp4(stem_file, empty(tmp_path / "plain"))
    assert (tmp_path / "out/vocals.wav").read_bytes() == (tmp_path / "plain/vocals.wav").read_bytes()


def test_a_stem_file_that_is_damaged_in_its_middle_is_refused(stem_file: Path, tmp_path: Path) -> None:
    content = bytearray(stem_file.read_bytes())
    start = content.index(b"mdat") + len(content) // 3
    content[start : start + len(content) // 4] = bytes(len(content) // 4)
    damaged = tmp_path / "damaged.stem.mp4"
    damaged.write_bytes(content)
    with pytest.raises(InputError) as caught:
        extract_stem_mp4(damaged, empty(tmp_path / "out"))
    assert "damaged" in caught.value.found or "frames" in caught.value.found


def test_every_track_has_its_own_licence(tmp_path: Path) -> None:
    empty(tmp_path / "train")
    for name in ("A Classic Education - NightOwl", "Al James - Schoolboy Facination"):
        (tmp_path / "train" / f"{name}.stem.mp4").write_bytes(b"")
    licences = {track.artist: track.licence for track in Musdb18().discover(tmp_path)}
    assert licences["A Classic Education"] == "CC BY-NC-SA 4.0"  # one of MedleyDB's
    assert "restricted" in licences["Al James"]


def test_a_stem_file_that_is_not_audio_is_refused(tmp_path: Path) -> None:
    bad = tmp_path / "bad.stem.mp4"
    bad.write_bytes(b"not an mp4" * 100)
    with pytest.raises(InputError, match="1000 bytes that ffprobe cannot read"):
        extract_stem_mp4(bad, tmp_path)


def test_a_stem_file_with_too_few_streams_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="3 audio streams") as caught:
        extract_stem_mp4(write_stem_mp4(tmp_path / "few.stem.mp4", seconds=1.0, streams=3), tmp_path)
    assert "five audio streams" in caught.value.expected


def test_wav_folders_keep_every_sample(tmp_path: Path) -> None:
    folder = write_hq_track(tmp_path / "in" / "train" / "A - B")
    (tmp_path / "out").mkdir()
    Musdb18().extract(only_track(tmp_path / "in"), NO_METADATA, tmp_path / "out")
    for name in ("mixture.wav", "vocals.wav"):
        np.testing.assert_array_equal(audio.read(tmp_path / "out" / name)[0], audio.read(folder / name)[0])
        assert audio.info(tmp_path / "out" / name).subtype == "PCM_16"


@pytest.mark.parametrize(
    ("fault", "found"),
    [
        ("missing", "no such file"),
        ("mono", "1 channel"),
        ("longer", "110250 frames"),
        ("other rate", "48000 Hz"),
        ("not finite", "NaN"),
        ("not audio", "not audio"),
    ],
)
def test_unusable_vocals_are_named_with_what_was_found(tmp_path: Path, fault: str, found: str) -> None:
    vocals = write_hq_track(tmp_path / "train" / "A - B") / "vocals.wav"
    match fault:
        case "missing":
            vocals.unlink()
        case "mono":
            soundfile.write(vocals, tone(2.0)[:, 0], RATE)
        case "longer":
            soundfile.write(vocals, tone(2.5), RATE)
        case "other rate":
            soundfile.write(vocals, tone(2.0), 48000)
        case "not finite":
            soundfile.write(vocals, np.full((88200, 2), np.nan), RATE, subtype="FLOAT")
        case "not audio":
            vocals.write_text("x" * 100)
    (tmp_path / "out").mkdir()
    with pytest.raises(InputError) as caught:
        Musdb18().extract(only_track(tmp_path), NO_METADATA, tmp_path / "out")
    assert found in caught.value.found
    assert caught.value.file == str(vocals)


@pytest.mark.parametrize("kind", ["missing folder", "empty folder", "empty parts", "text file"])
def test_a_source_without_tracks_is_refused(tmp_path: Path, kind: str, quiet: Callable[[str], None]) -> None:
    source = tmp_path / "source"
    match kind:
        case "empty folder":
            source.mkdir()
        case "empty parts":
            (source / "train").mkdir(parents=True)
        case "text file":
            source.write_text("hello")
    settings = Settings(storage=tmp_path / "storage", musdb18=str(source))
    with pytest.raises(InputError) as caught:
        Musdb18().discover(Musdb18().obtain(settings, quiet))
    assert caught.value.file == str(source)
    assert "ISOLATION_MUSDB18" in caught.value.remedy


def test_two_tracks_whose_names_differ_in_signs_only_have_slugs_of_their_own(tmp_path: Path) -> None:
    write_hq_dataset(tmp_path, train=1, test=0)
    write_hq_track(tmp_path / "train" / "artist 0 - song 0!")
    slugs = {track.slug for track in Musdb18().discover(tmp_path)}
    assert len(slugs) == 2
    assert all(slug.startswith("artist-0-song-0-") for slug in slugs)


def test_a_track_that_is_there_twice_counts_once_and_the_other_is_named(tmp_path: Path, stem_file: Path) -> None:
    """As file and as folder the file is taken; in both parts, the one that is held out."""
    write_hq_dataset(tmp_path, train=2, test=0)
    for part, name in (("train", "Artist 0 - Song 0"), ("test", "Artist 1 - Song 1")):
        (tmp_path / part).mkdir(exist_ok=True)
        shutil.copy(stem_file, tmp_path / part / f"{name}.stem.mp4")
    tracks = Musdb18().discover(tmp_path)
    assert [(track.slug, track.split, track.files[0].suffix) for track in tracks] == [
        ("artist-0-song-0", "train", ".mp4"),
        ("artist-1-song-1", "test", ".mp4"),
    ]
    assert {one.path.parent.name for one in tracks.passed_over} == {"Artist 0 - Song 0", "Artist 1 - Song 1"}


def test_what_is_not_music_is_left_alone_and_named(tmp_path: Path) -> None:
    write_hq_dataset(tmp_path / "MUSDB", train=1, test=0)
    for place in (".Trash-1000/files", "MUSDB/train/@eaDir"):
        write_hq_dataset(tmp_path / place, train=0, test=1)
    (tmp_path / "MUSDB/train/loose.wav").touch()
    write_hq_dataset(tmp_path / "MUSDB copy", train=1, test=0)
    (tmp_path / "licence.txt").mkdir()
    tracks = Musdb18().discover(tmp_path)
    assert [track.files[0].parent for track in tracks] == [tmp_path / "MUSDB/train/Artist 0 - Song 0"]
    passed = {one.path.relative_to(tmp_path).as_posix() for one in tracks.passed_over}
    assert passed == {".Trash-1000", "MUSDB/train/@eaDir", "MUSDB/train/loose.wav", "MUSDB copy"}


def test_a_wav_that_does_not_tell_its_length_is_stored_as_one_that_does(tmp_path: Path) -> None:
    folder = write_hq_track(tmp_path / "in" / "train" / "A - B")
    whole = {name: audio.read(folder / name)[0] for name in ("mixture.wav", "vocals.wav")}
    for name in whole:
        content = bytearray((folder / name).read_bytes())
        at = content.index(b"data") + 4
        content[at : at + 4] = bytes(4)
        (folder / name).write_bytes(content)
    Musdb18().extract(only_track(tmp_path / "in"), NO_METADATA, empty(tmp_path / "out"))
    for name, samples in whole.items():
        np.testing.assert_array_equal(soundfile.read(tmp_path / "out" / name, dtype="float32")[0].T, samples)
        assert audio.info(tmp_path / "out" / name).subtype == "PCM_16"


def test_a_stem_file_may_be_called_anything(stem_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy(stem_file, "-Live:Song %03d.stem.mp4")
    assert extract_stem_mp4(Path("-Live:Song %03d.stem.mp4"), Path()) == audio.info("vocals.wav").frames


def test_stem_files_that_are_none_and_tracks_that_lie_too_deep_are_named_with_the_reason(tmp_path: Path) -> None:
    write_hq_dataset(tmp_path, train=1, test=0)
    write_hq_track(tmp_path / "train" / "more" / "A - Deep")
    (tmp_path / "train" / "A - Folder.stem.mp4").mkdir()
    (tmp_path / "train" / "A - Gone.stem.mp4").symlink_to("nowhere")
    os.mkfifo(tmp_path / "train" / "A - Pipe.stem.mp4")
    found = Musdb18().discover(tmp_path)
    assert [track.slug for track in found] == ["artist-0-song-0"]
    assert {one.path.name: one.reason for one in found.passed_over} == {
        "A - Deep": "deeper than tracks lie in train/",
        "A - Folder.stem.mp4": "a folder",
        "A - Gone.stem.mp4": "a broken link",
        "A - Pipe.stem.mp4": "a pipe, socket or device",
    }
