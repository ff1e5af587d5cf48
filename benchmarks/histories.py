"""A corpus that lives: does every number stay true while tracks come, go, change, and artists turn out to be one?

`python -m benchmarks.histories --work DIR [--changes 200] [--seed 0]`. A small corpus of own stems and of MedleyDB's
form goes through random changes (tracks added, removed, restored, cut, edited, renamed; artists merged; MedleyDB's
YAML edited; candidates edited and trained again). After each the real chain runs, and it is asked of the files:

- no separator is scored on a track that it was trained on, nor on one of the same person;
- every checksum in the manifest is that of the bytes that the canonical audio was made of;
- every track that was held out stays held out;
- whatever is stale is named.

Beside it stands what the first release would have done in the same history: splits drawn by a permutation of the names,
checksums out of the index, scores by today's split, and "settings, labels or code changed".
"""

from __future__ import annotations

import hashlib
import random
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import soundfile
import yaml

from benchmarks.reporting import arguments, tell
from data.placements import HELD_OUT

RATE = 44100
CANDIDATES = ("one", "two")


@dataclass
class Song:
    """A track as it really is: what it is called may change, and who sings it, but not which song it is."""

    number: int
    artist: str
    person: int
    dataset: str
    folder: Path
    cut: bool = False
    edits: int = 0


@dataclass
class Findings:
    """What went wrong, by the promise that was broken; `before` counts what the first release would have done."""

    now: Counter[str] = field(default_factory=Counter)
    before: Counter[str] = field(default_factory=Counter)
    told: list[str] = field(default_factory=list)

    def broken(self, promise: str, sentence: str) -> None:
        self.now[promise] += 1
        self.told.append(f"{promise}: {sentence}")
        sys.stderr.write(f"BROKEN {self.told[-1]}\n")


