"""Every rule, broken by audio that went the whole way through a reader and the measurements."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
from small_datasets import RATE, tone

from data.manifest import MANIFEST
from data.normalise import normalise_track
from data.quality import RULES, judge
from data.recipe import Recipe
from data.settings import Quality

SECONDS = 6.0
VOCALS = tone(SECONDS, 330)
REST = tone(SECONDS, 110)


def faded(samples: np.ndarray) -> np.ndarray:
    samples = samples.copy()
    samples[-RATE // 2 :] *= np.linspace(1, 0, RATE // 2)[:, None]
    return samples


GOOD = (faded(VOCALS + REST), faded(VOCALS))


def flags(folder: Path, mixture: np.ndarray, vocals: np.ndarray, limits: Quality | None = None, **known: object) -> set:
    """The rules that a track of these samples breaks; `known` is what its reader found."""
    (folder / "stems").mkdir()
    (folder / "normalised").mkdir()
    soundfile.write(folder / "stems" / "mixture.wav", mixture, RATE, subtype="FLOAT")
    soundfile.write(folder / "stems" / "vocals.wav", vocals, RATE, subtype="FLOAT")
    measured = normalise_track(folder / "stems", folder / "normalised")
    known = {"vocal_stems": 1, "length_difference": 0, "labelled_instrumental": None} | known
    row = dict.fromkeys(MANIFEST.names) | measured | {"track_id": "own/a"} | known
    table = judge(pd.DataFrame([row]), limits or Quality())
    assert set(table["severity"]) <= {"warning", "error"}
    return set(table["rule"])


def test_a_good_track_breaks_no_rule(tmp_path: Path) -> None:
    assert flags(tmp_path, *GOOD, stem_sum_residual_db=-20.0, labelled_instrumental=False) == set()


def changed(change: Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    mixture, vocals = (samples.copy() for samples in GOOD)
    return change(mixture, vocals)


BROKEN = {
    "cut_short": changed(lambda m, v: (m[-2 * RATE :], v[-2 * RATE :])),
    "ends_abruptly": changed(
        lambda m, v: (np.vstack([m, 4 * REST[RATE // 4 : RATE // 2]]), np.vstack([v, np.zeros((RATE // 4, 2))]))
    ),
    "silent_mixture": changed(lambda m, v: (1e-4 * m, 1e-4 * v)),
    "silent_vocals": changed(lambda m, v: (m, 1e-5 * v)),
    "clipping": changed(lambda m, v: (np.clip(8 * m, -1, 1), v)),
    "dc_offset": changed(lambda m, v: (m + 0.05, v)),
    "identical_channels": changed(lambda m, v: (m[:, :1].repeat(2, 1), v[:, :1].repeat(2, 1))),
    "one_silent_channel": changed(lambda m, v: (m * [1, 1e-4], v * [1, 1e-4])),
    "vocals_not_in_mixture": changed(lambda m, v: (faded(REST), v)),
    "vocals_over_mixture": changed(lambda m, v: (0.3 * m, v)),
}


@pytest.mark.parametrize("rule", BROKEN)
def test_a_broken_rule_is_found(tmp_path: Path, rule: str) -> None:
    assert rule in flags(tmp_path, *BROKEN[rule])


@pytest.mark.parametrize(
    ("rule", "known"),
    [
        ("unlike_stem_sum", {"stem_sum_residual_db": -1.0}),
        ("poor_stem_fit", {"fitted_residual_db": -4.0, "gains_applied": True}),
        ("poor_stem_fit", {"fitted_residual_db": -1.0, "gains_applied": False}),
        ("doubtful_vocal_gain", {"vocal_gain_faults": ["S04 left gain 40 is beyond 16"]}),
        ("doubtful_vocal_gain", {"vocal_stem_gains_left": [0.0], "vocal_stem_gains_right": [0.0]}),
        ("doubtful_vocal_gain", {"vocal_stem_gains_left": [-0.8], "vocal_stem_gains_right": [None]}),
        (
            "stems_off_level",
            {"gains_applied": False, "vocal_stem_gains_left": [1.0, 0.65], "vocal_stem_gains_right": [1.0, 0.65]},
        ),
        (
            "gain_unlike_published",
            {
                "vocal_stem_gains_left": [0.5],
                "vocal_stem_gains_right": [0.5],
                "vocal_stem_gains_published": [4.8],
            },
        ),
        ("voice_and_instrument", {"mixed_stems": ["S04: male singer; distorted electric guitar"]}),
        ("length_difference", {"length_difference": -RATE}),
        ("wrong_labels", {"vocal_stems": 0}),
        ("wrong_labels", {"labelled_instrumental": True}),
    ],
)
def test_what_the_reader_found_is_judged_too(tmp_path: Path, rule: str, known: dict[str, object]) -> None:
    assert flags(tmp_path, *GOOD, **known) == {rule}


@pytest.mark.parametrize(
    "known",
    [
        {"fitted_residual_db": -4.0, "gains_applied": False, "vocal_stems": 0, "labelled_instrumental": True},
        # A mono voice that the mix has on one side, and one whose other channel is silent.
        {"vocal_stem_gains_left": [0.0, None], "vocal_stem_gains_right": [0.9, 0.7], "gains_applied": True},
        {"vocal_stem_gains_left": [0.5], "vocal_stem_gains_right": [0.5], "gains_applied": True},
        # Unlike the plain sum of its stems, and like the sum that was used.
        {"stem_sum_residual_db": -1.0, "fitted_residual_db": -20.0, "gains_applied": True},
        {"vocal_stem_gains_left": [None], "vocal_stem_gains_right": [None], "gains_applied": False},
        {
            "vocal_stem_gains_left": np.array([0.9]),  # as a table that was read gives them
            "vocal_stem_gains_right": np.array([0.9]),
            "vocal_stem_gains_published": np.array([np.nan]),
            "gains_applied": False,
        },
    ],
)
def test_gains_that_are_as_they_should_be_break_no_rule(tmp_path: Path, known: dict[str, object]) -> None:
    mixture, vocals = (faded(REST), 0 * VOCALS) if known.get("vocal_stems") == 0 else GOOD
    assert flags(tmp_path, mixture, vocals, **known) == set()


def test_an_instrumental_that_is_labelled_as_sung_is_found(tmp_path: Path) -> None:
    known = {"vocal_stems": 0, "labelled_instrumental": False}
    assert flags(tmp_path, faded(REST), 0 * VOCALS, **known) == {"wrong_labels"}


def test_thresholds_are_settings(tmp_path: Path) -> None:
    limits = Quality(dc_offset=0.1, shortest_s=60)
    assert flags(tmp_path, *BROKEN["dc_offset"], limits=limits) == {"cut_short"}


def test_every_rule_is_broken_by_some_test() -> None:
    gains = {"poor_stem_fit", "doubtful_vocal_gain", "stems_off_level", "gain_unlike_published"}
    known = {"unlike_stem_sum", "length_difference", "wrong_labels", "voice_and_instrument"}
    assert {rule.name for rule in RULES} == {*BROKEN} | known | gains


def test_a_table_without_findings_has_its_columns() -> None:
    assert judge(pd.DataFrame(columns=MANIFEST.names), Quality()).empty
    assert Recipe("", Quality().model_dump(), {}).fingerprint  # plain JSON values
