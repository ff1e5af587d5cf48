from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
import yaml
from small_datasets import RATE, metadata_of, tone, write_medleydb_track

from data import audio, medleydb_metadata
from data.datasets.medleydb import MedleyDB
from data.errors import InputError
from data.settings import Settings

STEP = 2.0**-15


def extract(root: Path, name: str) -> dict[str, object]:
    """Extract the track `name` of the dataset in `root/audio` and `root/metadata` into `root/out`."""
    (root / "out").mkdir(exist_ok=True)
    table, _ = medleydb_metadata.read_folder(root / "metadata")
    (track,) = [track for track in MedleyDB().discover(root / "audio") if track.details["id"] == name]
    return MedleyDB().extract(track, table[table["id"] == name], root / "out")


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "FLOAT"])
def test_vocals_are_the_sum_of_all_vocal_stems_and_raw_is_ignored(tmp_path: Path, subtype: str) -> None:
    instruments = ["drum set", "female singer", "Main System", "vocalists", "male rapper"]
    stems = write_medleydb_track(tmp_path / "audio", tmp_path / "metadata", "A_Song", instruments, subtype=subtype)
    measured = extract(tmp_path, "A_Song")
    vocals, _ = audio.read(tmp_path / "out" / "vocals.wav")
    np.testing.assert_allclose(vocals.T, stems[1] + stems[3] + stems[4], atol=STEP)
    mixture, _ = audio.read(tmp_path / "out" / "mixture.wav")
    np.testing.assert_array_equal(mixture, audio.read(tmp_path / "audio" / "A_Song" / "A_Song_MIX.wav")[0])
    assert measured["vocal_stems"] == 3
    assert measured["stem_sum_residual_db"] < -50  # the mix is a scaled sum


def test_a_track_without_vocal_stem_gives_silence(tmp_path: Path) -> None:
    write_medleydb_track(tmp_path / "audio", tmp_path / "metadata", "A_Song", ["piano", "violin"])
    assert extract(tmp_path, "A_Song")["vocal_stems"] == 0
    vocals, _ = audio.read(tmp_path / "out" / "vocals.wav")
    assert vocals.shape == (2, 2 * RATE)
    assert not vocals.any()


def test_mono_and_unequal_stems_are_summed_into_the_length_of_the_mix(tmp_path: Path) -> None:
    write_medleydb_track(tmp_path / "audio", tmp_path / "metadata", "A_Song", ["male singer", "female singer"])
    folder = tmp_path / "audio" / "A_Song" / "A_Song_STEMS"
    short, long = tone(1.0, 300)[:, 0], tone(2.5, 400)
    soundfile.write(folder / "A_Song_STEM_01.wav", short, RATE, subtype="FLOAT")
    soundfile.write(folder / "A_Song_STEM_02.wav", long, RATE, subtype="FLOAT")
    measured = extract(tmp_path, "A_Song")
    expected = long[: 2 * RATE].copy()
    expected[:RATE] += short[:, None]
    np.testing.assert_allclose(audio.read(tmp_path / "out" / "vocals.wav")[0].T, expected, atol=1e-6)
    assert measured["length_difference"] == -RATE


@pytest.mark.parametrize(
    ("fault", "file", "found"),
    [
        ("missing stem", "A_Song_STEM_02.wav", "no such file"),
        ("other rate", "A_Song_STEM_02.wav", "22050 Hz"),
        ("three channels", "A_Song_STEM_02.wav", "3 channels"),
        ("NaN", "A_Song_STEM_02.wav", "NaN"),
        ("MIX is not audio", "A_Song_MIX.wav", "not audio"),
    ],
)
def test_an_unusable_file_is_named_with_what_was_found(tmp_path: Path, fault: str, file: str, found: str) -> None:
    write_medleydb_track(tmp_path / "audio", tmp_path / "metadata", "A_Song", ["piano", "male singer"])
    stem = tmp_path / "audio" / "A_Song" / "A_Song_STEMS" / "A_Song_STEM_02.wav"
    match fault:
        case "missing stem":
            stem.unlink()
        case "other rate":
            soundfile.write(stem, tone(2.0), 22050)
        case "three channels":
            soundfile.write(stem, np.zeros((100, 3)), RATE)
        case "NaN":
            soundfile.write(stem, np.full((100, 2), np.nan), RATE, subtype="FLOAT")
        case "MIX is not audio":
            (tmp_path / "audio" / "A_Song" / "A_Song_MIX.wav").write_text("nothing")
    with pytest.raises(InputError) as caught:
        extract(tmp_path, "A_Song")
    assert Path(caught.value.file or "").name == file
    assert found in caught.value.found


