from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import pytest
import soundfile
import yaml
from small_datasets import RATE, metadata_of, tone, write_medleydb_track

from data import audio, medleydb_metadata
from data.datasets.base import Dataset, Extracted
from data.datasets.medleydb import MedleyDB
from data.errors import InputError
from data.preparation import TrackJob, raw_version
from data.settings import Settings
from data.tracks import Track

STEP = 2.0**-15


def extract(root: Path, name: str, gains: Literal["measured", "none"] = "none") -> Extracted:
    """Extract the track `name` of the dataset in `root/audio` and `root/metadata` into `root/out`."""
    (root / "out").mkdir(exist_ok=True)
    table, _ = medleydb_metadata.read_folder(root / "metadata")
    (track,) = [track for track in MedleyDB().discover(root / "audio") if track.labelled_as == name]
    return MedleyDB(gains).extract(track, table[table["id"] == name], root / "out")


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "FLOAT"])
def test_vocals_are_the_sum_of_all_vocal_stems_and_raw_is_ignored(tmp_path: Path, subtype: str) -> None:
    instruments = ["drum set", "female singer", "Main System", "vocalists", "male rapper"]
    stems = write_medleydb_track(tmp_path / "audio", tmp_path / "metadata", "A_Song", instruments, subtype=subtype)
    measured = extract(tmp_path, "A_Song")
    vocals, _ = audio.read(tmp_path / "out" / "vocals.wav")
    np.testing.assert_allclose(vocals.T, stems[1] + stems[3] + stems[4], atol=STEP)
    mixture, _ = audio.read(tmp_path / "out" / "mixture.wav")
    np.testing.assert_array_equal(mixture, audio.read(tmp_path / "audio" / "A_Song" / "A_Song_MIX.wav")[0])
    assert measured.vocal_stems == 3
    assert measured.stem_sum_residual_db < -50  # the mix is a scaled sum


def bounced(root: Path, instruments: list[str], gains: np.ndarray, subtype: str = "PCM_24") -> list[np.ndarray]:
    """A track `A_Song` whose mix has its stems at `gains (stems, channels=2)`; returns the stems `(frames, 2)`."""
    stems = write_medleydb_track(root / "audio", root / "metadata", "A_Song", instruments, 4.0, subtype=subtype)
    mix = np.sum([stem * gain for stem, gain in zip(stems, gains, strict=True)], axis=0)
    soundfile.write(root / "audio" / "A_Song" / "A_Song_MIX.wav", mix, RATE, subtype=subtype)
    return stems


GAINS = np.array([[0.5, 0.5], [1.53, 1.53], [0.8, 0.3]])
BAND = ["piano", "female singer", "vocalists"]


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "FLOAT"])
def test_vocal_stems_are_summed_as_loud_as_the_mix_has_them(tmp_path: Path, subtype: str) -> None:
    stems = bounced(tmp_path, BAND, GAINS, subtype)
    measured = extract(tmp_path, "A_Song", "measured")
    vocals, _ = audio.read(tmp_path / "out" / "vocals.wav")
    np.testing.assert_allclose(vocals.T, stems[1] * GAINS[1] + stems[2] * GAINS[2], atol=1e-3)
    np.testing.assert_allclose(measured.vocal_stem_gains_left, GAINS[1:, 0], rtol=0.01)
    np.testing.assert_allclose(measured.vocal_stem_gains_right, GAINS[1:, 1], rtol=0.01)
    # Between the steps of 16 bit: a scaled sample needs finer ones.
    assert audio.info(tmp_path / "out" / "vocals.wav").subtype == {"PCM_16": "PCM_24"}.get(subtype, subtype)
    assert measured.gains_applied
    assert measured.fitted_residual_db < -50 < -15 < measured.stem_sum_residual_db
    # What is left of the mix holds no voice any more: only the piano, at the level that the mix has it at.
    mixture, _ = audio.read(tmp_path / "out" / "mixture.wav")
    np.testing.assert_allclose((mixture - vocals).T, stems[0] * GAINS[0], atol=1e-3)


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24"])
def test_vocals_and_what_is_left_add_up_to_the_mixture_exactly(tmp_path: Path, subtype: str) -> None:
    """Of integers; what floats lose is a last bit of theirs, as in any sum."""
    bounced(tmp_path, BAND, GAINS, subtype)
    extract(tmp_path, "A_Song", "measured")
    mixture, vocals = (audio.read(tmp_path / "out" / name)[0] for name in ("mixture.wav", "vocals.wav"))
    np.testing.assert_array_equal(vocals + (mixture - vocals), mixture)


