"""Every reader of the project: what it reads well, how it is asked, and what must hold whatever it is given.

A reader may take its input or refuse it by InputError; any other exception is a fault, and so is what an `assert` here
says.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import tarfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache as remember
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import soundfile
import yaml
from loopback_server import Answer, LoopbackServer
from pipelines_site import CANDIDATES, PROJECT
from small_datasets import RATE, metadata_of, tone, write_hq_track, write_medleydb_track, write_stem_mp4

from data import audio, cache, download
from data.archives import extract_archive
from data.artists import load_artists
from data.datasets.medleydb import MedleyDB
from data.datasets.musdb18 import Musdb18
from data.datasets.own import Own
from data.duplicates import load_fingerprints, recognise
from data.engine import ExecutorEngine
from data.errata import load_errata
from data.errors import InputError
from data.heard import HEARD, heard_by, seen_tracks
from data.layout import Layout
from data.loopback import PAIRS
from data.manifest import MANIFEST
from data.medleydb_metadata import read_folder
from data.names import NAMES
from data.placements import Placement, Placements, read_placements, write_placements
from data.recipe import Recipe
from data.settings import Settings, load_settings
from data.sources import INDEX, build_index, indexed_tracks
from data.splits import SPLITS
from data.tables import Table
from models.candidate import candidate_path, load_candidate
from models.listening import count_votes, decide_votes

Read = Callable[[Path], object]


@dataclass(frozen=True)
class Reader:
    """`seeds` makes inputs that are read well; `read` is given a folder in which `file` is the mutated input.

    `form` names the structure of the inputs (see `mutations`), `weight` how many inputs it gets beside the others,
    `found` whether the file is one that the project comes across, which may then be a folder or a pipe, too.
    """

    name: str
    form: str
    seeds: Callable[[Path], Sequence[bytes]]
    file: str
    read: Read
    weight: float = 1.0
    found: bool = False


def _seeds(*contents: bytes) -> Callable[[Path], Sequence[bytes]]:
    return lambda _: contents


# Settings


_ENV = b"""# where things are
ISOLATION_STORAGE=/somewhere/else
ISOLATION_OWN="/data/own stems"
export ISOLATION_SEED=3
ISOLATION_TEST_SHARE=0.2
ISOLATION_QUALITY__SHORTEST_S=10
ISOLATION_DEVICE=cpu
ISOLATION_ERRATA=~/errata.yaml
"""


def _dotenv(folder: Path) -> None:
    os.chdir(folder)
    settings = load_settings()
    assert settings.root.is_absolute()
    settings.source("own"), settings.source("duets")


def _environment(folder: Path) -> None:
    os.chdir(folder)
    before = dict(os.environ)
    for line in (folder / "environment").read_bytes().splitlines():
        name, equals, value = line.removeprefix(b"export ").partition(b"=")
        if equals and name and b"\0" not in line:
            os.environb[name] = value
    try:
        settings = load_settings()
        assert settings.root.is_absolute()
        assert settings.root != folder
    finally:
        os.environ.clear()
        os.environ.update(before)


# YAML


def _candidates(_: Path) -> list[bytes]:
    return [
        path.read_bytes() for folder in (CANDIDATES, PROJECT / "models/candidates") for path in folder.glob("*.yaml")
    ]


_METADATA = yaml.safe_dump(metadata_of("Ann_One", ["piano", "female singer"])).encode()
_COEFFICIENTS = yaml.safe_dump(
    {"Ann_One": {1: 0.5, 2: 0.25}, "Bob_Two": {"audio": {1: 0.3}, "stft": {1: 0.4}, "manual": {}}}
).encode()


def _metadata(folder: Path) -> None:
    (folder / "Bob_Two_METADATA.yaml").write_bytes(_METADATA)
    table, _ = read_folder(folder)
    assert "Bob_Two" in set(table["id"])  # one bad file stops no other


_ERRATA = yaml.safe_dump(
    [{"dataset": "musdb18", "track": f"Ann - {n}", "problem": "silent", "action": "exclude"} for n in range(2)]
).encode()
_ARTISTS = yaml.safe_dump(
    [{"name": "Ann", "names": ["Anna", "A."], "tracks": ["musdb18/Ann - One"], "source": "her page"}]
).encode()


def _placements(folder: Path) -> list[bytes]:
    known = {
        f"own/{n}": Placement(track=f"own/{n}", split="train", artists=("ann",), audio=("ab" * 32,), same_as=("own/1",))
        for n in range(3)
    }
    write_placements(folder / "splits.yaml", Placements(known))
    return [(folder / "splits.yaml").read_bytes()]


def _own_folder(folder: Path) -> Path:
    track = folder / "Ann - One"
    track.mkdir()
    for kind in ("mixture", "vocals"):
        (track / f"{kind}.wav").write_bytes(_wav())
    return track


def _labelled(folder: Path) -> None:
    track = _own_folder(folder)
    os.rename(folder / "track.yaml", track / "track.yaml")
    (found,) = Own().discover(folder)
    assert all(isinstance(word, str) for word in (found.title, found.artist, found.genre, found.licence))
    (folder / "out").mkdir()
    Own().extract(found, pd.DataFrame(), folder / "out")


def _chosen(folder: Path) -> None:
    """Stems of which a note says which are the vocals: whatever it says, what is written is whole."""
    track = _own_folder(folder)
    (track / "stems").mkdir()
    os.rename(folder / "track.yaml", track / "track.yaml")
    for name in ("lead", "drums"):
        os.rename(track / ("vocals.wav" if name == "lead" else "mixture.wav"), track / "stems" / f"{name}.wav")
    (folder / "out").mkdir()
    Own().extract(Own().discover(folder)[0], pd.DataFrame(), folder / "out")
    _extracted(folder / "out")


def _licence(folder: Path) -> None:
    write_hq_track(folder / "train" / "Ann - One", 0.05)
    assert len(Musdb18().discover(folder)) == 1


def _named(folder: Path) -> None:
    """Own stems in folders of these names: whatever they are called, each is a track with a slug of its own."""
    content = (folder / "names").read_bytes().replace(b"/", b"\n").replace(b"\0", b"")
    (folder / "own").mkdir()
    made = 0
    for name in sorted({line[:255] for line in content.splitlines()} - {b"", b".", b".."})[:40]:
        track = os.fsencode(folder / "own") + b"/" + name
        Path(os.fsdecode(track)).mkdir()
        for kind in (b"/mixture.wav", b"/vocals.wav"):
            os.link(_small_wav(), track + kind)
        made += 1
    if made:
        settings = Settings(storage=folder / "storage", own=str(folder / "own"))
        INDEX.write(Layout(settings.root).index("own"), build_index(Own(), settings, str, ExecutorEngine(1)))
        tracks = indexed_tracks(settings.root, "own")
        slugs = [track.slug for track in tracks]
        assert len(set(slugs)) == len(slugs)
        assert all(re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", slug) and len(slug) < 200 for slug in slugs), slugs
        found = Own().discover(folder / "own")
        # Hidden folders and those of storage devices are passed over, and that is said.
        assert len(tracks) == len(found) >= made - len(found.passed_over)


# Audio


@remember
def _wav(subtype: str = "PCM_16", form: str = "WAV", channels: int = 2, rate: int = RATE) -> bytes:
    written = io.BytesIO()
    sound = tone(0.2, rate=rate)[:, :1].repeat(channels, axis=1)
    soundfile.write(written, sound, rate, subtype=subtype, format=form)
    return written.getvalue()


@remember
def _small_wav() -> bytes:
    path = Path(os.environ["FUZZ_SCRATCH"]) / "small.wav"
    path.write_bytes(_wav())
    return os.fsencode(path)


def _sounds(_: Path) -> list[bytes]:
    forms = [("PCM_16", "WAV"), ("PCM_24", "WAV"), ("FLOAT", "WAV"), ("PCM_16", "WAVEX"), ("PCM_U8", "WAV")]
    forms += [("DOUBLE", "RF64"), ("PCM_16", "FLAC"), ("VORBIS", "OGG"), ("PCM_16", "AIFF"), ("MPEG_LAYER_III", "MP3")]
    more = [_wav(channels=1), _wav(channels=6), _wav(rate=8000), _wav("FLOAT", rate=96000)]
    return [_wav(*form) for form in forms] + more


def _read_audio(folder: Path) -> None:
    form = audio.info(folder / "sound")
    whole, _ = audio.read(folder / "sound")
    assert whole.shape == (form.channels, form.frames)
    assert np.isfinite(whole).all()
    assert sum(block.shape[1] for block in audio.blocks(folder / "sound", 1000)) == form.frames


def _decode(folder: Path) -> None:
    frames = audio.decode_to(folder / "sound", folder / "decoded.wav")
    assert frames == soundfile.info(folder / "decoded.wav").frames > 0
    assert {path.name for path in folder.iterdir()} == {"sound", "decoded.wav"}


def _extracted(out: Path) -> None:
    mixture, vocals = (audio.read(out / name)[0] for name in ("mixture.wav", "vocals.wav"))
    assert mixture.shape == vocals.shape
    assert np.isfinite(mixture).all()


def _own_sounds(folder: Path) -> None:
    track = _own_folder(folder)
    os.replace(folder / "sound", track / "mixture.wav")
    (folder / "out").mkdir()
    Own().extract(Own().discover(folder)[0], pd.DataFrame(), folder / "out")
    _extracted(folder / "out")


def _hq_sounds(folder: Path) -> None:
    track = write_hq_track(folder / "raw" / "train" / "Ann - One", 0.2)
    os.replace(folder / "sound", track / "vocals.wav")
    (folder / "out").mkdir()
    Musdb18().extract(Musdb18().discover(folder / "raw")[0], pd.DataFrame(), folder / "out")
    _extracted(folder / "out")


def _medleydb_sounds(folder: Path) -> None:
    write_medleydb_track(folder / "raw", folder / "metadata", "Ann_One", ["piano", "female singer"], 0.2)
    os.replace(folder / "sound", folder / "raw/Ann_One/Ann_One_STEMS/Ann_One_STEM_02.wav")
    table, _ = read_folder(folder / "metadata")
    (folder / "out").mkdir()
    MedleyDB().extract(MedleyDB().discover(folder / "raw")[0], table, folder / "out")
    _extracted(folder / "out")


def _stem_mp4(folder: Path) -> list[bytes]:
    return [write_stem_mp4(folder / "a.stem.mp4", 0.3).read_bytes()]


def _stems(folder: Path) -> None:
    (folder / "raw" / "train").mkdir(parents=True)
    os.replace(folder / "sound", folder / "raw" / "train" / "Ann - One.stem.mp4")
    (folder / "out").mkdir()
    Musdb18().extract(Musdb18().discover(folder / "raw")[0], pd.DataFrame(), folder / "out")
    _extracted(folder / "out")


# Archives and downloads


def _zips(_: Path) -> list[bytes]:
    found = []
    for kind in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA):
        written = io.BytesIO()
        with zipfile.ZipFile(written, "w", kind) as packed:
            packed.writestr("a/mixture.wav", _wav())
            packed.writestr("a/é.txt", b"text")
        found.append(written.getvalue())
    return found


def _tars(_: Path) -> list[bytes]:
    found = []
    for kind in ("w", "w:gz", "w:bz2", "w:xz"):
        written = io.BytesIO()
        with tarfile.open(fileobj=written, mode=kind) as packed:
            info = tarfile.TarInfo("a/mixture.wav")
            info.size = len(_wav())
            packed.addfile(info, io.BytesIO(_wav()))
        found.append(written.getvalue())
    return found


def _unpack(folder: Path) -> None:
    (folder / "out").mkdir()
    try:
        extract_archive(folder / "archive", folder / "out")
    except InputError:
        assert not list((folder / "out").iterdir()), "something was left of an archive that was refused"
        raise
    finally:
        assert {path.name for path in folder.iterdir()} == {"archive", "out"}
        assert not any(path.is_symlink() for path in (folder / "out").rglob("*"))


@remember
def _server() -> LoopbackServer:
    download._sleep = lambda _: None  # type: ignore[assignment]  # the pauses between attempts
    return LoopbackServer()


_LISTED = json.dumps(
    {
        "files": [
            {"key": "a.zip", "size": 5, "checksum": "md5:" + "ab" * 16, "links": {"self": "http://127.0.0.1:1/a"}},
            {"key": "b.tar", "size": 5, "checksum": "sha256:" + "ab" * 32, "links": {"self": "x", "content": "y"}},
        ]
    }
).encode()
_ENTRIES = json.dumps(
    {"entries": {"a.zip": {"size": 5, "checksum": "md5:" + "ab" * 16, "links": {"self": "http://127.0.0.1:1/a"}}}}
).encode()


def _record_answer(folder: Path) -> None:
    url = _server().put("record", (folder / "answer").read_bytes())
    for file in download.remote_files(url):
        assert "/" not in file.name
        assert file.name not in ("", ".", "..")


_BODY = bytes(range(256)) * 40
_NOTE = json.dumps({"url": "URL", "etag": '"first"', "modified": None, "total": len(_BODY)}).encode()


def _note(folder: Path) -> None:
    url = _server().put("file", Answer(_BODY))
    (folder / ".partial-download-file").write_bytes(_BODY[:5000])
    note = (folder / "note").read_bytes().replace(b"URL", url.encode())
    (folder / "note").unlink()
    (folder / ".partial-download-file.json").write_bytes(note)
    download.download(url, folder / "file", size=len(_BODY))
    assert (folder / "file").read_bytes() == _BODY
    assert [path.name for path in folder.iterdir()] == ["file"]


# What the project itself wrote, damaged


def _a_table(table: Table, rows: int = 3) -> Callable[[Path], Sequence[bytes]]:
    """A table with plausible values of its types."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    def value(kind: pa.DataType, number: int) -> Any:
        if pa.types.is_string(kind):
            return f"own/{number}"
        if pa.types.is_boolean(kind):
            return bool(number)
        if pa.types.is_integer(kind):
            return number
        if pa.types.is_floating(kind):
            return number / 2
        if pa.types.is_struct(kind):
            return {field.name: value(field.type, number) for field in kind}
        if pa.types.is_map(kind):
            return [("id", "Ann_One")]
        return [value(kind.value_type, number)]

    def seeds(_: Path) -> list[bytes]:
        written = io.BytesIO()
        content = [{field.name: value(field.type, n) for field in table.schema} for n in range(rows)]
        pq.write_table(pa.Table.from_pylist(content, schema=table.schema), written)
        return [written.getvalue()]

    return seeds