def test_a_track_without_metadata_says_which_file_is_missing(tmp_path: Path) -> None:
    write_medleydb_track(tmp_path / "audio", tmp_path / "metadata", "A_Song", ["piano"])
    write_medleydb_track(tmp_path / "audio", tmp_path / "metadata", "B_Song", ["piano"])
    (tmp_path / "metadata" / "B_Song_METADATA.yaml").unlink()
    with pytest.raises(InputError, match=r"B_Song_METADATA\.yaml"):
        extract(tmp_path, "B_Song")


def test_tracks_are_found_at_any_depth_without_a_macs_ghosts(tmp_path: Path) -> None:
    write_medleydb_track(tmp_path / "MedleyDB" / "V2", tmp_path / "metadata", "A_Song", ["piano"])
    ghost = tmp_path / "__MACOSX" / "MedleyDB" / "V2" / "A_Song"
    ghost.mkdir(parents=True)
    (ghost / "A_Song_MIX.wav").write_text("ghost")
    (tmp_path / "MedleyDB" / "V2" / "A_Song" / "._A_Song_MIX.wav").write_text("ghost")
    (track,) = MedleyDB().discover(tmp_path)
    assert (track.slug, track.artist, track.title, track.split) == ("a-song", "A", "Song", None)


def test_a_folder_without_tracks_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="ISOLATION_MEDLEYDB"):
        MedleyDB().discover(tmp_path)


def test_labels_decide_what_is_a_voice() -> None:
    assert medleydb_metadata.is_vocal(["male singer"])
    assert medleydb_metadata.is_vocal(["piano", "choir"])
    assert not medleydb_metadata.is_vocal(["Main System"])
    assert not medleydb_metadata.is_vocal(["crowd"])


def test_one_row_per_stem_and_one_for_a_track_without(tmp_path: Path) -> None:
    contents = {"A_Song": metadata_of("A_Song", ["piano", "vocalists"]), "B_Song": metadata_of("B_Song", [])}
    for name, content in contents.items():
        (tmp_path / f"{name}_METADATA.yaml").write_text(yaml.safe_dump(content))
    table, problems = medleydb_metadata.read_folder(tmp_path)
    assert problems == []
    rows = [(row.id, row.stem, row.vocal) for row in table.itertuples()]
    assert rows[:2] == [("A_Song", "S01", False), ("A_Song", "S02", True)]
    assert rows[2][0] == "B_Song"
    assert pd.isna(rows[2][1])


@pytest.mark.parametrize(("written", "value"), [("'yes'", True), ("yes", True), ("no", False), ("'no'", False)])
def test_quoted_and_unquoted_yes_and_no_are_understood(tmp_path: Path, written: str, value: bool) -> None:
    content = yaml.safe_dump(metadata_of("A_Song", ["piano"])).replace("has_bleed: 'no'", f"has_bleed: {written}")
    (tmp_path / "A_Song_METADATA.yaml").write_text(content)
    table, _ = medleydb_metadata.read_folder(tmp_path)
    assert bool(table["has_bleed"][0]) is value


@pytest.mark.parametrize(
    ("fault", "found"),
    [
        ("broken", "mapping values are not allowed"),
        ("a list", "list"),
        ("lacks stems", "no stems"),
        ("lacks a file name", "S01"),
        ("bleed", "has_bleed: 'maybe'"),
    ],
)
def test_bad_metadata_is_named_and_the_other_files_are_read(tmp_path: Path, fault: str, found: str) -> None:
    content = metadata_of("Bad_Song", ["piano"])
    text = yaml.safe_dump(content)
    match fault:
        case "broken":
            text = "artist: a: b\n" + text
        case "a list":
            text = "- one\n- two\n"
        case "lacks stems":
            text = yaml.safe_dump({key: value for key, value in content.items() if key != "stems"})
        case "lacks a file name":
            text = yaml.safe_dump(content | {"stems": {"S01": {"instrument": "piano"}}})
        case "bleed":
            text = yaml.safe_dump(content | {"has_bleed": "maybe"})
    (tmp_path / "Bad_Song_METADATA.yaml").write_text(text)
    (tmp_path / "Good_Song_METADATA.yaml").write_text(yaml.safe_dump(metadata_of("Good_Song", ["piano"])))
    table, (problem,) = medleydb_metadata.read_folder(tmp_path)
    assert set(table["id"]) == {"Good_Song"}
    assert "Bad_Song" in problem.what
    assert found in problem.found


def test_a_folder_without_metadata_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="ISOLATION_MEDLEYDB_METADATA"):
        medleydb_metadata.read_folder(tmp_path / "nowhere")


def test_a_download_without_a_token_says_how_to_get_one(tmp_path: Path, quiet: Callable[[str], None]) -> None:
    with pytest.raises(InputError, match="request access") as caught:
        MedleyDB().obtain(Settings(storage=tmp_path, medleydb="download", download_token=None), quiet)
    assert "ISOLATION_DOWNLOAD_TOKEN" in caught.value.expected
