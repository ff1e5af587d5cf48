"""A measure is a value: one entry more, and scores, averages, board and page have it; another may rank."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pipelines_site import PROJECT
from test_evaluate import row, table, track

from assets import evaluation, leaderboard
from data import audio, cache
from data.errors import InputError
from data.layout import Layout
from data.recipe import Recipe
from data.settings import Settings
from data.tables import read_table
from models import measures
from models.evaluate import SCORES, compare, score_track, scores_frame, summarise
from models.fairness import why_outdated
from models.leaderboard import at_a_glance, board_table, load_peers, ranked_by
from models.leaderboard import leaderboard as board
from models.measures import CSDR, LEAKAGE, MEASURES, SI_SDR, USDR, headlines, ranking, shown
from models.report import EvaluationReport, build_report
from models.report.verdict import findings, tie_rule

README = (PROJECT / "README.md").read_text()
SECTION = README.partition("## Adding a measure")[2].partition("\n## ")[0]
# A measure of which less is better, and that may compare.
NOISE = replace(LEAKAGE, role="compared", title="noise", unit="", tie=1.0)


def test_the_readme_lists_every_measure_as_it_is() -> None:
    head = "| measure | column | over tracks | may rank | what it says |\n|---|---|---|---|---|\n"
    rows = (
        f"| {m.title} {m.arrow} | `{m.column}` | {m.statistic} | {'yes' if m.ranks else 'no'} | {m.explanation} |"
        for m in MEASURES
    )
    assert head + "\n".join(rows) + "\n" in SECTION


def test_every_measure_has_a_column_of_its_own_and_words() -> None:
    names = [measure.column for measure in MEASURES]
    assert len(set(names)) == len(names)
    assert all(len(measure.doc) > 10 and len(measure.explanation) > 10 for measure in MEASURES)
    assert all((measure.unit == "dB") == measure.column.endswith("_db") for measure in MEASURES)


def test_tables_of_earlier_releases_are_read_and_stay_what_they_were() -> None:
    text, number, count = "string", "double", "int64"
    scores = {"method": text, "track_id": text, "split": text, "seconds": number}
    scores |= dict.fromkeys(
        ["usdr_db", "csdr_db", "csdr_full_db", "windows_missing", "si_sdr_db", "leakage_db"], number
    )
    assert {field.name: str(field.type) for field in SCORES.schema} == scores | {"note": text}
    assert SCORES.names == [*scores, "note"]
    kept = {"name": text, "kind": text, "scored_on": text, "tracks": count, "generated_tracks": count}
    kept |= {"rank_usdr_mean_db": number, "rank_tracks": count}
    kept |= {"vocals_usdr_mean_db": number, "vocals_usdr_tracks": count}
    kept |= {"vocals_csdr_median_db": number, "vocals_csdr_tracks": count}
    kept |= {"vocals_csdr_full_median_db": number, "vocals_csdr_full_tracks": count, "seconds_missing": number}
    kept |= {"vocals_si_sdr_mean_db": number, "vocals_si_sdr_tracks": count, "overall_sdr_db": number}
    kept |= {"training_data": text, "parameters_millions": number, "source": text}
    assert [(field.name, str(field.type)) for field in board_table().schema] == list(kept.items())


# One more measure

PROGRAM = """
import sys
from pathlib import Path

from data import audio, cache
from data.tables import read_table
from models.evaluate import SCORES, score_track, scores_frame, summarise
from models.leaderboard import board_table, leaderboard, load_peers
from models.measures import added
from models.report import EvaluationReport, build_report
from models.score import score_baselines