def _index(folder: Path) -> None:
    place = Layout(folder / "root").index("own")
    place.mkdir(parents=True)
    os.replace(folder / INDEX.file, INDEX.path(place))
    for track in indexed_tracks(folder / "root", "own"):
        for file in track.indexed:
            file.stands()


def _heard_seeds(folder: Path) -> list[bytes]:
    rows = [{"track_id": f"own/{n}", "artist": "Ann", "split": "train", "mixture_sha256": "cd"} for n in range(3)]
    HEARD.write(folder, pd.DataFrame(rows))
    return [HEARD.path(folder).read_bytes()]


def _heard(folder: Path) -> None:
    heard = heard_by(folder)
    assert heard is not None
    tracks = pd.DataFrame({"track_id": ["own/1"], "artist": ["Ann"], "mixture_sha256": ["ab"]})
    seen_tracks(tracks, heard, [("own/0", "own/2")], lambda _, artist: artist)


def _owner(folder: Path) -> None:
    from data.ownership import own

    place = Layout(folder / "root").owners
    place.mkdir(parents=True)
    os.replace(folder / "owner.json", place / "owner.json")
    with own(folder / "root", "a fuzzer"):
        pass


def _owners(folder: Path) -> list[bytes]:
    """Records of a writer that was killed, and of one on another machine."""
    from data.ownership import this_process

    process = vars(this_process()) | {"pid": 999_999_999}
    told = {"what": "make run", "together": False, "since": "2026-01-01 00:00:00 UTC", "process": process}
    return [json.dumps(told).encode(), json.dumps(told | {"process": process | {"host": "x", "boot": "y"}}).encode()]


