from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from data import duplicates
from data.duplicates import find_duplicates, load_fingerprints, name_key, recognise, tracks_inside
from data.recognition import ROWS

PRECEDENCE = ["musdb18", "medleydb", "own"]


def manifest(*rows: tuple[str, str, str, str | None]) -> pd.DataFrame:
    """Tracks of (id, artist, title, official split)."""
    table = pd.DataFrame(rows, columns=["track_id", "artist", "title", "official_split"])
    return table.assign(dataset=table["track_id"].str.split("/").str[0], mixture_sha256=table["track_id"])


def recording(seed: int, frames: int = 400) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 2**32, frames, dtype=np.uint32)


SHARED = (
    ("medleydb/aclassiceducation-nightowl", "AClassicEducation", "NightOwl", None),
    ("medleydb/claraberryandwooldog-thebadguys", "ClaraBerryAndWooldog", "TheBadGuys", None),
)


def test_the_registry_holds_46_tracks() -> None:
    shared = tracks_inside("musdb18", of="medleydb")
    assert len(shared) == 46
    assert name_key("A Classic Education", "Night Owl") in shared


def test_known_copies_give_way_to_musdb18() -> None:
    table = manifest(*SHARED, ("musdb18/x", "A Classic Education", "Night Owl", "train"))
    (row,) = find_duplicates(table, {}, PRECEDENCE).itertuples()
    assert (row.track_id, row.original, row.how) == (SHARED[0][0], "musdb18/x", "registry")


def test_known_copies_are_dropped_even_where_musdb18_spells_them_otherwise() -> None:
    table = manifest(*SHARED, ("musdb18/x", "ACE", "Owl (night)", "train"))
    (row,) = find_duplicates(table, {}, PRECEDENCE).itertuples()
    assert row.track_id == SHARED[0][0]
    assert pd.isna(row.original)


@pytest.mark.parametrize("others", [[], [("musdb18/x", "Al James", "Schoolboy Facination", "test")]])
def test_without_musdb18s_training_part_nothing_is_a_known_copy(others: list[tuple[str, str, str, str]]) -> None:
    assert find_duplicates(manifest(*SHARED, *others), {}, PRECEDENCE).empty


def test_which_datasets_overlap_stands_in_the_rows_of_the_registry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = tmp_path / "registry.yaml"
    registry.write_text(
        "- {dataset: duets, inside: medleydb, splits: [test], tracks: [Ann_One, Bob_Two]}\n"
        "- {dataset: own, inside: duets, splits: [train], tracks: [Cid Three]}\n"
    )
    monkeypatch.setattr(duplicates, "_REGISTRY", registry)
    monkeypatch.setattr(duplicates, "overlaps", duplicates.overlaps.__wrapped__)
    table = manifest(
        ("duets/ann-one", "Ann", "One", "train"),
        ("duets/dot-four", "Dot", "Four", "train"),
        ("medleydb/x", "Ann", "One", "test"),
        ("own/cid-three", "Cid", "Three", None),
    )
    found = find_duplicates(table, {}, ["medleydb", "duets", "own"])
    assert list(found["track_id"]) == ["duets/ann-one", "own/cid-three"]
    assert found["original"].fillna("").to_list() == ["medleydb/x", ""]
    assert tracks_inside("duets", of="own") == {"cidthree"}
    assert tracks_inside("musdb18", of="medleydb") == set()


def test_the_same_recording_under_two_names_is_found_by_what_is_heard() -> None:
    table = manifest(
        ("own/theirs", "Someone", "Something", None),
        ("medleydb/b", "B", "B", None),
        ("musdb18/a", "A", "A", "test"),
        ("musdb18/c", "C", "C", "train"),
    )
    prints = {name: recording(number) for number, name in enumerate(table["track_id"])}
    prints["own/theirs"] = np.concatenate([recording(99, 40), prints["musdb18/a"]])
    (row,) = find_duplicates(table, prints, PRECEDENCE).itertuples()
    assert (row.track_id, row.original, row.how) == ("own/theirs", "musdb18/a", "fingerprint")
    assert row.similarity > 0.99
    assert row.offset_s == pytest.approx(40 * 1365 / 11025)  # the original begins that far into the copy


@pytest.mark.parametrize(
    ("first", "second", "gives_way"),
    [
        (("musdb18/a", "train"), ("musdb18/b", "test"), "musdb18/a"),
        (("musdb18/a", "train"), ("musdb18/b", "validation"), "musdb18/a"),
        (("own/a", "test"), ("musdb18/b", "train"), "musdb18/b"),
        (("own/a", None), ("medleydb/b", None), "own/a"),
        (("own/a", None), ("own/b", None), "own/b"),
    ],
)
def test_test_tracks_stay_then_the_first_dataset(
    first: tuple[str, str | None], second: tuple[str, str | None], gives_way: str
) -> None:
    table = manifest((first[0], "X", "x", first[1]), (second[0], "Y", "y", second[1]))
    prints = {first[0]: recording(1), second[0]: recording(1)}
    (row,) = find_duplicates(table, prints, PRECEDENCE).itertuples()
    assert row.track_id == gives_way


def test_an_instrumental_is_told_as_sharing_the_accompaniment_and_not_as_a_copy() -> None:
    table = manifest(("own/karaoke", "Someone", "Something", None), ("musdb18/a", "A", "A", "test"))
    sung, played, silent = recording(1), recording(2), np.zeros(400, np.uint32)
    rows = {"musdb18/a": {"mixture": sung, "accompaniment": played}, "own/karaoke": {"mixture": played}}
    prints = {}
    for name, heard in rows.items():
        each = [heard.get(what, silent[:0]) if pace == 1 else silent[:0] for what, pace in ROWS]
        prints[name] = np.array([[len(row), *row, *silent[len(row) :]] for row in each], dtype=np.uint32)
    (row,) = find_duplicates(table, prints, PRECEDENCE).itertuples()
    assert (row.track_id, row.original, row.how) == ("own/karaoke", "musdb18/a", "accompaniment")
    assert (row.agreement, row.rate) == (1.0, 1.0)


def test_fingerprints_are_read_from_beside_the_audio(tmp_path: Path) -> None:
    folder = tmp_path / "own" / "normalised" / "a"
    folder.mkdir(parents=True)
    np.save(folder / "recording.npy", recording(1))
    table = pd.DataFrame({"track_id": ["own/a"], "mixture_path": ["own/normalised/a/mixture.wav"]})
    np.testing.assert_array_equal(load_fingerprints(tmp_path, table)["own/a"], recording(1))


def test_equal_audio_is_the_same_recording_though_it_says_nothing_of_itself() -> None:
    table = manifest(
        ("own/theirs", "Somebody", "Drone", None), ("own/ours", "Us", "Hum", None), ("own/c", "C", "C", None)
    )
    table["mixture_sha256"] = ["steady tone", "steady tone", "another"]
    (row,) = find_duplicates(table, {}, PRECEDENCE).itertuples()
    assert (row.track_id, row.original, row.how) == ("own/theirs", "own/ours", "checksum")


def test_a_track_that_comes_back_under_another_name_is_recognised_as_the_one_that_is_gone() -> None:
    new = {"own/b": recording(1), "own/c": recording(2)}
    gone = {"own/old name": recording(1)[20:], "own/other": recording(3), "own/another": recording(4)}
    assert recognise(new, gone) == {"own/b": ["own/old name"]}
    assert recognise({"own/b": recording(1), "own/a": recording(1)}, {"own/c": recording(2)}) == {}
