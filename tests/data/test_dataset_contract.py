"""What a dataset says of itself and its tracks, on its way into the index, the recipes and the manifest."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest
import soundfile
from small_datasets import RATE, tone

from data.datasets.base import Dataset, Extracted
from data.datasets.medleydb import MedleyDB
from data.datasets.own import Own
from data.engine import ExecutorEngine
from data.layout import Layout
from data.manifest import MANIFEST, build_manifest, look_at_tracks
from data.medleydb_metadata import STEMS
from data.preparation import Outdated, TrackJob, prepare_track, raw_version, standing, stems_recipe, track_jobs
from data.settings import Settings
from data.sources import INDEX, build_index, indexed_tracks
from data.tables import Table, column
from data.tracks import RawFile, Track

ANN = Track(
    dataset="medleydb",
    name="",
    slug="ann-one",
    title="One",
    artist="Ann",
    licence="CC0",
    files=(Path("/raw/Ann_One_MIX.wav"), Path("/raw/Ann_One_STEM_01.wav")),
    indexed=(RawFile("/raw/Ann_One_MIX.wav", 10, 20, "ab"), RawFile("/raw/Ann_One_STEM_01.wav", 11, 21, "cd")),
    labelled_as="Ann_One",
)
OWN = replace(
    ANN,
    dataset="own",
    files=(Path("/raw/mixture.wav"), Path("/raw/vocals.mp3")),
    indexed=(RawFile("/raw/mixture.wav", 10, 20, "ab"), RawFile("/raw/vocals.mp3", 11, 21, "cd")),
    labelled_as="",
)


def medleydb_labels() -> pd.DataFrame:
    said = {"id": "Ann_One", "artist": "Ann", "title": "One", "genre": "Rock", "has_bleed": False}
    said |= {"instrumental": False, "published_gain": None, "mixed": None}
    stems = ((1, "piano"), (2, "male singer"))
    rows = [
        {**said, "stem": f"S0{n}", "stem_file": f"Ann_One_STEM_0{n}.wav", "instrument": kind, "vocal": n == 2}
        for n, kind in stems
    ]
    return pd.DataFrame(rows, columns=STEMS.names)


def test_tracks_of_an_earlier_release_keep_their_data_versions() -> None:
    medleydb = TrackJob(Path("/root"), MedleyDB(), ANN, medleydb_labels())
    assert raw_version(medleydb) == "07fec94e2361647ed753b147ee4094a4e17248d0886715d8e2342d38d73c4553"
    made_of = stems_recipe(medleydb).fingerprint
    assert made_of == "f6158b2514551cc09c7798ddfa0a5cee4c209ec6e59dab034d5ef792ff169906"
    own = TrackJob(Path("/root"), Own(), OWN, pd.DataFrame())
    assert raw_version(own) == "1d8e725c8178a1408238216a7576df5b075f46e5bbe03dd5269814bedb06af82"
    assert stems_recipe(own).fingerprint == "8a07c93ff8bb379c84dbb95f271882e0445053ad0b9ed9a5303a3a65e61c2842"


def test_a_track_is_in_the_index_what_it_is(tmp_path: Path) -> None:
    own = Settings(storage=tmp_path / "storage", own=str(tmp_path / "own"))
    write_own(tmp_path / "own" / "Ann - One", 44100, {"mixture": 0.2, "vocals": 0.2})
    (tmp_path / "own" / "Ann - One" / "track.yaml").write_text("genre: Rock\nsplit: [odd]\n")
    INDEX.write(Layout(own.root).index("own"), build_index(Own(), own, str, ExecutorEngine(1)))
    (found,), (track,) = Own().discover(tmp_path / "own"), indexed_tracks(own.root, "own")
    assert track.details["problem"]
    assert replace(track, indexed=(), split=None) == replace(found, name="")
    assert [(file.place, len(file.sha256)) for file in track.indexed] == [(path, 64) for path in found.files]


def test_whatever_a_reader_says_of_a_track_has_a_place_in_the_manifest() -> None:
    said = {field.name for field in fields(Extracted)}
    assert said - set(MANIFEST.names) == {"sample_rate"}  # which is there as source_rate
    assert Extracted.of({**Extracted(vocal_stems=0, has_bleed=False).said(), "else": 1}).said() == {
        "vocal_stems": 0,
        "has_bleed": False,
    }


def write_own(folder: Path, rate: int, seconds: dict[str, float]) -> None:
    folder.mkdir(parents=True)
    for number, (name, length) in enumerate(seconds.items()):
        soundfile.write(folder / f"{name}.wav", tone(length, 200 + 90 * number, rate=rate), rate)


@pytest.mark.parametrize("rate", [44100, 48000])
def test_the_rate_of_own_stems_is_that_of_their_files_and_so_is_the_measure_of_their_lengths(
    tmp_path: Path, rate: int
) -> None:
    settings = Settings(storage=tmp_path / "storage", own=str(tmp_path / "own"))
    write_own(tmp_path / "own" / "Ann - One", rate, {"mixture": 4.0, "vocals": 2.5})
    INDEX.write(Layout(settings.root).index("own"), build_index(Own(), settings, str, ExecutorEngine(1)))
    for job in track_jobs(settings, Own()).values():
        assert prepare_track(job).problem is None
    frame, findings = build_manifest(settings.root, look_at_tracks(settings, [Own()]).prepared, {}, settings.quality)
    MANIFEST.write(tmp_path, frame)
    (row,) = frame.itertuples()
    assert (row.source_rate, row.length_difference, row.frames) == (rate, -1.5 * rate, 2.5 * RATE)
    assert findings.set_index("rule").loc["length_difference", "found"] == "-1.50 s"


class Choir(Dataset):
    """Tracks named a and b of one file each, with labels of their own."""

    name = title = description = "choir"
    code_version = "1"
    labels = Table("voices.parquet", pa.schema([column("id", pa.string(), ""), column("voice", pa.string(), "")]))

    def obtain(self, settings: Settings, log: object) -> Path:
        return Path(settings.source("choir"))

    def discover(self, folder: Path) -> list[Track]:
        return [
            Track(dataset="choir", name=n, title=n, artist=n, licence="", files=(folder / n,), labelled_as=n.upper())
            for n in ("a", "b")
        ]

    def extract(self, track: Track, labels: pd.DataFrame, folder: Path) -> Extracted:
        for name in ("mixture.wav", "vocals.wav"):
            (folder / name).write_bytes(track.files[0].read_bytes())
        return Extracted(vocal_kinds=list(labels["voice"]))


def test_labels_that_change_concern_their_own_track_alone(tmp_path: Path) -> None:
    settings = Settings(storage=tmp_path / "storage", sources={"choir": str(tmp_path / "own")})
    write_own(tmp_path / "own", RATE, {"a": 0.2, "b": 0.2})
    for path in (tmp_path / "own").iterdir():
        path.rename(path.with_suffix(""))
    choir, layout = Choir(), Layout(settings.root)
    INDEX.write(layout.index("choir"), build_index(choir, settings, str, ExecutorEngine(1)))
    choir.labels.write(layout.labels("choir"), pd.DataFrame({"id": ["A", "A"], "voice": ["alto", "bass"]}))
    jobs = track_jobs(settings, choir)
    assert [prepare_track(job).problem for job in jobs.values()] == [None, None]
    assert list(jobs["b"].labels.columns) == ["id", "voice"]  # a track without labels has none of them
    choir.labels.write(layout.labels("choir"), pd.DataFrame({"id": ["A"], "voice": ["alto"]}))
    states = {slug: standing(job) for slug, job in track_jobs(settings, choir).items()}
    assert isinstance(states["a"], Outdated)
    assert "labels changed" in states["a"].reason
    assert not isinstance(states["b"], Outdated)