def _known_names(folder: Path) -> None:
    """A table of names beside a source whose tracks it knows, or does not."""
    settings = Settings(storage=folder / "storage", own=str(folder / "own"))
    place = Layout(settings.root).names("own")
    place.mkdir(parents=True)
    os.replace(folder / NAMES.file, place / NAMES.file)
    (folder / "own").mkdir()
    _own_folder(folder / "own")
    build_index(Own(), settings, str, ExecutorEngine(1))


def _a_record(folder: Path) -> list[bytes]:
    def work(partial: Path) -> dict[str, Any]:
        (partial / "a.txt").write_text("text")
        return {"seconds": 1.5, "words": ["a"]}

    cache.make(folder / "made", Recipe("1", {"a": 1}, {"raw": "ab"}), work)
    content = (folder / "made" / cache.RECORD).read_bytes()
    # Also one of an earlier release: without a checksum of its own every change of it is looked at.
    bare = {name: value for name, value in json.loads(content).items() if name != "sha256"}
    return [content, json.dumps(bare).encode()]


def _record(folder: Path) -> None:
    (folder / "a.txt").write_text("text")
    record = cache.recall(folder)
    assert record is None or record.files
    if record is not None:
        assert all(isinstance(stamp.size, int) for stamp in record.files.values())
        Recipe("2", {"a": 2}, {}).differs(record.recipe) if record.recipe else None


