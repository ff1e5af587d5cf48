from __future__ import annotations

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.artists import artist_key
from data.duplicates import DUPLICATES
from data.errors import InputError
from data.loopback import PAIRS, build_pairs, misplaced_loopback
from data.splits import held_out, leaks, misused_faults, misused_official, shared_recordings, split_tracks
from data.tables import read_table, write_table

NO_COPIES = pd.DataFrame(columns=DUPLICATES.names)
DEFAULTS = {"seed": 0, "reserved_tracks": 10, "validation_share": 0.14, "test_share": 0.15}


def manifest(rows: list[tuple[str, str, str | None]], activity: float = 0.8) -> pd.DataFrame:
    """A manifest of (dataset, artist, official split) rows."""
    return pd.DataFrame(
        [
            {
                "track_id": f"{dataset}/t{number}",
                "dataset": dataset,
                "artist": artist,
                "official_split": split,
                "vocal_activity": activity,
                "mixture_path": f"{dataset}/normalised/t{number}/mixture.wav",
                "vocals_path": f"{dataset}/normalised/t{number}/vocals.wav",
                "mixture_sha256": f"m{number}",
                "vocals_sha256": f"v{number}",
                "frames": 1000,
                "has_bleed": None,
                "errata": None,
                "errata_action": None,
            }
            for number, (dataset, artist, split) in enumerate(rows)
        ]
    )


def musdb(train: int = 86, validation: int = 14, test: int = 50) -> list[tuple[str, str, str | None]]:
    return [
        ("musdb18", f"artist {split} {number}", split)
        for split, count in (("train", train), ("validation", validation), ("test", test))
        for number in range(count)
    ]


ROWS = st.lists(
    st.tuples(st.just("musdb18"), st.integers(0, 30).map(str), st.sampled_from(["train", "validation", "test"]))
    | st.tuples(st.just("medleydb"), st.integers(20, 50).map(str), st.none()),
    min_size=5,
    max_size=60,
)


@settings(max_examples=60, deadline=None)
@given(ROWS, st.integers(0, 5))
def test_no_artist_is_ever_in_two_splits(rows: list[tuple[str, str, str | None]], seed: int) -> None:
    table = manifest(rows)
    try:
        splits = split_tracks(table, NO_COPIES, **DEFAULTS | {"seed": seed})
    except InputError:
        return  # too few artists: refused, not leaked
    assert leaks(splits) == []
    assert sorted(splits["track_id"]) == sorted(table["track_id"])
    official = table.set_index("track_id").loc[splits["track_id"], "official_split"].to_numpy()
    assert set(splits.loc[official == "test", "split"]) <= {"test", "reserved"}


def test_musdbs_official_parts_are_kept_and_ten_test_tracks_reserved() -> None:
    splits = split_tracks(manifest(musdb()), NO_COPIES, **DEFAULTS)
    assert splits["split"].value_counts().to_dict() == {"train": 86, "validation": 14, "test": 40, "reserved": 10}


def test_a_dataset_without_official_parts_is_split_by_artist() -> None:
    rows = [("medleydb", f"artist {number // 2}", None) for number in range(74)]
    counts = split_tracks(manifest(rows), NO_COPIES, **DEFAULTS)["split"].value_counts()
    assert counts["reserved"] == 10
    assert 8 <= counts["test"] <= 11
    assert 8 <= counts["validation"] <= 11


def test_the_same_seed_gives_the_same_split_and_another_seed_another() -> None:
    table = manifest([("medleydb", str(number), None) for number in range(40)])
    first, again = split_tracks(table, NO_COPIES, **DEFAULTS), split_tracks(table.iloc[::-1], NO_COPIES, **DEFAULTS)
    pd.testing.assert_frame_equal(first, again)
    assert not first.equals(split_tracks(table, NO_COPIES, **DEFAULTS | {"seed": 1}))


def test_an_artist_of_two_datasets_is_one_artist() -> None:
    assert artist_key("Clara Berry And Wooldog") == artist_key("ClaraBerryAndWooldog")
    rows = [*musdb(), ("medleydb", "ArtistTest0", None), ("medleydb", "ArtistTrain0", None)]
    table = manifest(rows)
    splits = split_tracks(table, NO_COPIES, **DEFAULTS).set_index("track_id")["split"]
    assert splits["medleydb/t150"] in ("test", "reserved")
    assert splits["medleydb/t151"] == "train"


def test_a_small_corpus_reserves_fewer() -> None:
    rows = [*musdb(train=11, validation=0, test=6), *[("medleydb", str(number), None) for number in range(8)]]
    counts = split_tracks(manifest(rows), NO_COPIES, **DEFAULTS)["split"].value_counts()
    assert counts["reserved"] == 5
    assert counts["validation"] >= 2


