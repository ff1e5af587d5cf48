"""The chain as its users run it: what it makes, what it keeps, and what it does with bad tracks.

Tests that change the finished site run the chain again and so leave it finished.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import soundfile
from pipelines_site import PROJECT, Site, build_site

from assets.leaderboard import never_trained_on
from data import cache
from data.heard import HEARD
from data.layout import Layout
from data.placements import read_placements
from data.settings import Settings
from data.splits import SPLITS
from data.tables import read_table
from models.evaluate import SCORES

MADE = re.compile(r"(\d+) outputs made, (\d+) unchanged, (\d+) failures")


def tally(output: str) -> tuple[int, int, int]:
    """(made, unchanged, failures) of a run's last lines."""
    found = MADE.search(output)
    assert found, output
    made, unchanged, failures = map(int, found.groups())
    return made, unchanged, failures


def test_every_output_of_the_chain_is_there(finished: Site) -> None:
    storage = finished.storage
    manifest = read_table(storage / "training_set/manifest/manifest.parquet")
    assert len(manifest) == 12
    for row in manifest.itertuples():
        for path in (row.mixture_path, row.vocals_path):
            assert soundfile.info(storage / path).samplerate == 44100
    splits = read_table(storage / "training_set/splits/splits.parquet")
    assert set(splits["split"]) == {"train", "validation", "test", "reserved"}
    scores = read_table(storage / "evaluation/scores/tiny/scores.parquet")
    held_out = set(splits.loc[splits["split"].isin(["test", "reserved"]), "track_id"])
    assert set(scores["track_id"]) == held_out
    assert scores["usdr_db"].notna().any()
    board = read_table(storage / "evaluation/leaderboard/leaderboard.parquet")
    assert {"tiny", "mixture", "ica", "ideal_mask", "Open-Unmix"} <= set(board["name"])
    assert json.loads((storage / "evaluation/champion/champion.json").read_text())["candidate"] == "tiny"
    page = (storage / "evaluation/report/report.html").read_text()
    assert "tiny" in page
    assert page.count("<audio") >= 3
    assert not re.search(r"""(src|href)=["']https?://""", page)
    assert (storage / "evaluation/listening_test/ballot.html").is_file()


def test_the_manifest_documents_every_column_inside_the_file(finished: Site) -> None:
    path = finished.storage / "training_set/manifest/manifest.parquet"
    for field in pq.read_schema(path):
        assert len((field.metadata or {}).get(b"doc", b"")) > 10, field.name
    manifest = read_table(path).set_index("track_id")
    ann = manifest.loc["medleydb/ann-one"]
    assert (list(ann["vocal_kinds"]), ann["vocal_stems"]) == (["female singer", "vocalists"], 2)
    assert (ann["artist"], ann["genre"], ann["licence"]) == ("Ann", "Rock", "CC BY-NC-SA 4.0")
    raw = finished.folder / "medleydb/Ann_One/Ann_One_MIX.wav"
    assert f"{hashlib.sha256(raw.read_bytes()).hexdigest()}  Ann_One_MIX.wav" in list(ann["raw_checksums"])
    assert "cut_short" in ann["flags"]  # these songs have two seconds


def test_a_second_run_does_no_work_and_says_so(finished: Site) -> None:
    before = {path: path.stat().st_mtime_ns for path in finished.storage.rglob("*.wav")}
    again = finished.run("--candidates", "tiny")
    assert again.returncode == 0, again.stderr
    assert "Nothing to do" in again.stdout
    assert {path: path.stat().st_mtime_ns for path in finished.storage.rglob("*.wav")} == before