def _champion(folder: Path) -> None:
    from assets.championship import standing_champion

    place = Layout(folder / "root").champion
    content = (folder / "champion.json").read_bytes()

    def work(partial: Path) -> dict[str, Any]:
        (partial / "champion.json").write_bytes(content)
        return {}

    cache.make(place, Recipe("1", {}, {}), work)
    standing_champion(folder / "root")


_CHAMPION = json.dumps(
    {"candidate": "toy", "fingerprint": "ab" * 32, "reason": "best", "votes": "nobody", "predecessor": ""}
).encode()


def _recordings(_: Path) -> list[bytes]:
    from data.recognition import Fingerprinter

    fingerprinter = Fingerprinter()
    noise = np.random.default_rng(0).standard_normal((2, 8 * RATE)).astype(np.float32) * 0.1
    fingerprinter.feed(noise, noise / 2)
    written = io.BytesIO()
    np.save(written, fingerprinter.finish())
    return [written.getvalue()]


def _recording(folder: Path) -> None:
    (folder / "good").mkdir()
    (folder / "good" / "recording.npy").write_bytes(_recordings(folder)[0])
    manifest = pd.DataFrame({"track_id": ["own/a", "own/b"], "mixture_path": ["mixture.wav", "good/mixture.wav"]})
    prints = load_fingerprints(folder, manifest)
    recognise({"own/a": prints["own/a"]}, {"own/b": prints["own/b"]})