def test_without_gains_the_sum_is_plain_and_the_levels_are_told_all_the_same(tmp_path: Path) -> None:
    stems = bounced(tmp_path, BAND, GAINS)
    measured = extract(tmp_path, "A_Song", "none")
    vocals = (tmp_path / "out" / "vocals.wav").read_bytes()
    with audio.Writer(tmp_path / "plain.wav", RATE, "PCM_24", frames=len(stems[0])) as wav:
        for start in range(0, len(stems[0]), audio.BLOCK):
            first, second = (stem[start : start + audio.BLOCK].T.astype(np.float32) for stem in stems[1:])
            wav.write(first + second)
    assert vocals == (tmp_path / "plain.wav").read_bytes()
    assert not measured.gains_applied
    np.testing.assert_allclose(measured.vocal_stem_gains_left, GAINS[1:, 0], rtol=0.01)


def test_a_voice_that_no_integer_can_hold_at_its_level_is_written_as_it_is(tmp_path: Path) -> None:
    stems = bounced(tmp_path, ["piano", "male singer"], np.array([[1.0, 1.0], [9.0, 9.0]]), "FLOAT")
    for number, stem in enumerate(stems, start=1):
        path = tmp_path / "audio" / "A_Song" / "A_Song_STEMS" / f"A_Song_STEM_{number:02d}.wav"
        soundfile.write(path, stem, RATE, subtype="PCM_16")
    extract(tmp_path, "A_Song", "measured")
    vocals, _ = audio.read(tmp_path / "out" / "vocals.wav")
    assert audio.info(tmp_path / "out" / "vocals.wav").subtype == "FLOAT"
    assert np.abs(vocals).max() > 1.2
    np.testing.assert_allclose(vocals.T, 9 * stems[1], atol=2e-3)


def test_stems_that_the_mix_is_not_made_of_stay_as_they_were_published(tmp_path: Path) -> None:
    stems = bounced(tmp_path, ["piano", "male singer"], np.ones((2, 2)))
    other = tone(4.0, 777)
    soundfile.write(tmp_path / "audio" / "A_Song" / "A_Song_MIX.wav", other, RATE, subtype="PCM_24")
    measured = extract(tmp_path, "A_Song", "measured")
    assert not measured.gains_applied
    assert measured.fitted_residual_db > -3
    np.testing.assert_allclose(audio.read(tmp_path / "out" / "vocals.wav")[0].T, stems[1], atol=1e-6)


def test_a_gain_that_cannot_be_measured_is_null_and_a_doubtful_one_has_its_reason(tmp_path: Path) -> None:
    gains = np.array([[1.0, 1.0], [0.7, 0.7], [40.0, 40.0]])
    stems = bounced(tmp_path, ["piano", "male singer", "female singer"], gains)
    folder = tmp_path / "audio" / "A_Song" / "A_Song_STEMS"
    soundfile.write(folder / "A_Song_STEM_02.wav", stems[1] * [1, 0], RATE, subtype="PCM_24")
    soundfile.write(folder / "A_Song_STEM_03.wav", stems[2] / 40, RATE, subtype="FLOAT")
    mix = stems[0] + 0.7 * stems[1] * [1, 0] + stems[2]
    soundfile.write(tmp_path / "audio" / "A_Song" / "A_Song_MIX.wav", mix, RATE, subtype="PCM_24")
    measured = extract(tmp_path, "A_Song", "measured")
    assert measured.vocal_stem_gains_left == [pytest.approx(0.7, rel=0.01), None]
    assert measured.vocal_stem_gains_right == [None, None]
    assert [fault.split()[:2] for fault in measured.vocal_gain_faults] == [["S03", "left"], ["S03", "right"]]
    json.dumps(measured.said(), allow_nan=False)


