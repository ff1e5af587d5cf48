"""Trainings, `isolate`, downloads and a redraw of the splits, killed at random moments."""

from __future__ import annotations

import random
import shutil
import signal
import zipfile
from collections.abc import Iterator
from pathlib import Path

import soundfile
from faults_site import Undisturbed, command, environment_of
from loopback_server import Answer, LoopbackServer, loopback_server
from marked import PATIENCE, Marked, until
from pipelines_site import PROJECT, Site
from small_datasets import RATE, tone
from test_kills_of_the_chain import WAYS, traceback_in
from training_root import write_candidate, write_training_root
from tried import Tried

from models.curves import CURVES

TRAIN_KILLS, COMMAND_KILLS = 0.3, 0.2  # for one kill of the chain


def share(kills: int, part: float) -> int:
    """How many kills of a command go with so many of the whole chain."""
    return max(2, round(kills * part))


def end_of(process: Marked, hit: signal.Signals | None, finished: bool) -> list[str]:
    """What is wrong with the end of a process that got the signal `hit`, or none."""
    code = process.process.wait(PATIENCE)
    faults = [f"orphan: {orphan}" for orphan in process.orphans()] + traceback_in(process)
    expected = {0} if hit is None else {-hit, 128 + hit} | ({0} if finished else set())
    if code not in expected:
        faults.append(f"{hit}, and it ended with {code}:\n{process.text()[-1000:]}")
    return faults


def test_a_training_that_is_killed_at_random_moments_gives_the_same_weights(
    kills: int, seed: int, tmp_path: Path, tried: Tried
) -> None:
    tried.what = "a training alone killed, then trained to its end"
    root, rng = write_training_root(tmp_path / "root"), random.Random(f"{seed} training")
    candidate = write_candidate(tmp_path, "long", epochs=20, steps_per_epoch=20)
    environment = Site(root).environment | {"ISOLATION_STORAGE": str(root), "OMP_NUM_THREADS": "1"}

    def training(folder: str) -> Marked:
        arguments = [str(candidate), "--output", str(tmp_path / folder), "--device", "cpu", "--save-every", "0"]
        return Marked(command("models.train", *arguments), environment, tmp_path / f"{folder}.log", PROJECT)

    with training("undisturbed") as whole:
        lines = whole.follow()
        assert whole.code() == 0, whole.text()
    begins = next(second for second, line in lines if "training rows" in line)
    seconds = lines[-1][0] - begins
    wanted, hit, trainings, asked = tmp_path / "undisturbed", 0, 0, share(kills, TRAIN_KILLS)
    while hit < asked:
        over = False
        while not over:
            number, group = rng.choice(WAYS)
            with training(f"killed-{trainings}") as killed:
                # Mostly after little progress, so that many kills fall into one training.
                started = rng.random() > 0.2 and killed.saw("training rows")
                over = hit == asked or not killed.lasts(rng.uniform(0, seconds / 4 if started else begins))
                if not over:
                    killed.signal(number, group=group)
                    hit += 1
                tried.found += end_of(killed, None if over else number, finished=True)
        made = tmp_path / f"killed-{trainings}"
        tried.found += [f"training {trainings}: {word}" for word in _unlike(made, wanted)]
        trainings += 1
    tried.tried = f"{hit} kills in {trainings} trainings, seed {seed}"
    tried.conclude()


def _unlike(made: Path, wanted: Path) -> Iterator[str]:
    for name in ("checkpoint.pt", "validation.parquet"):
        if (made / name).read_bytes() != (wanted / name).read_bytes():
            yield f"{name} differs"
    one, other = (CURVES.read(folder).drop(columns="seconds") for folder in (made, wanted))
    if not one.equals(other):
        yield "the curves differ"
    files = [{path.name for path in folder.iterdir()} for folder in (made, wanted)]
    if files[0] != files[1]:
        yield f"left over or missing: {files[0] ^ files[1]}"