@remember
def _a_checkpoint() -> bytes:
    import torch
    from tiny import network_of, tiny_candidate

    from models.checkpoint import Checkpoint, save_checkpoint

    torch.manual_seed(0)
    candidate = tiny_candidate()
    path = Path(os.environ["FUZZ_SCRATCH"]) / "seed.pt"
    weights = network_of(candidate).state_dict()
    save_checkpoint(path, Checkpoint(candidate, weights, {"epoch": 4.0}, {"loopback": "ab"}, ("CC0",), "0f3c"))
    return path.read_bytes()


def _checkpoint(folder: Path) -> None:
    from models.checkpoint import load_separator
    from models.separate import separate

    separator = load_separator(folder / "checkpoint.pt")
    noise = np.random.default_rng(0).standard_normal((2, 4000)).astype(np.float32) * 0.1
    assert np.isfinite(separate(separator, noise)).all()


def _a_state(folder: Path) -> list[bytes]:
    import torch
    from tiny import network_of, tiny_candidate

    from models.training.state import Progressed, Saved, save_state

    weights = network_of(tiny_candidate()).state_dict()
    engine = {"network": weights, "optimiser": {"state": {}, "step": torch.tensor(3.0)}}
    save_state(folder / "state.pt", "ab" * 32, Saved(Progressed("tiny", step=3, losses=[0.5]), engine, weights))
    return [(folder / "state.pt").read_bytes()]