def test_which_gains_are_used_is_part_of_the_recipe_unless_none_are(tmp_path: Path) -> None:
    def dataset(gains: Literal["measured", "none"]) -> Dataset:
        return MedleyDB().configured(Settings(storage=tmp_path, medleydb_gains=gains))

    assert dataset("none").parameters == {}
    assert dataset("measured").parameters == {"gains": "measured"}
    assert Settings(storage=tmp_path).medleydb_gains == "measured"
    # As it travels to a worker, which knows no settings.
    assert pickle.loads(pickle.dumps(dataset("none"))).parameters == {}


def test_labels_that_came_later_leave_a_track_what_it_was_where_they_are_empty(tmp_path: Path) -> None:
    for name in ("A_Song", "B_Song"):
        write_medleydb_track(tmp_path / "audio", tmp_path / "metadata", name, ["piano", "male singer"])
    table, _ = medleydb_metadata.read_folder(tmp_path / "metadata")
    row = Track(dataset="medleydb", name="A_Song", title="Song", artist="A", licence="CC0", files=())

    def version(labels: pd.DataFrame) -> str:
        return raw_version(TrackJob(tmp_path, MedleyDB(), row, labels[labels["id"] == "A_Song"]))

    assert version(table) == version(table.drop(columns=list(medleydb_metadata.LATER)))
    assert version(table.assign(published_gain=0.5)) != version(table)


def test_published_gains_are_found_in_and_beside_the_folder_and_the_best_of_them_is_taken(tmp_path: Path) -> None:
    metadata = tmp_path / "repository" / "data" / "Metadata"
    write_medleydb_track(tmp_path / "audio", metadata, "A_Song", ["piano", *["male singer"] * 4])
    resources = tmp_path / "repository" / "resources"
    resources.mkdir()
    (resources / "mixing_coefficients.yaml").write_text("A_Song: {1: 0.1, 2: 0.2, 5: nothing}\n")
    second = {
        "manual": {2: 0.9},
        "audio": {3: 0.7, 4: 4.0, 5: 1.0},
        "stft": {3: 0.9, 4: 3.0, 5: 0.5},
    }
    (resources / "mixing_coefficients_version2.yaml").write_text(yaml.safe_dump({"A_Song": second, "B": None}))
    for folder in (metadata, tmp_path / "repository"):
        table, problems = medleydb_metadata.read_folder(folder)
        assert problems == []
        # Set by ear before estimated; a value at the bound of its search was not found.
        assert table["published_gain"].fillna(-1).to_list() == [0.1, 0.9, pytest.approx(0.8), -1, -1]


def test_unreadable_coefficients_are_told_and_the_metadata_is_read(tmp_path: Path) -> None:
    (tmp_path / "A_Song_METADATA.yaml").write_text(yaml.safe_dump(metadata_of("A_Song", ["piano"])))
    (tmp_path / "mixing_coefficients.yaml").write_text("- 1\n")
    table, (problem,) = medleydb_metadata.read_folder(tmp_path)
    assert table["published_gain"].isna().all()
    assert "not a mapping" in problem.found


def test_a_published_gain_stands_beside_the_measured_one(tmp_path: Path) -> None:
    bounced(tmp_path, BAND, GAINS)
    (tmp_path / "metadata" / "mixing_coefficients.yaml").write_text("A_Song: {1: 0.5, 3: 0.8}\n")
    assert extract(tmp_path, "A_Song", "measured").vocal_stem_gains_published == [None, 0.8]


