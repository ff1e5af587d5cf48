from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from data.errors import InputError
from data.tables import read_table, write_table
from models.evaluate import SCORES, scores_frame, summarise
from models.leaderboard import at_a_glance, board_table, leaderboard, load_peers, own_data
from models.measures import SI_SDR


def summary() -> pd.DataFrame:
    """What `summarise` makes of five methods on six tracks; "toy" has no cSDR on half of them."""
    numbers = {"ideal_mask": 9.0, "toy": 5.0, "ica": -1.0, "mixture": -4.0, "better": 6.0}
    return summarise(
        scores_frame(
            {
                "method": method,
                "track_id": str(number),
                "split": "test",
                "seconds": 1.0,
                "usdr_db": value,
                "csdr_db": None if method == "toy" and number < 3 else value + 0.5,
                "csdr_full_db": value + 0.25,
                "windows_missing": 1.0 if method == "toy" and number < 3 else 0.0,
                "si_sdr_db": value - 0.5,
                "leakage_db": None,
                "note": "",
            }
            for method, value in numbers.items()
            for number in range(6)
        )
    )


def entry(**changes: str) -> str:
    """A peer as YAML, with the given keys changed or added."""
    values = {"name": "X", "metric": "overall_sdr", "value": "1", "dataset": "MUSDB18 test", "training_data": "MUSDB18"}
    values |= {"hand": "first", "source": "s"} | changes
    return "- {" + ", ".join(f"{key}: {value}" for key, value in values.items()) + "}\n"


def board() -> pd.DataFrame:
    return leaderboard(summary(), load_peers(), scored_on=own_data(6, 5), generated=5).set_index("name")


def test_candidates_baselines_bounds_and_peers_stand_in_that_order():
    table = board()
    assert list(table.index[:5]) == ["better", "toy", "ideal_mask", "ica", "mixture"]
    assert list(table["kind"][:5]) == ["candidate", "candidate", "bound (ceiling)", "baseline", "bound (floor)"]
    assert set(table["kind"][5:]) == {"published"}
    peers = table[5:]
    tracks = peers["vocals_usdr_mean_db"].dropna()
    assert tracks.is_monotonic_decreasing
    seconds = peers["vocals_csdr_median_db"][len(tracks) :].dropna()
    assert seconds.is_monotonic_decreasing
    overall = peers["overall_sdr_db"][len(tracks) + len(seconds) :]
    assert overall.notna().all()
    assert overall.is_monotonic_decreasing
    assert min(len(tracks), len(seconds), len(overall)) > 5


def test_a_column_holds_one_measure():
    table = board()
    published = table[table["kind"] == "published"]
    own = table[table["kind"] != "published"]
    # Ranks, and what only own audio can tell, are not published.
    assert published[["rank_usdr_mean_db", "vocals_csdr_full_median_db", "seconds_missing"]].isna().all(axis=None)
    assert own["overall_sdr_db"].isna().all()
    # Known by both numbers on the same data: they stand in two columns of one row.
    assert published.loc["DTTNet", "vocals_usdr_mean_db"] == 10.31
    assert published.loc["DTTNet", "vocals_csdr_median_db"] == 10.12
    # On other data, in another row.
    rows = published.loc["Open-Unmix"].sort_values("overall_sdr_db")
    assert list(rows["overall_sdr_db"].notna()) == [True, False]
    assert list(rows["vocals_csdr_median_db"].notna()) == [False, True]
    assert rows["scored_on"].nunique() == 2


def test_every_row_says_what_it_was_scored_on():
    table = board()
    assert table.loc["toy", "scored_on"] == "6 held-out tracks, 5 of them generated songs"
    assert set(table.loc[["toy", "mixture"], "generated_tracks"]) == {5}
    assert table["generated_tracks"][5:].isna().all()
    assert table.loc["BSRNN", "scored_on"] == "MUSDB18-HQ test"
    assert table.loc["X-UMX", "scored_on"] == "MUSDB18 test"
    assert "second-hand" in table.loc["Mel-Band RoFormer", "source"]
    assert "second-hand" not in table.loc["oBSRNN", "source"]
    assert table.loc["Spleeter", "training_data"] == "25k other songs"
    assert table.loc["SCNet-large", "parameters_millions"] == 41.2
    assert pd.isna(table.loc["MDX23C", "parameters_millions"])