class World:
    """The corpus on disk, and all that is really known of it."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.random = random.Random(seed)
        self.folder = folder
        self.songs: list[Song] = []
        self.gone: list[Song] = []
        self.bytes: dict[str, np.ndarray] = {}  # samples of every raw file that ever was, by checksum
        self.persons: dict[int, int] = {}  # of a person who turned out to be another one
        self.made = 0
        for _ in range(12):
            self.add("own")
        for _ in range(4):
            self.add("medleydb")

    # What may happen, each told in words.

    def add(self, dataset: str | None = None) -> str:
        """A new song, of a known artist or of a new one."""
        dataset = dataset or self.random.choice(["own", "own", "medleydb"])
        self.made += 1
        known = [song for song in self.songs if song.dataset == dataset]
        other = self.random.choice(known) if known and self.random.random() < 0.3 else None
        artist, person = (other.artist, other.person) if other else (f"Artist{self.made}", self.made)
        name = f"{artist} - Song {self.made}" if dataset == "own" else f"{artist}_Song{self.made}"
        folder = self.folder / dataset / name
        song = Song(self.made, artist, person, dataset, folder)
        self.songs.append(song)
        self.write(song)
        return f"added {name}"

    def remove(self) -> str:
        song = self.pick()
        shutil.move(song.folder, self.folder / "gone" / song.folder.name)
        self.songs.remove(song)
        self.gone.append(song)
        return f"removed {song.folder.name}"

    def restore(self) -> str:
        if not self.gone:
            return self.add()
        song = self.gone.pop(self.random.randrange(len(self.gone)))
        shutil.move(self.folder / "gone" / song.folder.name, song.folder)
        self.songs.append(song)
        return f"restored {song.folder.name}"

    def edit(self) -> str:
        """Other audio under the same name."""
        song = self.pick()
        song.edits += 1
        if sum(other.number == song.number for other in self.songs + self.gone) > 1:
            self.made += 1  # a copy whose audio is its own from now on: another song, by whom its folder names
            song.number = song.person = self.made
        self.write(song)
        return f"edited {song.folder.name}"

    def cut(self) -> str:
        """A raw file that ends in its middle."""
        song = self.pick()
        file = self.files(song)[0]
        content = file.read_bytes()
        file.write_bytes(content[: len(content) // 2])
        song.cut = True
        return f"cut {song.folder.name}"

    def mend(self) -> str:
        broken = [song for song in self.songs if song.cut]
        if not broken:
            return self.edit()
        song = self.random.choice(broken)
        self.write(song)
        return f"mended {song.folder.name}"

    def rename(self) -> str:
        """Another name of the song, and of its artist."""
        song = self.pick("own")
        song.artist = f"{song.artist} Renamed"
        folder = song.folder.with_name(f"{song.artist} - Song {song.number} renamed {self.random.randrange(1000)}")
        song.folder.rename(folder)
        song.folder = folder
        self.label(song)
        return f"renamed to {folder.name}"

    def merge(self) -> str:
        """Two artists turn out to be one: all their songs carry one name from now on."""
        one, other = self.pick("own"), self.pick("own")
        self.persons[self.person(other)] = self.person(one)
        name, former = one.artist, other.artist
        for song in [song for song in self.songs if song.dataset == "own" and song.artist == former]:
            song.artist = name
            self.label(song)
        return f"merged {former} into {name}"

    def relabel(self) -> str:
        """Another instrument in MedleyDB's YAML: another stem is the voice."""
        song = self.pick("medleydb")
        song.edits += 1
        self.metadata(song)
        return f"relabelled {song.folder.name}"

    def copy(self) -> str:
        """The same recording again, under the name of another song and artist."""
        song = self.pick("own")
        if song.cut:
            return self.mend()
        artist = f"Copyist{self.random.randrange(1000)}"
        folder = song.folder.with_name(f"{artist} - Copy {self.random.randrange(1000)}")
        shutil.copytree(song.folder, folder)
        self.songs.append(Song(song.number, artist, song.person, "own", folder, edits=song.edits))
        self.label(self.songs[-1])
        return f"copied {song.folder.name} as {folder.name}"

    def happen(self) -> str:
        changes: list[Callable[[], str]] = [
            self.add,
            self.restore,
            self.edit,
            self.mend,
            self.rename,
            self.merge,
            self.copy,
        ]
        if len(self.songs) > 12:
            changes += [self.remove, self.cut]
        if any(song.dataset == "medleydb" for song in self.songs):
            changes.append(self.relabel)
        return self.random.choice(changes)()

    # How it lies on disk.

    def pick(self, dataset: str | None = None) -> Song:
        return self.random.choice([song for song in self.songs if dataset in (None, song.dataset)])

    def person(self, song: Song) -> int:
        person = song.person
        while person in self.persons and self.persons[person] != person:
            person = self.persons[person]
        return person

    def files(self, song: Song) -> list[Path]:
        if song.dataset == "own":
            return [song.folder / "mixture.wav", song.folder / "vocals.wav"]
        name = song.folder.name
        stems = song.folder / f"{name}_STEMS"
        return [song.folder / f"{name}_MIX.wav", *(stems / f"{name}_STEM_{number:02d}.wav" for number in (1, 2))]

    def write(self, song: Song) -> None:
        """The song's audio: a voice and a backing of its own, 16 bits, so that nothing is rounded later."""
        noise = np.random.default_rng([song.number, song.edits])
        time = np.arange(round(1.2 * RATE)) / RATE
        voice = 0.25 * np.sin(2 * np.pi * (180 + 7 * (song.number % 40)) * time)[:, None] * noise.uniform(0.5, 1, 2)
        backing = 0.05 * noise.standard_normal((len(time), 2))
        for file, samples in zip(self.files(song), (voice + backing, voice, backing), strict=False):
            file.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(file, samples, RATE, subtype="PCM_16")
            self.bytes[hashlib.sha256(file.read_bytes()).hexdigest()] = soundfile.read(file, always_2d=True)[0]
        song.cut = False
        self.label(song) if song.dataset == "own" else self.metadata(song)

    def label(self, song: Song) -> None:
        (song.folder / "track.yaml").write_text(yaml.safe_dump({"artist": song.artist}))

    def metadata(self, song: Song) -> None:
        name = song.folder.name
        instruments = ("male singer" if song.edits % 2 == 0 else "female singer", "piano")
        stems = {
            f"S{number:02d}": {"filename": f"{name}_STEM_{number:02d}.wav", "instrument": instrument}
            for number, instrument in enumerate(instruments, start=1)
        }
        content = {"artist": song.artist, "title": name, "genre": "Rock", "has_bleed": "no", "instrumental": "no"}
        (self.folder / "metadata").mkdir(exist_ok=True)
        (self.folder / "metadata" / f"{name}_METADATA.yaml").write_text(yaml.safe_dump({**content, "stems": stems}))

    def by_id(self) -> dict[str, Song]:
        from data.tracks import track_slug

        return {f"{song.dataset}/{track_slug(song.folder.name)}": song for song in self.songs}