# Stems of the EXTRA collection, which lies beside versions 1 and 2 in the same repository, that are a voice and more.
EXTRA = {
    "Aerosmith_LoveInAnElevator": "female speaker; distorted electric guitar; drum set; piano; synthesizer; shaker",
    "Anberlin_TheFeelGoodDrag": "male singer; synthesizer; vocalists; distorted electric guitar; tambourine",
    "ArcadeFire_BlackMirror": "fx/processed sound; vocalists; female singer",
    "ArcticMonkeys_Brainstorm": "male singer; tambourine; distorted electric guitar; vocalists",
    "BillyIdol_WhiteWedding": "clean electric guitar; distorted electric guitar; choir; synthesizer",
    "Blink182_AllTheSmallThings": "synthesizer; high hat; male singer; vocalists; piano; clean electric guitar",
    "BlueOysterCult_DontFearTheReaper": "auxiliary percussion; electronic organ; male singer; vocalists; "
    "clean electric guitar; synthesizer",
    "ChrisBrown_Yeah": "male singer; vocalists; fx/processed sound",
    "Coldplay_InMyPlace": "male singer; Unlabeled",
    "KingsOfLeon_SexOnFire": "male singer; Unlabeled",
    "LadyGaga_BadRomance": "female singer; vocalists; Unlabeled",
    "MarvinGaye_WhatsGoingOn": "vocalists; snaps",
    "Tesla_ModernDayCowboy": "male singer; distorted electric guitar",
    "TheBeatles_Wait": "male speaker; tambourine; shaker",
}


@pytest.mark.parametrize("name", EXTRA)
def test_a_stem_that_is_voice_and_instrument_is_summed_and_named(tmp_path: Path, name: str) -> None:
    content = metadata_of(name, ["drum set", "vocalists"])
    write_medleydb_track(tmp_path / "audio", tmp_path / "metadata", name, ["drum set", "vocalists"])
    content["stems"]["S02"]["instrument"] = EXTRA[name].split("; ")  # type: ignore[index]
    (tmp_path / "metadata" / f"{name}_METADATA.yaml").write_text(yaml.safe_dump(content))
    measured = extract(tmp_path, name)
    assert measured.vocal_stems == 1
    assert measured.mixed_stems == [f"S02: {EXTRA[name]}"]


@pytest.mark.parametrize(
    ("label", "raw", "mixed"),
    [
        # MedleyDB 1: ClaraBerryAndWooldog_TheBadGuys S02, Creepoid_OldTree S03, Grants_PunchDrunk S08.
        ("female singer", ["female singer", "fx/processed sound"], True),
        ("fx/processed sound", ["male singer"], True),
        ("sampler", ["fx/processed sound", "vocalists"], True),
        ("vocalists", ["male singer", "female singer"], False),
        ("drum set", ["snare drum", "kick drum"], False),
        ("male singer", [], False),
    ],
)
def test_raw_tracks_that_disagree_with_their_stem_are_named(
    tmp_path: Path, label: str, raw: list[str], mixed: bool
) -> None:
    content = metadata_of("A_Song", [label])
    content["stems"]["S01"]["raw"] = {  # type: ignore[index]
        f"R{number:02d}": {"filename": "x.wav", "instrument": one} for number, one in enumerate(raw, start=1)
    }
    (tmp_path / "A_Song_METADATA.yaml").write_text(yaml.safe_dump(content))
    (row,) = medleydb_metadata.read_file(tmp_path / "A_Song_METADATA.yaml")
    assert bool(row["mixed"]) is mixed


@pytest.mark.parametrize("raw", [None, "none", ["x"], {"R01": "x"}, {"R01": {"instrument": None}}])
def test_raw_tracks_of_another_form_say_nothing(tmp_path: Path, raw: object) -> None:
    content = metadata_of("A_Song", ["male singer"])
    content["stems"]["S01"]["raw"] = raw  # type: ignore[index]
    (tmp_path / "A_Song_METADATA.yaml").write_text(yaml.safe_dump(content))
    assert medleydb_metadata.read_file(tmp_path / "A_Song_METADATA.yaml")[0]["mixed"] is None