def test_one_changed_track_redoes_that_track_and_what_depends_on_it(finished: Site) -> None:
    before = {path: path.stat().st_mtime_ns for path in finished.storage.glob("*/normalised/*/mixture.wav")}
    champion = finished.storage / "evaluation" / "champion" / "checkpoint.pt"
    promoted = champion.read_bytes()
    changed = finished.folder / "musdb18" / "train" / "Artist 2 - Song 2" / "mixture.wav"
    samples, rate = soundfile.read(changed)
    soundfile.write(changed, samples * 0.9, rate)
    done = finished.run("--candidates", "tiny")
    assert done.returncode == 0, done.stderr
    redone = {path.parent.name for path, time in before.items() if path.stat().st_mtime_ns != time}
    assert redone == {"artist-2-song-2"}
    made, unchanged, _ = tally(done.stdout)
    # archive, stems, normalised; manifest, duplicates, splits, loopback; checkpoint; scores, leaderboard, ballot,
    # champion's validation, challenger, report. Unchanged: the other lanes' archives and metadata, eleven tracks, and
    # ICA, because no held-out track was touched. Two validation tracks do not make another champion.
    assert (made, unchanged) == (14, 3 + 2 * 11 + 1)
    assert "The champion stays: tiny is not better than the champion, an earlier training of it" in done.stdout
    assert "Dependencies for step" not in done.stdout
    assert champion.read_bytes() == promoted
    page = (finished.storage / "evaluation/report/report.html").read_text()
    assert "The promoted separator is an earlier one" in page


def test_a_damaged_output_is_found_and_made_again(finished: Site) -> None:
    damaged = finished.storage / "medleydb/normalised/ann-one/vocals.wav"
    good = damaged.read_bytes()
    damaged.write_bytes(good[:-1000])
    (finished.storage / "evaluation/report/report.html").unlink()
    done = finished.run("--candidates", "tiny")
    assert done.returncode == 0, done.stderr
    assert damaged.read_bytes() == good
    assert (finished.storage / "evaluation/report/report.html").is_file()
    # The stems too: where nothing had to be converted, stems and normalised audio are one file under two names.
    assert tally(done.stdout)[0] == 3


@pytest.fixture
def copied(finished: Site, tmp_path: Path) -> Site:
    """A site of the test's own on which the chain ran well: what is tried on it, no other test finds."""
    shutil.copytree(finished.folder, tmp_path / "site")
    return Site(tmp_path / "site")


def test_a_track_that_a_checkpoint_knows_is_left_out_of_scores_board_ballot_and_page_and_told(copied: Site) -> None:
    """As after another draw: one of today's reserved tracks is among those that the checkpoint was trained on."""
    layout = Layout(copied.storage)
    trained = layout.checkpoint("tiny")
    record = json.loads((trained / cache.RECORD).read_text())
    del record["sha256"]
    known = SPLITS.read(layout.splits).query("split == 'reserved'")["track_id"].iloc[0]
    heard = HEARD.read(trained)
    HEARD.write(trained, pd.concat([heard, heard.iloc[:1].assign(track_id=known)], ignore_index=True))
    record["files"] = {name: vars(stamp) for name, stamp in cache.stamp_files(trained).items()}
    (trained / cache.RECORD).write_text(json.dumps(record))

    checked = never_trained_on(settings=Settings(storage=copied.storage))
    assert not checked.passed
    assert f"tiny is scored on {known}, although it was trained on it" in str(checked.metadata["problems"].value)

    done = copied.run("--candidates", "tiny")
    assert done.returncode == 0, done.stderr
    for table, folder in ((SCORES, layout.scores("tiny")), (SCORES, layout.leaderboard)):
        assert known not in set(table.read(folder)["track_id"])
    assert known not in json.loads((layout.listening_test / "key.json").read_text())["tracks"]
    page = (layout.report / "report.html").read_text()
    assert "1 song that one does know is left out" in page
    assert f"tiny was trained on it: {known}" in done.stdout