class Observer:
    """Runs the chain after every change, and holds what it says against what is really so."""

    def __init__(self, world: World, storage: Path, candidates: Path) -> None:
        import dagster as dg

        from data.settings import Settings

        self.world, self.candidates = world, candidates
        self.settings = Settings(
            storage=storage,
            musdb18="off",
            medleydb=str(world.folder / "medleydb"),
            medleydb_metadata=world.folder / "metadata",
            own=str(world.folder / "own"),
            candidates=candidates,
            reserved_tracks=3,
            device="cpu",
        )
        self.instance = dg.DagsterInstance.ephemeral()
        self.findings = Findings()
        self.held_out: dict[int, str] = {}
        self.heard: dict[str, tuple[set[int], set[int]]] = {}  # songs and persons that a checkpoint has heard
        self.heard_before: dict[str, set[int]] = {}  # what it would have heard by the first release's splits
        self.sides_before: dict[int, str] = {}

    def run(self, job: str, **options: object) -> bool:
        from pipelines.chain import Chain
        from pipelines.definitions import build_definitions

        self.chain = Chain(build_definitions(self.settings), self.instance)
        return self.chain.run(job, **options)  # type: ignore[arg-type]

    def look(self, *, train: str | None = None, edited: str | None = None) -> None:
        """One round of the chain, and every promise asked."""
        self.require(self.run("ingest"), "ingest")
        self.names_what_is_stale()
        from assets.lanes import LANES
        from pipelines.chain import Chain
        from pipelines.definitions import build_definitions

        chain = Chain(build_definitions(self.settings), self.instance)
        for lane in LANES:
            chain.prepare(lane, self.settings)  # tracks that are cut fail, and are told
        self.require(self.run("assemble"), "assemble")
        self.checksums()
        self.sides()
        if edited:
            self.names_the_edit(edited)
        if train:
            self.require(self.run("train", partition=train), f"training of {train}")
            self.remember(train)
            self.require(self.run("evaluate", partition=train), f"evaluation of {train}")
        self.scores()

    def require(self, well: bool, what: str) -> None:
        # A candidate that is not better than the champion ends its run without one: an answer, no failure.
        if not well and self.chain.tally.failures:
            raise RuntimeError(f"{what} failed: {' '.join(self.chain.tally.failures)[:2000]}")

    def names_what_is_stale(self) -> None:
        from data.datasets import DATASETS
        from data.manifest import look_at_tracks
        from pipelines.changes import training_set_changes

        songs = self.world.by_id()
        outdated = look_at_tracks(self.settings, DATASETS.values()).outdated
        manifest = self.manifest()
        if manifest is None:
            return
        really = {name for name in songs if name not in set(manifest["track_id"])}
        versions = {row.track_id: set(row.raw_checksums) for row in manifest.itertuples()}
        for name, song in songs.items():
            now = {f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name}" for file in self.world.files(song)}
            if name in versions and not now <= versions[name]:
                really.add(name)
        really |= set(manifest["track_id"]) - set(songs)
        changes = " ".join(training_set_changes(self.settings))
        for name in sorted(name for name in really - set(outdated) if name not in changes):
            self.findings.broken("stale and not named", f"{name}: {changes}")
        self.findings.before["stale and not named"] += len(really)

    def names_the_edit(self, candidate: str) -> None:
        from pipelines.changes import candidate_changes

        changes = candidate_changes(self.settings, candidate)
        if self.heard.get(candidate) and not any("training.learning_rate" in sentence for sentence in changes):
            self.findings.broken("stale and not named", f"candidate {candidate}: {changes}")

    def checksums(self) -> None:
        manifest, songs = self.manifest(), self.world.by_id()
        assert manifest is not None
        for row in manifest.itertuples():
            canonical, _ = soundfile.read(self.settings.root / row.mixture_path, always_2d=True)
            made_of = [line.split("  ")[0] for line in row.raw_checksums]
            raws = [self.world.bytes[checksum] for checksum in made_of if checksum in self.world.bytes]
            if not any(raw.shape == canonical.shape and np.array_equal(raw, canonical) for raw in raws):
                self.findings.broken("false checksum in the manifest", f"{row.track_id}: {row.raw_checksums}")
        # The first release paired the index with whatever audio lay there: a track that was cut kept its old audio.
        self.findings.before["false checksum in the manifest"] += sum(song.cut for song in songs.values())

    def sides(self) -> None:
        from assets.training_set import read_splits

        splits, songs = read_splits(self.settings.root), self.world.by_id()
        for row in splits.itertuples():
            song = songs[row.track_id]
            side = "held out" if row.split in HELD_OUT else "out" if row.split == "excluded" else "trained on"
            was = self.held_out.get(song.number)
            if side != "out" and was is None:
                self.held_out[song.number] = side
            elif was == "held out" != side or (was == "trained on" and side == "held out"):
                self.findings.broken("moved between trained on and held out", f"{row.track_id}: {was}, now {side}")
        drawn = first_release(self.manifest(), self.settings.seed)
        for name, side in drawn.items():
            was = self.sides_before.setdefault(songs[name].number, side)
            if was != side:
                self.findings.before["moved between trained on and held out"] += 1
                self.sides_before[songs[name].number] = side

    def remember(self, candidate: str) -> None:
        """What a checkpoint has really heard, by the songs themselves."""
        from data.layout import Layout
        from data.loopback import PAIRS

        songs = self.world.by_id()
        heard = set(PAIRS.read(Layout(self.settings.root).checkpoint(candidate))["track_id"])
        self.heard[candidate] = (
            {songs[name].number for name in heard},
            {songs[name].person for name in heard},
        )
        self.heard_before[candidate] = {number for number, side in self.sides_before.items() if side == "trained on"}

    def scores(self) -> None:
        if not self.heard:
            return
        from assets.evaluation import fair_scores

        songs, fair = self.world.by_id(), fair_scores(self.settings)
        for row in fair.table.itertuples():
            if row.method not in self.heard:
                continue
            song, (numbers, persons) = songs[row.track_id], self.heard[row.method]
            known = {self.world.person(Song(0, "", person, "", Path())) for person in persons}
            if song.number in numbers or self.world.person(song) in known:
                self.findings.broken("scored on what it was trained on", f"{row.method} on {row.track_id}")
        for numbers in self.heard_before.values():
            held = {number for number, side in self.sides_before.items() if side == "held out"}
            present = {song.number for song in songs.values()}
            self.findings.before["scored on what it was trained on"] += len(numbers & held & present)

    def manifest(self) -> pd.DataFrame | None:
        from data.layout import Layout
        from data.manifest import MANIFEST

        folder = Layout(self.settings.root).manifest
        return MANIFEST.read(folder) if MANIFEST.path(folder).is_file() else None


