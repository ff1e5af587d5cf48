"""MedleyDB's gains on their way from the setting, through a worker, into the manifest."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Literal

import pytest
import soundfile
from small_datasets import RATE, write_medleydb_track

from data.audio import read
from data.datasets.medleydb import MedleyDB
from data.engine import ExecutorEngine
from data.layout import Layout
from data.manifest import MANIFEST, build_manifest, look_at_tracks
from data.medleydb_metadata import STEMS
from data.preparation import is_prepared, prepare_track, track_jobs
from data.settings import Settings
from data.sources import INDEX, build_index

TRACK = "medleydb/a-song"


def site(root: Path, gains: Literal["measured", "none"]) -> Settings:
    return Settings(
        storage=root / "storage", medleydb=str(root / "audio"), medleydb_metadata=root / "yaml", medleydb_gains=gains
    )


def ingest(root: Path) -> None:
    """A track whose mix has its voice at half the level of the stem, its index and its labels."""
    stems = write_medleydb_track(root / "audio", root / "yaml", "A_Song", ["piano", "male singer"], 6.0)
    mix = stems[0] + 0.5 * stems[1]
    soundfile.write(root / "audio" / "A_Song" / "A_Song_MIX.wav", mix, RATE, subtype="PCM_24")
    (root / "yaml" / "mixing_coefficients.yaml").write_text("A_Song: {1: 0.9, 2: 0.05}\n")
    settings = site(root, "measured")
    index = build_index(MedleyDB(), settings, lambda _: None, ExecutorEngine())
    INDEX.write(Layout(settings.root).index("medleydb"), index)
    labels, _ = MedleyDB().read_labels(settings, lambda _: None)
    STEMS.write(Layout(settings.root).labels("medleydb"), labels)


def prepare(settings: Settings) -> None:
    jobs = track_jobs(settings, MedleyDB()).values()
    # Processes that know of the setting only what the job holds.
    engine = ExecutorEngine(1, lambda workers: ProcessPoolExecutor(workers, mp_context=get_context("spawn")))
    (result,) = engine.as_completed(prepare_track, jobs)
    assert result.problem is None
    assert all(is_prepared(job) for job in jobs)


def test_another_choice_of_gains_makes_the_stems_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ingest(tmp_path)
    # What the environment says reaches no worker by itself.
    monkeypatch.setenv("ISOLATION_MEDLEYDB_GAINS", "measured")
    versions, peaks = [], []
    for gains in ("none", "measured", "none"):
        settings = site(tmp_path, gains)
        assert not any(is_prepared(job) for job in track_jobs(settings, MedleyDB()).values())
        prepare(settings)
        versions.append(look_at_tracks(settings, [MedleyDB()]).prepared[TRACK].normalised.version)
        vocals, _ = read(Layout(settings.root).normalised("medleydb", "a-song") / "vocals.wav")
        peaks.append(float(abs(vocals).max()))
    assert versions[0] == versions[2] != versions[1]
    assert peaks[1] == pytest.approx(0.5 * peaks[0], rel=0.01)


def test_the_manifest_holds_the_gains_and_flags_what_is_wrong_with_them(tmp_path: Path) -> None:
    ingest(tmp_path)
    flags = {}
    for gains in ("measured", "none"):
        settings = site(tmp_path, gains)
        prepare(settings)
        tracks = look_at_tracks(settings, [MedleyDB()]).prepared
        frame, _ = build_manifest(settings.root, tracks, {}, settings.quality)
        MANIFEST.write(tmp_path / gains, frame)
        (row,) = MANIFEST.read(tmp_path / gains).to_dict("records")
        assert row["vocal_stem_gains_left"] == pytest.approx([0.5], rel=0.01)
        assert row["vocal_stem_gains_right"] == pytest.approx([0.5], rel=0.01)
        assert row["vocal_stem_gains_published"] == pytest.approx([0.05])
        assert row["fitted_residual_db"] < -50 < row["stem_sum_residual_db"]
        assert row["gains_applied"] == (gains == "measured")
        flags[gains] = set(row["flags"])
    assert flags["none"] - flags["measured"] == {"stems_off_level"}
    assert "gain_unlike_published" in flags["measured"]
