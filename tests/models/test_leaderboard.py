from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from data.errors import InputError
from data.tables import read_table, write_table
from models.leaderboard import LEADERBOARD, leaderboard, load_peers


def summary() -> pd.DataFrame:
    numbers = {"ideal_mask": 9.0, "toy": 5.0, "ica": -1.0, "mixture": -4.0, "better": 6.0}
    return pd.DataFrame(
        [
            {
                "method": method,
                "tracks": 6,
                "tracks_scored": 6,
                "usdr_mean_db": value,
                "csdr_median_db": value + 0.5,
                "si_sdr_mean_db": value - 0.5,
                "leakage_median_db": None,
            }
            for method, value in numbers.items()
        ]
    )


def board() -> pd.DataFrame:
    return leaderboard(summary(), load_peers(), scored_on="demo, 6 tracks").set_index("name")


def test_candidates_baselines_bounds_and_peers_stand_in_that_order():
    table = board()
    assert list(table.index[:5]) == ["better", "toy", "ideal_mask", "ica", "mixture"]
    assert list(table["kind"][:5]) == ["candidate", "candidate", "bound (ceiling)", "baseline", "bound (floor)"]
    assert set(table["kind"][5:]) == {"published"}
    vocals = table["vocals_csdr_median_db"][5:].dropna()
    assert vocals.is_monotonic_decreasing
    assert table["overall_sdr_db"][5 + len(vocals) :].is_monotonic_decreasing


def test_a_column_holds_one_measure():
    table = board()
    published = table[table["kind"] == "published"]
    own = table[table["kind"] != "published"]
    assert published["vocals_usdr_mean_db"].isna().all()
    assert own["overall_sdr_db"].isna().all()
    # One peer is known by both numbers: they stand in two columns of one row.
    assert published.loc["Open-Unmix", "vocals_csdr_median_db"] == 6.32
    assert published.loc["Open-Unmix", "overall_sdr_db"] == 5.3


def test_every_row_says_what_it_was_scored_on():
    table = board()
    assert table.loc["toy", "scored_on"] == "demo, 6 tracks"
    assert table.loc["BSRNN", "scored_on"] == "MUSDB18 test"
    assert "second-hand" in table.loc["Mel-Band RoFormer", "source"]
    assert table.loc["Spleeter", "extra_data"] == "25k songs"


def test_the_reports_figure_one_is_complete():
    figure = [peer for peer in load_peers() if peer.source == "report Figure 1"]
    assert len(figure) == 11
    assert {peer.metric for peer in figure} == {"overall_sdr"}


def test_the_table_has_its_declared_schema(tmp_path: Path):
    write_table(tmp_path / "board.parquet", board().reset_index(), LEADERBOARD)
    assert len(read_table(tmp_path / "board.parquet", LEADERBOARD)) == len(board())


def test_no_scores_leave_the_peers():
    empty = leaderboard(summary().iloc[:0], load_peers(), scored_on="nothing")
    assert set(empty["kind"]) == {"published"}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("[{name: X, metric: loudness, value: 1, extra_data: 'no', source: s}]", "0.metric"),
        ("[{name: X, metric: overall_sdr, value: many, extra_data: 'no', source: s}]", "0.value"),
        ("[{name: X, metric: overall_sdr, value: 1, extra_data: 'no', source: s, colour: red}]", "0.colour"),
        ("[", "broken YAML"),
        ("name: X", "valid list"),
        ("[{name: X, metric: overall_sdr, value: 1, extra_data: no, source: s}]", None),
    ],
)
def test_a_bad_entry_is_named(tmp_path: Path, text: str, found: str | None):
    path = tmp_path / "peers.yaml"
    path.write_text(text)
    if found is None:
        assert load_peers(path)[0].extra_data == "no"
        return
    with pytest.raises(InputError) as error:
        load_peers(path)
    assert found in str(error.value)
    assert str(path) in str(error.value)


def test_a_missing_file_and_a_repeated_entry_are_named(tmp_path: Path):
    with pytest.raises(InputError, match="No such file"):
        load_peers(tmp_path / "peers.yaml")
    entry = "- {name: X, metric: overall_sdr, value: 1, extra_data: 'no', source: s}\n"
    (tmp_path / "twice.yaml").write_text(entry * 2)
    with pytest.raises(InputError, match="X twice for overall_sdr"):
        load_peers(tmp_path / "twice.yaml")