def test_a_track_without_vocal_stem_gives_silence(tmp_path: Path) -> None:
    write_medleydb_track(tmp_path / "audio", tmp_path / "metadata", "A_Song", ["piano", "violin"])
    assert extract(tmp_path, "A_Song").vocal_stems == 0
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
    assert measured.length_difference == -RATE


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


def test_copies_of_a_metadata_file_count_once(tmp_path: Path) -> None:
    """As where the download and the repository are both there: no stem is summed twice."""
    stems = write_medleydb_track(tmp_path / "audio", tmp_path / "metadata", "A_Song", ["piano", "female singer"])
    (tmp_path / "metadata" / "repository").mkdir()
    content = metadata_of("A_Song", ["piano", "female singer"], website="another page, which says nothing of the sound")
    (tmp_path / "metadata" / "repository" / "A_Song_METADATA.yaml").write_text(yaml.safe_dump(content))
    assert extract(tmp_path, "A_Song").vocal_stems == 1
    np.testing.assert_allclose(audio.read(tmp_path / "out" / "vocals.wav")[0].T, stems[1], atol=STEP)


def test_metadata_files_that_contradict_each_other_stop_their_track_only(tmp_path: Path) -> None:
    for name in ("A_Song", "B_Song"):
        write_medleydb_track(tmp_path / "audio", tmp_path / "metadata", name, ["piano", "female singer"])
    (tmp_path / "metadata" / "copy").mkdir()
    other = tmp_path / "metadata" / "copy" / "A_Song_METADATA.yaml"
    other.write_text(yaml.safe_dump(metadata_of("A_Song", ["piano", "flute"])))
    table, (problem,) = medleydb_metadata.read_folder(tmp_path / "metadata")
    assert set(table["id"]) == {"B_Song"}
    assert problem.what == "medleydb/A_Song: metadata"
    assert problem.file == str(tmp_path / "metadata" / "A_Song_METADATA.yaml")
    assert str(other) in problem.found


def test_a_file_that_is_listed_as_two_stems_sounds_once(tmp_path: Path) -> None:
    content = metadata_of("A_Song", ["female singer", "female singer", "piano"])
    content["stems"]["S02"]["filename"] = content["stems"]["S01"]["filename"]  # type: ignore[index]
    (tmp_path / "A_Song_METADATA.yaml").write_text(yaml.safe_dump(content))
    table, problems = medleydb_metadata.read_folder(tmp_path)
    assert (list(table["stem"]), problems) == (["S01", "S03"], [])
    content["stems"]["S02"]["instrument"] = "flute"  # type: ignore[index]
    (tmp_path / "A_Song_METADATA.yaml").write_text(yaml.safe_dump(content))
    table, (problem,) = medleydb_metadata.read_folder(tmp_path)
    assert table.empty
    assert "as S01 and as S02" in problem.found


HEAD = "artist: a\ntitle: b\ngenre: c\nhas_bleed: no\ninstrumental: no\n"


@pytest.mark.parametrize(
    "text",
    [
        "artist: 2020-13-45\n",
        "artist: &a [*a]\n",
        "[" * 5000,
        "artist: [1]\ntitle: b\ngenre: c\nhas_bleed: no\ninstrumental: no\nstems: {}\n",
        "artist: a\ntitle: b\ngenre: c\nhas_bleed: {}\ninstrumental: no\nstems: {}\n",
        f"{HEAD}stems: 7\n",
        f"{HEAD}stems: {{S01: {{filename: .., instrument: x}}}}\n",
        f"{HEAD}stems: {{S01: {{filename: a, instrument: {{7: 8}}}}}}\n",
    ],
)
def test_metadata_of_any_shape_stops_its_track_only(tmp_path: Path, text: str) -> None:
    (tmp_path / "Bad_METADATA.yaml").write_text(text)
    (tmp_path / "Good_METADATA.yaml").write_text(yaml.safe_dump(metadata_of("Good", ["vocalists"])))
    table, (problem,) = medleydb_metadata.read_folder(tmp_path)
    assert set(table["id"]) == {"Good"}
    assert "Bad_METADATA.yaml" in str(problem)