def test_tracks_without_vocals_are_not_reserved() -> None:
    table = manifest([("medleydb", str(number), None) for number in range(40)])
    table.loc[:30, "vocal_activity"] = 0.0
    splits = split_tracks(table, NO_COPIES, **DEFAULTS)
    reserved = splits.loc[splits["split"] == "reserved", "track_id"]
    assert len(reserved) == 8
    assert (table.set_index("track_id").loc[reserved, "vocal_activity"] > 0).all()


@pytest.mark.parametrize("rows", [musdb(train=0, validation=0, test=6), [("medleydb", "one", None)] * 2])
def test_a_corpus_with_nothing_to_train_on_is_refused(rows: list[tuple[str, str, str | None]]) -> None:
    with pytest.raises(InputError, match="at least one track in"):
        split_tracks(manifest(rows), NO_COPIES, **DEFAULTS)


def test_the_check_finds_tracks_and_artists_in_two_splits() -> None:
    splits = split_tracks(manifest(musdb()), NO_COPIES, **DEFAULTS)
    broken = splits.copy()
    broken.loc[broken["split"] == "test", "artist_key"] = broken.loc[broken["split"] == "train", "artist_key"].iloc[0]
    (problem,) = leaks(broken)
    assert "in test and train" in problem
    twice = pd.concat([splits, splits.head(1).assign(split="moved", artist_key="x")])
    assert any(problem.startswith(f"track {splits['track_id'][0]}") for problem in leaks(twice))


def copies(*rows: tuple[str, str | None, str]) -> pd.DataFrame:
    """Duplicates of (copy, original, how)."""
    return pd.DataFrame(rows, columns=["track_id", "original", "how"])


def split_of(splits: pd.DataFrame, track_id: str) -> str:
    return splits.set_index("track_id").loc[track_id, "split"]


def test_a_copy_is_excluded_with_the_reason_and_its_artist_goes_with_the_original() -> None:
    table = manifest([*musdb(), ("medleydb", "other name", None), ("medleydb", "other name", None)])
    first, second = table["track_id"][150:]
    original = table.loc[table["official_split"] == "test", "track_id"].iloc[0]
    found = copies((first, original, "fingerprint"))
    splits = split_tracks(table, found, **DEFAULTS)
    assert split_of(splits, first) == "excluded"
    assert original in splits.set_index("track_id").loc[first, "reason"]
    assert split_of(splits, second) == split_of(splits, original)
    assert split_of(splits, second) in ("test", "reserved")
    assert shared_recordings(splits, found) == []


def test_an_official_test_track_is_never_excluded_as_a_copy() -> None:
    table = manifest(musdb())
    first, second = table.loc[table["official_split"] == "test", "track_id"].iloc[:2]
    splits = split_tracks(table, copies((first, second, "fingerprint")), **DEFAULTS)
    assert split_of(splits, first) == split_of(splits, second)
    assert split_of(splits, first) in ("test", "reserved")


@settings(max_examples=60, deadline=None)
@given(ROWS, st.integers(0, 5), st.lists(st.tuples(st.integers(0, 59), st.integers(0, 59)), max_size=8))
def test_no_recording_is_ever_in_two_splits(
    rows: list[tuple[str, str, str | None]], seed: int, pairs: list[tuple[int, int]]
) -> None:
    table = manifest(rows)
    names = list(table["track_id"])
    found = copies(*((names[a], names[b], "fingerprint") for a, b in pairs if a != b and max(a, b) < len(names)))
    try:
        splits = split_tracks(table, found, **DEFAULTS | {"seed": seed})
    except InputError:
        return
    assert leaks(splits) == []
    assert shared_recordings(splits, found) == []
    official_test = set(table.loc[table["official_split"] == "test", "track_id"])
    assert not set(splits.loc[splits["split"].isin(["train", "validation", "excluded"]), "track_id"]) & official_test


def test_a_known_copy_of_musdb18_is_excluded_though_its_original_has_another_name() -> None:
    table = manifest([*musdb(), ("medleydb", "one", None)])
    found = copies(("medleydb/t150", None, "registry"))
    splits = split_tracks(table, found, **DEFAULTS)
    assert split_of(splits, "medleydb/t150") == "excluded"
    assert shared_recordings(splits.assign(split="train"), found) == [
        "medleydb/t150 is in train, but MUSDB18 holds the same recording"
    ]


def test_errata_take_tracks_out_of_training_and_never_out_of_test() -> None:
    table = manifest(musdb())
    bad = [f"musdb18/t{number}" for number in (0, 90, 120)]  # official train, validation, test
    named = table["track_id"].isin(bad)
    table = table.assign(
        errata_action=named.map({True: "exclude", False: None}), errata=named.map({True: "hum", False: None})
    )
    splits = split_tracks(table, NO_COPIES, **DEFAULTS)
    assert [split_of(splits, track) for track in bad] == ["excluded", "excluded", "test"]
    assert splits.set_index("track_id").loc[bad[0], "reason"] == "errata: hum"