def _state(folder: Path) -> None:
    from models.training.state import Saved, load_state

    found = load_state(folder / "state.pt", "ab" * 32)
    assert found is None or isinstance(found, (str, Saved))


# Votes


_KEY = json.dumps(
    {"ballot": "abc", "candidates": ["toy", "tiny"], "tracks": {"own/a": {"A": "toy", "B": "tiny"}}}
).encode()
_VOTE = json.dumps({"ballot": "abc", "voter": "Ann", "votes": {"own/a": "A"}}).encode()


def _count(votes: Path, key: Path) -> None:
    count_votes(votes, key)
    assert decide_votes(votes, key).voters <= 2


def _vote(folder: Path) -> None:
    (folder / "key").write_bytes(_KEY)
    (folder / "bob.json").write_bytes(_VOTE.replace(b"Ann", b"Bob"))
    _count(folder, folder / "key")


def _key(folder: Path) -> None:
    (folder / "votes").mkdir()
    (folder / "votes" / "ann.json").write_bytes(_VOTE)
    _count(folder / "votes", folder / "key.json")


# Names and arguments


_NAMES = (
    "toy\ntiny.yaml\nX\nX Live\n../x\nAnn - One\n王菲 - 她\n王菲 - 他\nC#\nC\nVol. 1\nx%03d\n-x\na:b\n😀\n".encode()
)


def _candidate_names(folder: Path) -> None:
    for name in (folder / "names").read_bytes().split(b"\n")[:5]:
        if b"\0" not in name:
            with contextlib.suppress(InputError):
                candidate_path(os.fsdecode(name))
            with contextlib.suppress(InputError):
                load_candidate(os.fsdecode(name))


def _isolate(folder: Path) -> None:
    """Songs of these names, separated into an output folder of such a name."""
    from pipelines.isolate import main

    names = [
        name[:200] for name in (folder / "names").read_bytes().replace(b"\0", b"").splitlines() if name.strip(b"./ ")
    ]
    os.chdir(folder)
    songs = [os.fsdecode(name.replace(b"/", b"_")) for name in names[:2]] or ["song"]
    for song in songs:
        Path(folder, song).write_bytes(_wav())
    (folder / "model.pt").write_bytes(_a_checkpoint())
    output = "out" if len(names) < 3 else "out" + os.fsdecode(names[2].replace(b"/", b"_"))
    before = {path.name for path in folder.iterdir()}
    arguments = [f"./{song}" if song.startswith("-") else song for song in songs]
    with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
        code = main([*arguments, "-o", output, "--model", "model.pt", "--device", "cpu"])
    assert code in (0, 2), code
    assert {path.name for path in folder.iterdir()} - before <= {output}
    for song in songs:
        assert Path(folder, song).read_bytes() == _wav(), "the song itself was changed"


