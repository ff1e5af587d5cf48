"""Own tracks whose vocals are several files: called so, or said so by `track.yaml`."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
import yaml
from small_datasets import RATE, tone

from data import audio
from data.datasets.base import Extracted
from data.datasets.own import Own
from data.engine import ExecutorEngine
from data.errors import InputError
from data.layout import Layout
from data.preparation import is_prepared, prepare_track, raw_version, standing, track_jobs
from data.settings import Settings
from data.sources import INDEX, build_index
from data.tracks import Track

LEAD, CHOIR, DRUMS, BASS = (tone(1.0, pitch) for pitch in (330, 440, 90, 60))


def write(folder: Path, files: dict[str, np.ndarray], labels: str = "") -> Path:
    """Files of a track by their names, and its track.yaml."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, samples in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        soundfile.write(os.fsencode(folder / name), samples, RATE)
    if labels:
        (folder / "track.yaml").write_text(labels)
    return folder


def extract(root: Path) -> tuple[Extracted, np.ndarray, np.ndarray]:
    (track,) = Own().discover(root)
    out = root.parent / "out"
    out.mkdir()
    said = Own().extract(track, pd.DataFrame(), out)
    return said, audio.read(out / "mixture.wav")[0].T, audio.read(out / "vocals.wav")[0].T


def refused(root: Path) -> InputError:
    (track,) = Own().discover(root)
    with pytest.raises(InputError) as caught:
        Own().extract(track, pd.DataFrame(), root)
    return caught.value


@pytest.mark.parametrize(
    "names", [("vocals-lead", "vocals-backing"), ("Vocals_1", "VOCALS 2"), ("vocals é", "vocal-x")]
)
def test_parts_of_the_vocals_are_summed(tmp_path: Path, names: tuple[str, str]) -> None:
    files = {f"{names[0]}.wav": LEAD, f"{names[1]}.flac": CHOIR, "accompaniment.wav": DRUMS}
    write(tmp_path / "own" / "Ann - One", files)
    said, mixture, vocals = extract(tmp_path / "own")
    np.testing.assert_allclose(vocals, LEAD + CHOIR, atol=1e-4)
    np.testing.assert_allclose(mixture, LEAD + CHOIR + DRUMS, atol=1e-4)
    assert (said.vocal_stems, said.vocal_kinds) == (2, sorted(names))
    assert said.stems == sorted([*names, "accompaniment"])
    assert said.length_difference == 0


def test_parts_go_with_a_mixture_that_stays_as_it_is(tmp_path: Path) -> None:
    files = {"vocals-lead.wav": LEAD, "vocals-choir.wav": CHOIR[:20000], "mix.wav": DRUMS, "instrumental.wav": BASS}
    folder = write(tmp_path / "own" / "Ann - One", files)
    said, mixture, vocals = extract(tmp_path / "own")
    np.testing.assert_array_equal(mixture, soundfile.read(folder / "mix.wav", dtype="float32")[0])
    np.testing.assert_allclose(vocals[:20000], (LEAD + CHOIR)[:20000], atol=1e-4)
    np.testing.assert_allclose(vocals[20000:], LEAD[20000:], atol=1e-4)
    assert said.length_difference == 20000 - RATE  # a finding where it is more than the limit
    assert said.stem_sum_residual_db is None  # not all stems are there


def test_a_file_called_vocals_is_the_whole_of_them_and_its_parts_are_named(tmp_path: Path) -> None:
    write(tmp_path / "own" / "A", {"vocals.wav": LEAD, "vocals-dry.wav": CHOIR, "mixture.wav": DRUMS})
    (track,) = tracks = Own().discover(tmp_path / "own")
    assert [path.name for path in track.files] == ["mixture.wav", "vocals.wav"]
    assert [(one.path.name, one.reason) for one in tracks.passed_over] == [
        ("vocals-dry.wav", "a part beside vocals.wav, which is taken")
    ]


def test_one_part_in_two_files_is_refused(tmp_path: Path) -> None:
    files = {"vocals-lead.wav": LEAD, "Vocals-Lead.flac": LEAD, "vocals-choir.wav": CHOIR, "mixture.wav": DRUMS}
    write(tmp_path / "own" / "A", files)
    problem = refused(tmp_path / "own")
    assert problem.found == "Vocals-Lead.flac, vocals-lead.wav"


@pytest.mark.parametrize("home", ["stems/", "Stems/", ""])
def test_a_note_says_which_stems_are_the_vocals(tmp_path: Path, home: str) -> None:
    files = {f"{home}lead.v2.wav": LEAD, f"{home}Choir.flac": CHOIR, f"{home}drums.wav": DRUMS, f"{home}bass.wav": BASS}
    write(tmp_path / "own" / "Ann - One", files, "vocals: [Lead.v2, choir.flac]\ngenre: Rock\n")
    (track,) = tracks = Own().discover(tmp_path / "own")
    assert (track.slug, track.artist, track.genre, tracks.passed_over) == ("ann-one", "Ann", "Rock", [])
    said, mixture, vocals = extract(tmp_path / "own")
    np.testing.assert_allclose(vocals, LEAD + CHOIR, atol=1e-4)
    np.testing.assert_allclose(mixture, LEAD + CHOIR + DRUMS + BASS, atol=2e-4)
    assert said.vocal_kinds == ["Choir", "lead.v2"]
    assert said.stems == ["Choir", "bass", "drums", "lead.v2"]