@pytest.mark.parametrize(("bleed", "split"), [("exclude", "excluded"), ("keep", "train")])
def test_bleed_is_honoured_by_a_setting(bleed: str, split: str) -> None:
    table = manifest(musdb())
    table["has_bleed"] = [True] + [None] * 149
    assert split_of(split_tracks(table, NO_COPIES, **DEFAULTS, bleed=bleed), "musdb18/t0") == split


def test_bleed_into_silence_does_no_harm() -> None:
    table = manifest(musdb(), activity=0.0)
    table["has_bleed"] = [True] + [None] * 149
    assert split_of(split_tracks(table, NO_COPIES, **DEFAULTS, bleed="exclude"), "musdb18/t0") == "train"


def test_the_check_finds_copies_in_two_splits() -> None:
    table = manifest(musdb())
    splits = split_tracks(table, NO_COPIES, **DEFAULTS)
    train, test = (splits.loc[splits["split"] == name, "track_id"].iloc[0] for name in ("train", "test"))
    (problem,) = shared_recordings(splits, copies((train, test, "fingerprint")))
    assert train in problem
    assert test in problem


def test_held_out_tracks_are_test_and_reserved() -> None:
    table = manifest(musdb())
    splits = split_tracks(table, NO_COPIES, **DEFAULTS)
    assert held_out(table, splits)["split"].value_counts().to_dict() == {"test": 40, "reserved": 10}


@pytest.fixture
def pairs_and_splits() -> tuple[pd.DataFrame, pd.DataFrame]:
    table = manifest(musdb())
    table.loc[:20, "vocal_activity"] = 0.0
    splits = split_tracks(table, NO_COPIES, **DEFAULTS)
    return build_pairs(table, splits, seed=0, vocal_share=0.1, instrumental_share=0.2), splits


def test_loopback_is_a_share_of_the_training_tracks_only(pairs_and_splits: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    pairs, splits = pairs_and_splits
    assert pairs["kind"].value_counts().to_dict() == {
        "original": 100,
        "vocal_loopback": 9,
        "instrumental_loopback": 17,
    }
    assert misplaced_loopback(pairs, splits) == []
    assert set(pairs["split"]) == {"train", "validation"}
    meaning = pairs.groupby("kind")[["input", "target"]].agg(lambda values: set(values).pop())
    assert meaning.loc["vocal_loopback"].tolist() == ["vocals", "vocals"]
    assert meaning.loc["instrumental_loopback"].tolist() == ["accompaniment", "silence"]


def test_tracks_without_vocals_give_no_vocal_loopback(pairs_and_splits: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    pairs, _ = pairs_and_splits
    silent = {f"musdb18/t{number}" for number in range(21)}
    assert silent.isdisjoint(pairs.loc[pairs["kind"] == "vocal_loopback", "track_id"])


def test_the_check_finds_loopback_outside_training(pairs_and_splits: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    pairs, splits = pairs_and_splits
    victim = pairs.index[pairs["kind"] == "vocal_loopback"][0]
    claimed = pairs.copy()
    claimed.loc[victim, "split"] = "validation"
    assert misplaced_loopback(claimed, splits) == [pairs["track_id"][victim]]
    moved = splits.copy()
    moved.loc[moved["track_id"] == pairs["track_id"][victim], "split"] = "test"
    assert misplaced_loopback(pairs, moved) == [pairs["track_id"][victim]]


def test_no_loopback_when_the_shares_are_zero() -> None:
    table = manifest(musdb())
    pairs = build_pairs(table, split_tracks(table, NO_COPIES, **DEFAULTS), seed=0, vocal_share=0, instrumental_share=0)
    assert set(pairs["kind"]) == {"original"}


def test_pairs_survive_parquet(pairs_and_splits: tuple[pd.DataFrame, pd.DataFrame], tmp_path_factory) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path_factory.mktemp("t") / "pairs.parquet"
    write_table(path, pairs_and_splits[0], PAIRS)
    pd.testing.assert_frame_equal(read_table(path, PAIRS), pairs_and_splits[0], check_dtype=False)


def test_the_checks_find_test_tracks_and_faulty_ones_that_are_misused() -> None:
    tracks = pd.DataFrame(
        [
            ("a", "test", None, None),
            ("b", "test", None, None),
            ("c", None, "exclude", "wrong vocals"),
            ("d", None, "exclude", "wrong vocals"),
            ("e", None, "name", "a click"),
        ],
        columns=["track_id", "official_split", "errata_action", "errata"],
    )
    splits = tracks[["track_id"]].assign(split=["validation", "excluded", "train", "excluded", "train"])
    assert misused_official(tracks, splits) == ["official test track a is in validation"]
    assert misused_faults(tracks, splits) == [
        "c is in train, although: wrong vocals",
        "official test track b was excluded",
    ]