def _readers() -> Iterator[Reader]:
    yield Reader("settings in .env", "lines", _seeds(_ENV), ".env", _dotenv, 2, found=True)
    yield Reader("settings in the environment", "lines", _seeds(_ENV), "environment", _environment, 2)
    yield Reader("candidates", "yaml", _candidates, "x.yaml", lambda folder: load_candidate(folder / "x.yaml"), 1.5)
    yield Reader("MedleyDB metadata", "yaml", _seeds(_METADATA), "Ann_One_METADATA.yaml", _metadata, 2, found=True)
    yield Reader("MedleyDB gains", "yaml", _seeds(_COEFFICIENTS), "mixing_coefficients.yaml", _metadata, 1, found=True)
    yield Reader("errata", "yaml", _seeds(_ERRATA), "e.yaml", lambda folder: load_errata(folder / "e.yaml"))
    yield Reader("artists", "yaml", _seeds(_ARTISTS), "a.yaml", lambda folder: load_artists(folder / "a.yaml"), 0.5)
    yield Reader("splits file", "yaml", _placements, "s.yaml", lambda folder: read_placements(folder / "s.yaml"), 1.5)
    yield Reader(
        "track.yaml", "yaml", _seeds(b"artist: Ann\ntitle: One\nsplit: test\n"), "track.yaml", _labelled, 1, found=True
    )
    choice = _seeds(b"artist: Ann\nvocals: [lead]\n", b"vocals: lead.wav\ntitle: One\n")
    yield Reader("choice of own stems", "yaml", choice, "track.yaml", _chosen, 1)
    yield Reader("licence.txt", "bytes", _seeds(b"CC0\n"), "licence.txt", _licence, 0.3, found=True)
    yield Reader("names of own tracks", "bytes", _seeds(_NAMES), "names", _named, 0.5)
    yield Reader("audio by libsndfile", "bytes", _sounds, "sound", _read_audio, 3, found=True)
    yield Reader("audio by ffmpeg", "bytes", _sounds, "sound", _decode, 0.15, found=True)
    yield Reader("own stems", "bytes", _sounds, "sound", _own_sounds, 0.6)
    yield Reader("MUSDB18-HQ", "bytes", _sounds, "sound", _hq_sounds, 0.3)
    yield Reader("MedleyDB", "bytes", _sounds, "sound", _medleydb_sounds, 0.2)
    yield Reader("stem.mp4", "bytes", _stem_mp4, "sound", _stems, 0.1)
    yield Reader("zip archives", "zip", _zips, "archive", _unpack, 1.5)
    yield Reader("tar archives", "tar", _tars, "archive", _unpack, 1.5)
    yield Reader("record listings", "json", _seeds(_LISTED, _ENTRIES), "answer", _record_answer, 0.5)
    yield Reader("notes of downloads", "json", _seeds(_NOTE), "note", _note, 0.5)
    for table in (MANIFEST, SPLITS, PAIRS):
        yield Reader(f"table {table.file}", "parquet", _a_table(table), table.file, table.read, 0.7)
    yield Reader("index of raw files", "parquet", _a_table(INDEX), INDEX.file, _index, 0.7)
    yield Reader("what was heard", "parquet", _heard_seeds, HEARD.file, _heard, 0.7)
    yield Reader("records", "json", _a_record, cache.RECORD, _record, 2, found=True)
    yield Reader("records of writers", "json", _owners, "owner.json", _owner, 1, found=True)
    yield Reader("table of names", "parquet", _a_table(NAMES), NAMES.file, _known_names, 0.5)
    yield Reader("champion", "json", _seeds(_CHAMPION), "champion.json", _champion, 0.5)
    yield Reader("recordings", "bytes", _recordings, "recording.npy", _recording, 0.3)
    yield Reader("checkpoints", "torch", lambda _: [_a_checkpoint()], "checkpoint.pt", _checkpoint, 0.6)
    yield Reader("training states", "torch", _a_state, "state.pt", _state, 0.6)
    yield Reader("votes", "json", _seeds(_VOTE), "ann.json", _vote, 0.5, found=True)
    yield Reader("ballot keys", "json", _seeds(_KEY), "key.json", _key, 0.5)
    yield Reader("names of candidates", "bytes", _seeds(_NAMES), "names", _candidate_names, 0.5)
    yield Reader("names of songs", "bytes", _seeds(_NAMES), "names", _isolate, 0.05)


READERS = {reader.name: reader for reader in _readers()}