def test_titles_are_what_stands_in_the_file(tmp_path: Path) -> None:
    content = "artist: Yes\ntitle: 4:33\ngenre: 007\nhas_bleed: no\ninstrumental: 'yes'\nstems: {}\n"
    (tmp_path / "A_METADATA.yaml").write_text(content)
    ((row, _),) = zip(medleydb_metadata.read_folder(tmp_path)[0].itertuples(), [0], strict=True)
    assert (row.artist, row.title, row.genre, row.has_bleed, row.instrumental) == ("Yes", "4:33", "007", False, True)


def test_of_a_track_that_lies_in_two_places_the_fuller_copy_is_taken_and_the_other_named(tmp_path: Path) -> None:
    for place in ("V1", "V1 again"):
        write_medleydb_track(tmp_path / place, tmp_path / "metadata", "A_Song", ["piano", "vocalists"])
    (tmp_path / "V1" / "A_Song" / "A_Song_STEMS" / "A_Song_STEM_02.wav").unlink()
    tracks = MedleyDB().discover(tmp_path)
    assert [track.files[0].parent.parent.name for track in tracks] == ["V1 again"]
    assert [one.path.parent.parent.name for one in tracks.passed_over] == ["V1"]


def test_what_nearly_is_a_track_is_named_and_what_was_deleted_left_alone(tmp_path: Path) -> None:
    write_medleydb_track(tmp_path / "audio", tmp_path / "metadata", "A_Song", ["piano"])
    write_medleydb_track(tmp_path / "audio" / ".Trash-0" / "files", tmp_path / "metadata", "B_Song", ["piano"])
    write_medleydb_track(tmp_path / "elsewhere", tmp_path / "metadata", "C_Song", ["piano"])
    (tmp_path / "audio" / "linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "audio" / "D_Song" / "D_Song_STEMS").mkdir(parents=True)
    (tmp_path / "audio" / "D_Song" / "D_Song_MIX.wav").mkdir()
    (tmp_path / "audio" / "renamed").mkdir()
    (tmp_path / "audio" / "renamed" / "E_Song_MIX.wav").touch()
    tracks = MedleyDB().discover(tmp_path / "audio")
    assert [track.slug for track in tracks] == ["a-song", "c-song"]
    passed = {one.path.relative_to(tmp_path / "audio").as_posix(): one.reason for one in tracks.passed_over}
    assert passed == {
        ".Trash-0": "hidden",
        "D_Song/D_Song_STEMS": "stems without D_Song_MIX.wav",
        "renamed/E_Song_MIX.wav": "in a folder of another name",
    }


def test_a_stem_that_does_not_tell_its_length_is_summed_whole(tmp_path: Path) -> None:
    stems = write_medleydb_track(tmp_path / "audio", tmp_path / "metadata", "A_Song", ["piano", "male singer"])
    file = tmp_path / "audio" / "A_Song" / "A_Song_STEMS" / "A_Song_STEM_02.wav"
    content = bytearray(file.read_bytes())
    at = content.index(b"data") + 4
    content[at : at + 4] = b"\xff\xff\xff\x7f"
    file.write_bytes(content)
    measured = extract(tmp_path, "A_Song", "none")
    assert measured.length_difference == 0
    np.testing.assert_array_equal(audio.read(tmp_path / "out" / "vocals.wav")[0], stems[1].T.astype(np.float32))


def test_a_surround_stem_is_refused_by_its_own_name(tmp_path: Path) -> None:
    write_medleydb_track(tmp_path / "audio", tmp_path / "metadata", "A_Song", ["piano", "male singer"])
    file = tmp_path / "audio" / "A_Song" / "A_Song_STEMS" / "A_Song_STEM_01.wav"
    soundfile.write(file, np.zeros((1000, 6)), RATE)
    with pytest.raises(InputError, match="6 channels") as caught:
        extract(tmp_path, "A_Song", "none")
    assert caught.value.file == str(file)