def test_isolate_killed_at_random_moments_leaves_whole_results_or_none(
    undisturbed: Undisturbed, kills: int, seed: int, tmp_path: Path, tried: Tried
) -> None:
    tried.what = "`isolate` of three songs killed, then called again"
    rng = random.Random(f"{seed} isolate")
    songs = [str(tmp_path / name) for name in ("Song.wav", "Song Live.wav", "Song.Live.flac")]
    for number, song in enumerate(songs):
        soundfile.write(song, tone(40.0, 200 + number) + tone(40.0, 90), RATE)

    def isolating(output: str) -> Marked:
        line = command("pipelines.isolate", *songs, "-o", str(tmp_path / output))
        return Marked(line, undisturbed.site.environment, tmp_path / f"{output}.log", PROJECT)

    with isolating("wanted") as whole:
        lines = whole.follow()
        assert whole.code() == 0, whole.text()
    wanted, first = _files(tmp_path / "wanted"), lines[0][0]
    assert len(wanted) == 6
    for number in range(share(kills, COMMAND_KILLS)):
        output = f"killed-{number % 3}"  # also where an earlier result stands
        signum, group = rng.choice(WAYS)
        # A SIGKILL leaves what the next call removes, once it has come so far.
        before = _files(tmp_path / output).keys()
        with isolating(output) as killed:
            over = not killed.lasts(rng.uniform(0.6 * first, lines[-1][0]))
            if not over:
                killed.signal(signum, group=group)
            tried.found += end_of(killed, None if over else signum, finished=True)
        made = _files(tmp_path / output)
        tried.found += [
            f"half a result: {name}" for name, content in made.items() if content != wanted.get(name, content)
        ]
        if signum != signal.SIGKILL:
            left = [name for name in made if name not in wanted and name not in before]
            tried.found += [f"left over after {signum.name}: {name}" for name in left]
    for output in {f"killed-{number % 3}" for number in range(share(kills, COMMAND_KILLS))}:
        with isolating(output) as again:
            tried.found += end_of(again, None, finished=True)
        if (made := _files(tmp_path / output)) != wanted:
            names = [name for name in made.keys() | wanted.keys() if made.get(name) != wanted.get(name)]
            tried.found.append(f"after the next call {', '.join(sorted(names))} left over, missing or different")
    tried.tried = f"{share(kills, COMMAND_KILLS)} kills, seed {seed}"
    tried.conclude()


def _files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


FETCH = """
import signal, sys
signal.signal(signal.SIGINT, signal.SIG_DFL)  # as data.loading does for commands
from pathlib import Path
from data.command import run_command
from data.datasets.base import fetched
from data.download import RemoteFile
from data.settings import load_settings
def fetch():
    url, checksum = sys.argv[1:]
    file = RemoteFile("stems.zip", url, None, ("sha256", checksum))
    print(fetched(load_settings(), "own", file, lambda line: print(line, flush=True)))
    return 0

sys.exit(run_command(fetch))
"""


def test_a_download_that_is_killed_goes_on_and_unpacks_all_of_it(
    kills: int, seed: int, tmp_path: Path, tried: Tried
) -> None:
    tried.what = "a download killed while it receives, verifies or unpacks, then called again"
    rng = random.Random(f"{seed} download")
    members = {
        f"Artist {n} - Song/{kind}.wav": rng.randbytes(400_000) for n in range(20) for kind in ("mixture", "vocals")
    }
    archive = tmp_path / "stems.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as packed:
        for name, content in members.items():
            packed.writestr(name, content)
    body = archive.read_bytes()
    hit = downloads = 0
    with loopback_server() as server:
        while hit < share(kills, COMMAND_KILLS):
            count, found = _fetch_killed(server, body, members, rng, tmp_path / str(downloads))
            tried.found += found
            hit, downloads = hit + count, downloads + 1
    tried.tried = f"{hit} kills in {downloads} downloads, seed {seed}"
    tried.conclude()