def first_release(manifest: pd.DataFrame | None, seed: int) -> dict[str, str]:
    """On which side each track would have been in the first release: drawn from a permutation of the sorted artists."""
    assert manifest is not None
    groups = manifest.groupby(manifest["artist"].str.lower())["track_id"].apply(list).to_dict()
    names = sorted(groups)
    order = [names[place] for place in np.random.default_rng(seed).permutation(len(names))]
    wanted = {"reserved": min(3, len(manifest) // 5), "test": round(0.15 * len(manifest))}
    sides = {}
    for name in order:
        part = next((part for part, left in wanted.items() if 0 < len(groups[name]) <= left), None)
        if part:
            wanted[part] -= len(groups[name])
        for track in groups[name]:
            sides[track] = "held out" if part else "trained on"
    return sides


def write_candidates(folder: Path) -> None:
    """Two candidates that train within seconds."""
    source = Path(__file__).resolve().parent.parent / "tests" / "candidates" / "tiny.yaml"
    content = yaml.safe_load(source.read_text())
    content["training"] |= {"epochs": 1, "steps_per_epoch": 2, "chunk_seconds": 0.5}
    folder.mkdir(parents=True, exist_ok=True)
    for seed, name in enumerate(CANDIDATES):
        content["training"]["seed"] = seed
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(content))


def live(folder: Path, changes: int, seed: int, retrain_every: int) -> tuple[Counter[str], Findings]:
    """A history of so many changes; returns how often what happened, and what was found."""
    world = World(folder / "corpus", seed)
    (world.folder / "gone").mkdir(parents=True, exist_ok=True)
    observer = Observer(world, folder / "storage", folder / "candidates")
    for candidate in CANDIDATES:
        observer.look(train=candidate)
    happened: Counter[str] = Counter()
    for number in range(1, changes + 1):
        what = world.happen()
        happened[what.split()[0]] += 1
        train = edited = None
        if number % retrain_every == 0:
            train = world.random.choice(CANDIDATES)
            happened["retrained"] += 1
            if world.random.random() < 0.5:
                edited = train
                happened["edited a candidate"] += 1
                file = folder / "candidates" / f"{train}.yaml"
                content = yaml.safe_load(file.read_text())
                content["training"]["learning_rate"] *= 1.1
                file.write_text(yaml.safe_dump(content))
        observer.look(train=train, edited=edited)
        broken = sum(observer.findings.now.values())
        sys.stderr.write(f"{number} of {changes}: {what}{f', trained {train}' if train else ''}; {broken} broken\n")
    return happened, observer.findings


PROMISES = (
    "scored on what it was trained on",
    "false checksum in the manifest",
    "moved between trained on and held out",
    "stale and not named",
)


def main() -> int:
    parser = arguments(__doc__ or "")
    parser.add_argument("--changes", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--retrain-every", type=int, default=10)
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=options.work) as scratch:
        folder = Path(scratch).absolute()
        write_candidates(folder / "candidates")
        happened, findings = live(folder, options.changes, options.seed, options.retrain_every)
    for sentence in findings.told:
        print(sentence)
    tell(
        f"a history of {options.changes} changes: {', '.join(f'{count} {what}' for what, count in happened.items())}",
        ("broken promise", "by the first release", "now"),
        [(promise, str(findings.before[promise]), str(findings.now[promise])) for promise in PROMISES],
        f"{sum(findings.now.values())} broken now, {sum(findings.before.values())} by the first release",
        {"changes": options.changes, "now": dict(findings.now), "before": dict(findings.before)},
        options.json,
    )
    return 1 if findings.now else 0


if __name__ == "__main__":
    sys.exit(main())