def test_splits_are_shown_handed_on_and_drawn_anew_by_a_command_that_says_what_that_voids(
    copied: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = copied.run("show", module="pipelines.splits")
    assert shown.returncode == 0, shown.stderr
    assert "reserved    medleydb/ann-one  (drawn for the final evaluation)" in shown.stdout
    written = copied.run("write", str(tmp_path / "splits.yaml"), module="pipelines.splits")
    assert "12 tracks written" in written.stdout
    ledger = copied.storage / "splits.yaml"
    before = ledger.read_bytes()

    environment = copied.environment | {"ISOLATION_SEED": "2"}
    with monkeypatch.context() as patch:
        patch.setattr(Site, "environment", property(lambda _: environment))
        asked = copied.run("redraw", module="pipelines.splits")
        assert (asked.returncode, ledger.read_bytes()) == (1, before)
        assert "change between what is trained on and what is held out" in asked.stdout
        assert re.search(r"tiny: it knows \d+ of \d+ held-out tracks from training \(", asked.stdout)
        done = copied.run("redraw", "--yes", module="pipelines.splits")
        assert done.returncode == 0, done.stderr
        assert ledger.read_bytes() != before
        (kept,) = copied.storage.glob("splits.before-*.yaml")
        assert kept.read_bytes() == before == (tmp_path / "splits.yaml").read_bytes()
        # The next run goes by the new draw: a checkpoint that is not trained again is scored on what it does not know.
        again = copied.run("--candidates", "tiny")
        assert again.returncode == 0, again.stderr

    given = copied.environment | {"ISOLATION_SPLITS": str(tmp_path / "splits.yaml")}
    monkeypatch.setattr(Site, "environment", property(lambda _: given))
    back = copied.run("--candidates", "tiny")
    assert back.returncode == 0, back.stderr
    assert read_placements(ledger).moved(read_placements(tmp_path / "splits.yaml")) == []
    refused = copied.run("redraw", module="pipelines.splits")
    assert refused.returncode == 2
    assert "ISOLATION_SPLITS" in refused.stderr


def test_bad_tracks_are_listed_and_all_others_go_on(tmp_path: Path) -> None:
    site = build_site(tmp_path)
    bad = {
        "not-audio": site.folder / "musdb18/train/Bad - Not Audio",
        "nan": site.folder / "musdb18/train/Bad - NaN",
    }
    for folder in bad.values():
        shutil.copytree(site.folder / "musdb18/train/Artist 0 - Song 0", folder)
    (bad["not-audio"] / "vocals.wav").write_text("no audio")
    soundfile.write(bad["nan"] / "mixture.wav", np.full((88200, 2), np.nan), 44100, subtype="FLOAT")
    (site.folder / "metadata/Bob_Two_METADATA.yaml").write_text("stems: [broken")
    (site.folder / "medleydb/Cid_Three/Cid_Three_STEMS/Cid_Three_STEM_01.wav").unlink()

    done = site.run("--candidates", "tiny")
    assert done.returncode == 1
    for named in (
        "musdb18/bad-not-audio",
        "musdb18/bad-nan",
        "medleydb/bob-two",
        "Bob_Two_METADATA.yaml",
        "medleydb/cid-three",
        "Cid_Three_STEM_01.wav",
        "to do:",
    ):
        assert named in done.stderr
    assert "Traceback" not in done.stderr
    manifest = read_table(site.storage / "training_set/manifest/manifest.parquet")
    assert len(manifest) == 9 + 1
    assert (site.storage / "evaluation/report/report.html").is_file()
    assert not any(path.name.startswith(".partial") for path in site.storage.rglob("*"))


@pytest.mark.parametrize(
    ("arguments", "environment", "expected"),
    [
        (["--candidates", "nobody"], {}, "tiny"),
        ([], {"ISOLATION_MUSDB18": "nowhere"}, "ISOLATION_MUSDB18"),
        ([], {"ISOLATION_TEST_SHARE": "7"}, "ISOLATION_TEST_SHARE"),
        ([], {"PATH": ""}, "install ffmpeg"),
        ([], {"ISOLATION_STORAGE": str(PROJECT / "pyproject.toml")}, "pyproject.toml"),
        ([], {"ISOLATION_SPLITS": "mistyped.yaml"}, "setting ISOLATION_SPLITS"),
        ([], {"ISOLATION_ARTISTS": "mistyped.yaml"}, "ISOLATION_ARTISTS"),
    ],
)
def test_bad_input_is_told_without_a_traceback(
    tmp_path: Path, arguments: list[str], environment: dict[str, str], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = build_site(tmp_path)
    changed = site.environment | environment
    monkeypatch.setattr(Site, "environment", property(lambda _: changed))
    done = site.run(*(arguments or ["--candidates", "tiny"]))
    assert done.returncode != 0
    assert expected in done.stderr
    assert "Traceback" not in done.stderr
