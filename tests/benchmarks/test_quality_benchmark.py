"""The comparison of candidates: its plan, its table and its intervals; and one run of it over trained networks."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pipelines_site import CANDIDATES, PROJECT, Site

from benchmarks import quality, quality_runs
from benchmarks.intervals import interval
from data.errors import InputError
from models.candidate import candidate_names, load_candidate


def _outcome(name: str, validation: list[float], usdr_db: list[list[float]]) -> quality.Outcome:
    trainings = [{"seed": seed, "steps": 100, "validation_usdr_db": value} for seed, value in enumerate(validation)]
    return quality.Outcome(load_candidate(name), 1234, trainings, np.array(usdr_db))


def test_an_interval_of_equal_scores_is_their_value() -> None:
    found = interval(np.full((3, 5), 1.25))
    assert (found.mean, found.low, found.high) == pytest.approx((1.25, 1.25, 1.25))


def test_an_interval_widens_with_the_spread_over_seeds_and_with_that_over_tracks() -> None:
    tracks, seeds = np.tile(np.linspace(-3, 3, 8), (3, 1)), np.tile([[-2.0], [0.0], [2.0]], (1, 8))
    over_tracks, over_seeds, over_both = interval(tracks), interval(seeds), interval(tracks + seeds)
    assert -2 < over_tracks.low < -0.5 < 0.5 < over_tracks.high < 2
    assert over_seeds.low == pytest.approx(-2)  # three times the worst of three seeds: one draw in 27
    assert over_both.low < min(over_tracks.low, over_seeds.low)
    assert over_both.high > max(over_tracks.high, over_seeds.high)


def test_more_seeds_do_not_make_up_for_few_tracks() -> None:
    few = np.random.default_rng(0).normal(0, 2, (1, 6))
    once, often = interval(few), interval(np.repeat(few, 20, axis=0))
    assert often.high - often.low == pytest.approx(once.high - once.low, rel=0.1)


def test_an_interval_of_nothing_or_of_nan_is_refused() -> None:
    for scores in (np.zeros((2, 0)), np.zeros(3), np.array([[1.0, np.nan]])):
        with pytest.raises(ValueError, match="finite scores"):
            interval(scores)


def test_tracks_without_vocals_are_left_out_and_tracks_put_in_order() -> None:
    first = pd.DataFrame({"track_id": ["a", "b", "c"], "usdr_db": [1.0, None, 3.0]})
    second = pd.DataFrame({"track_id": ["c", "a", "b"], "usdr_db": [30.0, 10.0, None]})
    np.testing.assert_array_equal(quality.usdr_table([first, second]), [[1.0, 3.0], [10.0, 30.0]])
    with pytest.raises(InputError, match="with vocals"):
        quality.usdr_table([first.iloc[1:2]])


def test_the_verdict_is_on_the_own_candidate_that_validates_best_paired_with_the_reference() -> None:
    reference = _outcome("openunmix", [3.0, 3.0], [[0.0, 10.0, 20.0], [1.0, 11.0, 21.0]])
    chosen = _outcome("bandsplit", [5.0, 7.0], [[1.5, 11.5, 21.5], [2.5, 12.5, 22.5]])
    lucky = _outcome("toy", [4.0, 4.0], [[5.0, 15.0, 25.0], [5.0, 15.0, 25.0]])
    rows, verdict = quality.summary([reference, chosen, lucky], reference, minutes=4)
    assert [row[0] for row in rows] == ["toy", "bandsplit", "openunmix"]
    # Always 1.5 dB apart on the same track with the same seed, so that the interval has no width.
    assert rows[1][-1] == "1.50 [1.50, 1.50]"
    assert rows[2][-1] == "-"
    assert rows[1][2:5] == ("100, 100", "5.00, 7.00", "11.50, 12.50")
    assert verdict.startswith("ratio: bandsplit")
    assert "+1.50 dB [+1.50, +1.50] against openunmix (2 seeds, 3 tracks, 4 min each)" in verdict
    _, without = quality.summary([reference], reference, minutes=4)
    assert without.startswith("ratio: none")


def test_every_network_is_own_or_a_peer() -> None:
    own = {name for name in candidate_names() if _outcome(name, [0.0], [[0.0]]).own}
    assert own == set(candidate_names()) - {"openunmix", "htdemucs", "bs-roformer"}


def test_candidates_of_any_speed_validate_about_equally_often() -> None:
    fast, slow = quality_runs.Speed(1, 0.1), quality_runs.Speed(1, 2.0)
    assert (fast.steps_an_epoch(minutes=4), slow.steps_an_epoch(minutes=4)) == (240, 12)
    assert quality_runs.Speed(1, 100.0).steps_an_epoch(minutes=1) == 1


def test_a_speed_is_measured_once_and_again_for_other_settings(tmp_path: Path) -> None:
    file, candidate = tmp_path / "speed.json", load_candidate(CANDIDATES / "tiny.yaml")
    speed = quality_runs.measured_speed(candidate, file)
    assert speed.seconds_a_step > 0
    assert quality_runs.measured_speed(candidate, file) == speed
    wider = candidate.model_copy(update={"network": candidate.network.model_copy(update={"pre_fc": [64]})})
    assert quality_runs.measured_speed(wider, file).parameters > speed.parameters


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--candidates", "toy,openunmixx"], ["candidate openunmixx", "bandsplit", "openunmix"]),
        (["--candidates", "toy,bandsplit"], ["reference openunmix", "toy, bandsplit"]),
        (["--candidates", "toy", "--reference", "toy", "--storage", "absent"], ["pairs.parquet", "no such file"]),
    ],
)
def test_a_bad_command_line_is_told_before_anything_is_trained(
    options: list[str], said: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    monkeypatch.setattr(quality_runs, "measured_speed", None)
    assert quality.main(["--work", str(tmp_path), "--cores", str(os.cpu_count()), *options]) == 2
    told = capsys.readouterr().err
    assert all(words in told for words in said), told


def _compare(site: Site, work: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks.quality", "--work", str(work), "--storage", str(site.storage)]
    command += ["--candidates", "tiny", "--reference", "tiny", "--cores", "1", "--seeds", "2", *options]
    environment = os.environ | {"ISOLATION_CANDIDATES": str(CANDIDATES)}
    return subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, text=True, check=False)


def test_candidates_are_trained_for_the_time_given_scored_and_not_trained_again(finished: Site, tmp_path: Path) -> None:
    work, json_file, markdown = tmp_path / "work", tmp_path / "result.json", tmp_path / "table.md"
    written = ["--json", str(json_file), "--markdown", str(markdown)]
    done = _compare(finished, work, "--minutes", "0.02", *written)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().splitlines()[-1].startswith("ratio: ")
    result = json.loads(json_file.read_text())
    first, second = result["candidates"]["tiny"]["trainings"]
    assert (first["seed"], second["seed"]) == (0, 1)
    assert min(first["training_seconds"], second["training_seconds"]) > 0
    scores = np.array(result["candidates"]["tiny"]["usdr_db"])
    assert not np.array_equal(scores[0], scores[1])
    assert "| tiny " in markdown.read_text()

    times = {file: file.stat().st_mtime_ns for file in sorted(work.glob("runs/*/*/result.json"))}
    assert len(times) == 2
    # As if the second training had been one of another length.
    stale = work / "runs" / "seed-1" / "tiny"
    about = json.loads((stale / "about.json").read_text())
    about["settings"]["training"]["minutes"] = 0.01
    (stale / "about.json").write_text(json.dumps(about))
    again = _compare(finished, work, "--minutes", "0.02")
    assert again.returncode == 0, again.stderr
    redone = [file for file, time_ns in times.items() if file.stat().st_mtime_ns != time_ns]
    assert redone == [stale / "result.json"]
    assert json.loads((stale / "about.json").read_text())["settings"]["training"]["minutes"] == 0.02