def _fetch_killed(
    server: LoopbackServer, body: bytes, members: dict[str, bytes], rng: random.Random, folder: Path
) -> tuple[int, list[str]]:
    from hashlib import sha256

    folder.mkdir()
    downloads = folder / "storage" / "own" / "downloads"
    environment = Site(folder).environment | {"PYTHONPATH": str(PROJECT)}
    stalls = sorted(rng.randrange(len(body)) for _ in range(3))
    url = server.put("stems.zip", *[Answer(body, stall=max(0, n)) for n in stalls[:1]], Answer(body))
    faults: list[str] = []

    def fetching(number: int) -> Marked:
        line = [command("data")[0], "-u", "-c", FETCH, url, sha256(body).hexdigest()]
        return Marked(line, environment, folder / f"{number}.log", PROJECT)

    # While it receives: the server sends so much and no more. Then at any moment of what comes after.
    number, group = rng.choice(WAYS)
    with fetching(0) as receiving:
        until(lambda: _size(downloads) >= stalls[0] or receiving.process.poll() is not None)
        receiving.signal(number, group=group)
        faults += end_of(receiving, number, finished=False)
    number, group = rng.choice(WAYS)
    with fetching(1) as going_on:
        word = rng.choice(["verifying", "unpacking"])
        hit = going_on.saw(word) and going_on.lasts(rng.uniform(0, 0.15))
        if hit:
            going_on.signal(number, group=group)
        faults += end_of(going_on, number if hit else None, finished=True)
    with fetching(2) as last:
        faults += end_of(last, None, finished=True)
    made = {name: content for name, content in _files(downloads / "stems").items() if name != "record.json"}
    if made != members:
        faults.append(f"{len(made)} of {len(members)} files are there, or others")
    left = sorted(path.name for path in downloads.iterdir() if path.name != "stems")
    faults += [f"left over: {name}" for name in left]
    return 1 + hit, faults


def _size(downloads: Path) -> int:
    return max((path.stat().st_size for path in downloads.glob(".partial-download-*.zip")), default=-1)


def test_a_redraw_of_the_splits_that_is_killed_changes_all_or_nothing(
    undisturbed: Undisturbed, kills: int, seed: int, tmp_path: Path, tried: Tried
) -> None:
    tried.what = "`pipelines.splits redraw --yes` killed, then called again"
    rng = random.Random(f"{seed} redraw")

    def redrawing(storage: Path, number: str) -> Marked:
        environment = environment_of(undisturbed.site, storage) | {"ISOLATION_SEED": "2"}
        line = command("pipelines.splits", "redraw", "--yes")
        return Marked(line, environment, tmp_path / f"{storage.name}-{number}.log", PROJECT)

    whole = shutil.copytree(undisturbed.site.storage, tmp_path / "wanted")
    before = (whole / "splits.yaml").read_bytes()
    with redrawing(whole, "whole") as drawing:
        lines = drawing.follow()
        assert drawing.code() == 0, drawing.text()
    after, hit = (whole / "splits.yaml").read_bytes(), 0
    assert after != before
    for number in range(share(kills, COMMAND_KILLS)):
        storage = shutil.copytree(undisturbed.site.storage, tmp_path / f"killed-{number}")
        signum, group = rng.choice(WAYS)
        with redrawing(storage, "killed") as killed:
            last = rng.random() < 0.5 and killed.saw("Drawn anew")
            if killed.lasts(rng.uniform(0, 0.2) if last else rng.uniform(0, lines[-1][0])):
                killed.signal(signum, group=group)
                tried.found += end_of(killed, signum, finished=True)
                hit += 1
        if (storage / "splits.yaml").read_bytes() not in (before, after):
            tried.found.append(f"{signum.name}: the splits are neither those from before nor the new ones")
        with redrawing(storage, "again") as again:
            tried.found += end_of(again, None, finished=True)
        if (storage / "splits.yaml").read_bytes() != after:
            tried.found.append(f"{signum.name}: the next redraw draws something else")
        tried.found += [f"left over: {path.name}" for path in storage.rglob("*") if ".partial-" in path.name]
        shutil.rmtree(storage)
    tried.tried = f"{hit} kills, seed {seed}"
    tried.conclude()