def test_counts_stand_beside_the_numbers_of_own_rows():
    toy = board().loc["toy"]
    assert (toy["vocals_usdr_tracks"], toy["vocals_csdr_tracks"], toy["vocals_csdr_full_tracks"]) == (6, 3, 6)
    assert toy["seconds_missing"] == pytest.approx(0.5)
    assert (toy["rank_usdr_mean_db"], toy["rank_tracks"]) == (5.0, 6)


@pytest.mark.parametrize(
    ("tracks", "generated", "words"),
    [
        (9, 8, "9 held-out tracks, 8 of them generated songs"),
        (9, 9, "9 held-out tracks, all of them generated songs"),
        (1, 1, "1 held-out track, a generated song"),
        (50, 0, "50 held-out tracks"),
    ],
)
def test_own_numbers_say_how_much_of_their_data_is_generated(tracks: int, generated: int, words: str):
    assert own_data(tracks, generated) == words
    assert own_data(tracks, generated, "6 musdb18, 3 medleydb") == f"{words} (6 musdb18, 3 medleydb)"


def test_own_rows_are_ranked_over_the_tracks_that_all_candidates_have():
    numbers = summary()
    toy = numbers["method"] == "toy"
    # Without its hard tracks it has a better mean than "better" has with them.
    numbers.loc[toy, "usdr_mean_db"] = 8.0
    assert list(leaderboard(numbers, [], scored_on="x")["name"][:2]) == ["better", "toy"]


def test_the_peers_measured_on_the_optimised_bsrnn_are_told_apart():
    numbers = {peer.name: peer.value for peer in load_peers() if peer.metric == "vocals_csdr"}
    assert (numbers["oBSRNN-SIMO"], numbers["oBSRNN"], numbers["SIMO-BSRNN"], numbers["BSRNN"]) == (
        10.66,
        9.81,
        9.73,
        10.01,
    )


def test_every_column_is_documented():
    for table in (board_table(), board_table(SI_SDR), SCORES):
        assert all(len(doc) > 10 for doc in table.docs().values())
    assert set(at_a_glance(SI_SDR)) < set(board_table(SI_SDR).names)


def test_the_reports_figure_one_is_complete():
    figure = [peer for peer in load_peers() if peer.source == "report Figure 1"]
    assert len(figure) == 11
    assert {peer.metric for peer in figure} == {"overall_sdr"}


def test_the_table_has_its_declared_schema(tmp_path: Path):
    write_table(tmp_path / "board.parquet", board().reset_index(), board_table())
    assert len(read_table(tmp_path / "board.parquet", board_table())) == len(board())


def test_no_scores_leave_the_peers():
    empty = leaderboard(summary().iloc[:0], load_peers(), scored_on="nothing")
    assert set(empty["kind"]) == {"published"}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (entry(metric="loudness"), "0.metric"),
        (entry(value="many"), "0.value"),
        (entry(value=".nan"), "0.value"),
        (entry(colour="red"), "0.colour"),
        (entry(dataset="MUSDB"), "0.dataset"),
        (entry(hand="third"), "0.hand"),
        (entry(parameters="-3"), "0.parameters"),
        (entry(training_data="''"), "0.training_data"),
        (entry().replace(", hand: first", ""), "0.hand"),
        ("[", "broken YAML"),
        ("name: X", "valid list"),
    ],
)
def test_a_bad_entry_is_named(tmp_path: Path, text: str, found: str):
    path = tmp_path / "peers.yaml"
    path.write_text(text)
    with pytest.raises(InputError) as error:
        load_peers(path)
    assert found in str(error.value)
    assert str(path) in str(error.value)


def test_a_missing_file_and_a_repeated_entry_are_named(tmp_path: Path):
    with pytest.raises(InputError, match="No such file"):
        load_peers(tmp_path / "peers.yaml")
    (tmp_path / "twice.yaml").write_text(entry() * 2)
    with pytest.raises(InputError, match="X twice for overall_sdr"):
        load_peers(tmp_path / "twice.yaml")