root, held_out = Path(sys.argv[1]), read_table(Path(sys.argv[1]) / "held_out.parquet")
score_baselines(held_out, root, root, print)
scores = SCORES.read(root)
board_table().write(root, leaderboard(summarise(scores), load_peers(), scored_on="songs"))
build_report(EvaluationReport("Evaluation", [], scores, [], {}), root / "report.html")
print(added())
"""


def test_one_entry_adds_a_measure_to_scores_board_and_page(tmp_path: Path) -> None:
    project, songs = tmp_path / "project", tmp_path / "songs"
    for room in ("data", "models"):
        shutil.copytree(PROJECT / room, project / room, ignore=shutil.ignore_patterns("__pycache__"))
    entry = SECTION.partition("```python\n")[2].partition("```")[0]
    file = project / "models" / "measures.py"
    before, last, after = file.read_text().partition("    LEAKAGE,\n)\n")
    assert last
    file.write_text(f"{before}    LEAKAGE,\n{entry})\n{after}")
    held_out = []
    for number in range(2):
        mixture, vocals = track(number, seconds=1.0)
        for name, sound in {"mixture": 0.5 * vocals if number else mixture, "vocals": vocals}.items():
            audio.write(songs / f"{number}-{name}.wav", sound, subtype="FLOAT")
        paths = {f"{name}_path": f"{number}-{name}.wav" for name in ("mixture", "vocals")}
        held_out.append({"track_id": f"songs/{number}", "split": "test", **paths})
    pd.DataFrame(held_out).to_parquet(songs / "held_out.parquet")

    command = [sys.executable, "-c", PROGRAM, str(songs)]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    scores = read_table(songs / "scores.parquet")
    assert list(scores.columns) == [*SCORES.names[:-1], "level_error_db", "note"]
    quiet = scores[(scores["track_id"] == "songs/1") & (scores["method"] == "mixture")]
    assert quiet["level_error_db"].item() == pytest.approx(6.02, abs=0.01)
    own = read_table(songs / "leaderboard.parquet").query("source == 'this project'").set_index("name")
    assert own.loc["mixture", "vocals_level_error_median_db"] == pytest.approx(
        scores.loc[scores["method"] == "mixture", "level_error_db"].median()
    )
    assert own.loc["mixture", "vocals_level_error_tracks"] == 2
    page = (songs / "report.html").read_text()
    assert '<th scope="col">level error<small>median, dB ↓</small>' in page
    assert "<dt>level error ↓</dt><dd>How much too loud or too quiet the vocals come out." in page
    assert "<summary>level error, dB ↓, 2 tracks</summary>" in page
    # Scores of before are made again; without the entry nothing is.
    assert "{'measures': {'level_error_db': '1'}}" in done.stdout
    assert measures.added() == {}


def test_scores_are_made_again_when_a_measure_comes_or_changes_and_until_then_stand_on_no_board(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    tracks = pd.DataFrame(columns=evaluation.SCORED.names)

    def train(folder: Path) -> dict[str, object]:
        (folder / "checkpoint.pt").touch()
        return {}

    trained = cache.make(Layout(tmp_path).checkpoint("toy"), Recipe("1", {}, {}), train).record

    def recipes() -> list[Recipe]:
        settings = Settings(storage=tmp_path)
        return [evaluation.ica_recipe(settings, tracks), evaluation.scores_recipe(settings, "toy", tracks)]

    scored = replace(trained, recipe=recipes()[1])
    assert [recipe.parameters for recipe in recipes()] == [{}, {}]
    assert why_outdated(trained, scored, "3") is None
    monkeypatch.setattr(measures, "MEASURES", (*MEASURES, replace(NOISE, column="noise", version="2")))
    assert [recipe.parameters for recipe in recipes()] == 2 * [{"measures": {"noise": "2"}}]
    assert why_outdated(trained, scored, "3") == "it was scored before a measure came, went or changed"


@pytest.mark.parametrize(("tracks", "numbers"), [("sung", [1, 0]), ("instrumental", [0, 1]), ("all", [1, 1])])
def test_a_measure_stands_for_the_tracks_that_it_says(
    monkeypatch: pytest.MonkeyPatch, tracks: measures.Tracks, numbers: list[int]
) -> None:
    peak = replace(NOISE, column="peak", tracks=tracks, of_track=lambda sounds: np.abs(sounds.estimate).max())
    monkeypatch.setattr(measures, "MEASURES", (*MEASURES, peak))
    mixture, vocals = track(1, seconds=1.0)
    found = [row("toy", "a", 0.5 * mixture, mixture, sung).get("peak") for sung in (vocals, 0.0 * vocals)]
    assert [int(value is not None) for value in found] == numbers


# What ranks


def test_a_measure_of_which_less_is_better_ranks_and_compares_the_other_way_round() -> None:
    scores = table(toy={str(i): 5.0 for i in range(4)}, other={str(i): 5.0 for i in range(4)})
    scores["leakage_db"] = np.where(scores["method"] == "toy", -30.0, -20.0) - scores["track_id"].astype(int)
    assert list(summarise(scores, NOISE)["method"]) == ["toy", "other"]
    result = compare(scores, "toy", "other", NOISE)
    assert (result.difference, result.verdict) == (pytest.approx(-10.0), "better")
    assert compare(scores, "other", "toy", NOISE).verdict == "worse"
    assert compare(scores, "toy", "other", replace(NOISE, tie=11.0)).tie
    ranked = board(summarise(scores, NOISE), [], scored_on="x", rank_by=NOISE)
    assert list(ranked["name"]) == ["toy", "other"]
    assert list(ranked["rank_leakage_median_db"]) == [-31.5, -21.5]


def test_a_song_without_a_number_counts_as_the_worse_bound_in_the_rank() -> None:
    scores = table(gap={"a": 9.0, "b": 9.0, "c": 9.0}, honest={"a": 1.0, "b": 1.0, "c": 1.0})
    scores.loc[(scores["method"] == "gap") & (scores["track_id"] == "a"), "si_sdr_db"] = None
    summary = summarise(scores, SI_SDR).set_index("method")
    assert list(summary.index) == ["honest", "gap"]
    assert summary.loc["gap", "si_sdr_common_mean_db"] == pytest.approx((-60 + 9 + 9) / 3)
    assert list(summary["common_tracks"]) == [3, 3]


def test_the_measure_that_ranks_comes_first_everywhere_and_is_named() -> None:
    # By uSDR toy is better, by SI-SDR the other.
    scores = table(toy={str(i): 5.0 + i for i in range(4)}, other={str(i): 1.0 + i for i in range(4)})
    scores["si_sdr_db"] = np.where(scores["method"] == "toy", 1.0, 9.0)
    assert list(summarise(scores)["method"]) == ["toy", "other"]
    summary = summarise(scores, SI_SDR)
    ranked = board(summary, load_peers(), scored_on="x", rank_by=SI_SDR)
    assert list(ranked["name"][:2]) == ["other", "toy"]
    assert list(ranked["rank_si_sdr_mean_db"][:2]) == [9.0, 1.0]
    assert "rank_usdr_mean_db" not in ranked
    assert at_a_glance(SI_SDR)[4] == "vocals_si_sdr_mean_db"
    assert [shown(SI_SDR)[0], headlines(SI_SDR)[0]] == [SI_SDR, SI_SDR]
    assert findings(scores, ["toy", "other"], None, SI_SDR)[0].sentence == (
        "Against toy, other wins in SI-SDR, loses in uSDR and loses in cSDR."
    )


def test_the_page_says_which_measure_ranks(tmp_path: Path) -> None:
    mixture, vocals = track(1, seconds=1.0)
    scores = scores_frame(
        score_track(method=name, track_id="a", split="test", mixture=mixture, vocals=vocals, estimate=estimate)
        for name, estimate in {"mixture": mixture, "ideal_mask": vocals}.items()
    )
    report = EvaluationReport("Evaluation", [], scores, [], {}, rank_by=SI_SDR)
    page = build_report(report, tmp_path / "page.html").read_text()
    assert ranked_by(SI_SDR) in page
    assert page.index('<th scope="col">SI-SDR') < page.index('<th scope="col">uSDR')
    assert "Dots of the SI-SDR, uSDR and cSDR of every second of every track" in page
    assert ranked_by(USDR) in build_report(replace(report, rank_by=USDR), tmp_path / "page.html").read_text()


def test_differences_that_count_are_told_for_each_measure_where_they_are_not_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert "at least 0.3 dB: that much" in tie_rule(USDR)
    monkeypatch.setattr(measures, "MEASURES", (*MEASURES, NOISE))
    assert "at least 1.0 in noise, 0.3 dB in uSDR, 0.3 dB in cSDR: that much" in tie_rule(NOISE)


@pytest.mark.parametrize("name", ["usdr", "csdr_full", "si_sdr"])
def test_a_measure_that_silence_cannot_win_may_rank(name: str) -> None:
    assert ranking(name).stem == name


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("usrd", "'usrd', the nearest is usdr"),
        ("SI-SDR", "'SI-SDR', the nearest is si_sdr"),
        ("loudness of all", "'loudness of all'"),
        (CSDR.stem, "'csdr', which compares nothing"),
        (LEAKAGE.stem, "'leakage', which compares nothing"),
    ],
)
def test_what_cannot_rank_is_refused_with_the_nearest_name(name: str, found: str) -> None:
    with pytest.raises(InputError) as refused:
        leaderboard.chosen(Settings(rank_by=name))
    assert refused.value.what == "setting ISOLATION_RANK_BY"
    assert refused.value.found.startswith(found)
    assert refused.value.expected == "a measure that may rank: usdr, csdr_full, si_sdr"


def test_the_board_is_made_of_the_measure_that_ranks_unless_it_always_has_been() -> None:
    assert leaderboard.chosen(Settings()) == {}
    assert leaderboard.chosen(Settings(rank_by="si_sdr")) == {"rank_by": "si_sdr"}