def test_stems_of_other_rates_lengths_and_channels_are_brought_together(tmp_path: Path) -> None:
    folder = write(
        tmp_path / "own" / "A", {"stems/lead.wav": LEAD[:30000], "stems/bass.wav": BASS[:, 0]}, "vocals: lead"
    )
    soundfile.write(folder / "stems" / "drums.wav", tone(1.5, 90, rate=48000), 48000)
    said, mixture, vocals = extract(tmp_path / "own")
    assert len(mixture) == len(vocals) == RATE * 3 // 2
    np.testing.assert_allclose(vocals[:30000], LEAD[:30000], atol=1e-4)
    assert not vocals[30000:].any()
    middle = slice(2000, 28000)  # resampling blurs the edges
    expected = tone(1.5, 90)[: len(mixture)]
    np.testing.assert_allclose(mixture[middle], (expected[:30000] + LEAD[:30000] + BASS[:30000, :1])[middle], atol=1e-3)
    assert (said.sample_rate, said.length_difference) == (44100, 30000 - RATE * 3 // 2)


@pytest.mark.parametrize("place", ["", "stems/"])
def test_how_far_a_mixture_is_from_its_stems_is_measured(tmp_path: Path, place: str) -> None:
    files = {"stems/lead.wav": LEAD, "stems/drums.wav": DRUMS, f"{place}Mix.wav": LEAD + DRUMS + 0.5 * BASS}
    write(tmp_path / "own" / "A", files, "vocals: [lead]\n")
    said, mixture, _ = extract(tmp_path / "own")
    np.testing.assert_allclose(mixture, LEAD + DRUMS + 0.5 * BASS, atol=1e-4)
    assert said.stem_sum_residual_db == pytest.approx(-9.5, abs=0.5)
    assert said.stems == ["drums", "lead"]


def test_a_track_without_vocals_says_so(tmp_path: Path) -> None:
    write(tmp_path / "own" / "A", {"stems/drums.wav": DRUMS, "stems/bass.wav": BASS}, "vocals: []\n")
    said, mixture, vocals = extract(tmp_path / "own")
    assert said.vocal_stems == 0
    assert not vocals.any()
    np.testing.assert_allclose(mixture, DRUMS + BASS, atol=1e-4)


def test_stems_of_any_name_are_found_by_it(tmp_path: Path) -> None:
    names = ["chœur été", "007", "no", "'q\" & -x", "王菲", "a" * 200]
    files = {f"stems/{unicodedata.normalize('NFD', name)}.wav": LEAD / 10 for name in names}
    files |= {"stems/" + os.fsdecode(b"S\xf6ng") + ".wav": DRUMS, "stems/\nb.wav": BASS}
    folder = write(tmp_path / "own" / "A", files)
    (folder / "track.yaml").write_text(yaml.safe_dump({"vocals": names}, allow_unicode=True))
    said, mixture, vocals = extract(tmp_path / "own")
    assert said.vocal_stems == len(names)
    np.testing.assert_allclose(vocals, LEAD * len(names) / 10, atol=1e-3)
    np.testing.assert_allclose(mixture, LEAD * len(names) / 10 + DRUMS + BASS, atol=1e-3)
    assert "S\\xf6ng" in said.stems


STEMS = {"stems/lead.wav": LEAD, "stems/drums.wav": DRUMS}


@pytest.mark.parametrize(
    ("files", "labels", "found"),
    [
        (STEMS, "vocals: [lead, choir]", "no stem choir"),
        (STEMS, "vocals: [lead]\nlicens: CC0", "licens: 'CC0'"),
        (STEMS, "vocals: {lead: 1}", "vocals: {'lead': '1'}"),
        (STEMS, "vocals: [[lead]]", "vocals: [['lead']]"),
        (STEMS, "vocals: [lead", "line 1"),
        (STEMS, "vocals: [lead, drums]", "no other stem, and no mixture"),
        (STEMS | {"stems/Lead.flac": LEAD}, "vocals: [lead]", "Lead.flac, lead.wav"),
        (STEMS | {"mixture.wav": LEAD, "stems/mix.wav": LEAD}, "vocals: [lead]", "mixture.wav, mix.wav"),
        (STEMS | {"Stems/bass.wav": BASS}, "vocals: [lead]", "Stems, stems"),
        ({"mixture.wav": DRUMS, "vocals.wav": LEAD}, "vocals: [lead]", "no stem lead"),
        ({}, "vocals: [lead]", "no stem lead"),
    ],
)
def test_stems_that_are_not_as_the_note_says_stop_their_track_only(
    tmp_path: Path, files: dict[str, np.ndarray], labels: str, found: str
) -> None:
    folder = write(tmp_path / "own" / "Bad", files, labels)
    write(tmp_path / "own" / "Good", {"mixture.wav": DRUMS, "vocals.wav": LEAD})
    bad, good = Own().discover(tmp_path / "own")
    (tmp_path / "out").mkdir()
    with pytest.raises(InputError) as caught:
        Own().extract(bad, pd.DataFrame(), tmp_path / "out")
    assert found in caught.value.found
    assert caught.value.file == str(folder)
    Own().extract(good, pd.DataFrame(), tmp_path / "out")


@pytest.mark.parametrize("entry", ["link", "folder", "mixture"])
def test_an_entry_that_is_called_like_a_stem_and_is_no_file_is_refused(tmp_path: Path, entry: str) -> None:
    folder = write(tmp_path / "own" / "A", STEMS, "vocals: [lead]\n")
    match entry:
        case "link":
            (folder / "stems" / "bass.wav").symlink_to("nowhere")
        case "folder":
            (folder / "stems" / "bass.wav").mkdir()
        case "mixture":
            (folder / "mixture.flac").symlink_to("nowhere")
    assert "is a" in refused(tmp_path / "own").found


def test_a_stem_that_cannot_be_used_is_refused_by_its_own_name(tmp_path: Path) -> None:
    folder = write(tmp_path / "own" / "A", STEMS, "vocals: [lead]\n")
    soundfile.write(folder / "stems" / "room.wav", np.zeros((1000, 6)), RATE)
    assert refused(tmp_path / "own").file == str(folder / "stems" / "room.wav")


def test_what_lies_beside_the_stems_is_named(tmp_path: Path) -> None:
    write(tmp_path / "own" / "A", STEMS | {"vocals.wav": CHOIR, "demo.wav": CHOIR, "mix.wav": BASS}, "vocals: [lead]")
    (track,) = tracks = Own().discover(tmp_path / "own")
    assert {path.name for path in track.files} == {"mix.wav", "lead.wav", "drums.wav", "track.yaml"}
    assert {(one.path.name, one.reason) for one in tracks.passed_over} == {
        (name, "beside stems/, of which track.yaml speaks") for name in ("vocals.wav", "demo.wav")
    }


def test_folders_called_stems_that_were_tracks_stay_what_they_were(tmp_path: Path) -> None:
    own = tmp_path / "own"
    pair = {"vocals.wav": LEAD, "mixture.wav": DRUMS}
    write(own / "A", {f"stems/{name}": sound for name, sound in pair.items()}, "artist: Ann\n")
    write(own / "B", {f"stems/{name}": sound for name, sound in pair.items()}, "artist: [\n")
    write(own / "C", pair | {"stems/lead.wav": LEAD})
    tracks = Own().discover(own)
    assert [track.slug for track in tracks] == ["a-stems", "b-stems", "c"]
    assert all(track.details == {} and len(track.files) == 2 for track in tracks)


def test_another_choice_of_stems_makes_the_track_again_and_what_is_indexed_is_what_is_extracted(tmp_path: Path) -> None:
    folder = write(tmp_path / "own" / "A", STEMS | {"stems/choir.wav": CHOIR}, "vocals: [lead]\n")
    write(tmp_path / "own" / "B", {"mixture.wav": DRUMS, "vocals-a.wav": LEAD, "vocals-b.wav": CHOIR})
    settings = Settings(storage=tmp_path / "storage", own=str(tmp_path / "own"))
    layout, versions = Layout(settings.root), []
    for labels in ("vocals: [lead]\n", "vocals: [lead, choir]\n"):
        (folder / "track.yaml").write_text(labels)
        INDEX.write(layout.index("own"), build_index(Own(), settings, str, ExecutorEngine(1)))
        jobs = track_jobs(settings, Own())
        assert not is_prepared(jobs["a"])
        assert [prepare_track(job).problem for job in jobs.values()] == [None, None]
        versions.append([raw_version(job) for job in jobs.values()])
    assert versions[0][0] != versions[1][0]
    assert versions[0][1] == versions[1][1]
    vocals, _ = audio.read(layout.normalised("own", "a") / "vocals.wav")
    np.testing.assert_allclose(vocals.T, LEAD + CHOIR, atol=1e-4)
    (folder / "stems" / "bass.wav").write_bytes((folder / "stems" / "drums.wav").read_bytes())
    INDEX.write(layout.index("own"), build_index(Own(), settings, str, ExecutorEngine(1)))
    assert "bass.wav" in str(standing(track_jobs(settings, Own())["a"]))


def test_stems_behind_a_link_are_looked_at_where_it_lies(tmp_path: Path) -> None:
    write(tmp_path, STEMS)
    folder = write(tmp_path / "own" / "A", {}, "vocals: [lead]\n")
    (folder / "Stems").symlink_to(tmp_path / "stems")
    tracks: list[Track] = Own().discover(tmp_path / "own")
    assert [track.details["roles"] for track in tracks] == ["target rest"]
