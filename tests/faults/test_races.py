"""Two at once: workers on neighbouring outputs and on one, two runs over one storage root, readers beside a run."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import soundfile
from faults_site import CHAIN, Undisturbed, command, differences, environment_of
from loopback_server import Answer, loopback_server
from marked import Marked
from pipelines_site import PROJECT, Site
from small_datasets import RATE, tone
from test_kills_of_commands import end_of
from test_kills_of_the_chain import traceback_in
from tried import Tried

from data import cache

BAD_INPUT = 2

# One name is the beginning of the next, or a pattern that matches others.
NEIGHBOURS = ("song", "song-live", "song-live-2", "song-live-2-x", "live", "s*", "[s]ong", ".song", "song.")

MAKE = """
import json, random, sys
from pathlib import Path
from data import cache
from data.recipe import Recipe

folder, seed, names = Path(sys.argv[1]), sys.argv[2], json.loads(sys.argv[3])
rng = random.Random(seed)
rng.shuffle(names)

def work(partial):
    for number in range(rng.randrange(1, 6)):
        (partial / str(number)).write_bytes(rng.randbytes(rng.randrange(50_000)))
    (partial / "last").write_text("done")
    return {}

for name in names:
    record = cache.make(folder / name, Recipe(seed if "again" in sys.argv else "1", {}, {}), work).record
    assert "last" in record.files, record.files
"""


def made_side_by_side(folder: Path, rounds: int, workers: int, seed: int, tmp: Path, *more: str) -> list[str]:
    """Have several processes make all neighbours in as many rounds; what is wrong with what there is then."""
    faults = []
    for number in range(rounds):
        place = folder / str(number)
        with ExitStack() as stack:
            processes = []
            for worker in range(workers):
                arguments = [str(place), f"{seed} {number} {worker}", json.dumps(NEIGHBOURS), *more]
                line = [command("data")[0], "-c", MAKE, *arguments]
                environment = Site(folder).environment | {"PYTHONPATH": str(PROJECT)}
                processes.append(stack.enter_context(Marked(line, environment, tmp / f"{worker}.log", PROJECT)))
            for process in processes:
                faults += end_of(process, None, finished=True)
        for name in NEIGHBOURS:
            record = cache.recall(place / name)
            if record is None or "last" not in record.files:
                faults.append(f"round {number}: {name} is not there, or not whole")
        faults += [
            f"round {number}: {entry.name} is left over" for entry in place.iterdir() if entry.name not in NEIGHBOURS
        ]
    return faults


def test_outputs_whose_names_begin_alike_do_not_delete_each_other(
    kills: int, seed: int, tmp_path: Path, tried: Tried
) -> None:
    rounds = max(2, kills // 10)
    tried.what = "three processes that make neighbouring outputs, and the same ones"
    tried.found += made_side_by_side(tmp_path / "made", rounds, 3, seed, tmp_path)
    tried.found += made_side_by_side(tmp_path / "replaced", rounds, 3, seed, tmp_path, "again")
    tried.tried = f"{2 * rounds * 3 * len(NEIGHBOURS)} outputs, seed {seed}"
    tried.conclude()


def test_of_two_runs_over_one_storage_root_one_is_refused_and_readers_are_not(
    undisturbed: Undisturbed, kills: int, seed: int, tmp_path: Path, tried: Tried
) -> None:
    tried.what = "two runs over one storage root, and commands that read beside them"
    rng, times = random.Random(f"{seed} races"), max(1, kills // 20)
    soundfile.write(tmp_path / "song.wav", tone(1.0), RATE)
    checkpoint = str(undisturbed.site.storage / "evaluation/champion/checkpoint.pt")
    for number in range(times):
        storage = tmp_path / str(number) / "storage"
        storage.parent.mkdir()
        environment = environment_of(undisturbed.site, storage)
        line = command("pipelines.isolate", str(tmp_path / "song.wav"), "-o", str(storage.parent / "out"))
        with ExitStack() as stack:

            def start(line: Sequence[str], name: str, stack: ExitStack = stack, storage: Path = storage) -> Marked:
                environment = environment_of(undisturbed.site, storage)
                return stack.enter_context(Marked(line, environment, storage.parent / f"{name}.log", PROJECT))

            first = start(CHAIN, "first")
            # Together, or while the first one works.
            if rng.random() < 0.7:
                first.saw(rng.choice(["own/archive", "musdb18_prepared", "separators/checkpoint"]))
            second = start(CHAIN, "second")
            reader = start([*line, "--model", checkpoint], "isolate")
            shown = start(command("pipelines.splits", "show"), "splits")
            codes = sorted([first.code(), second.code()])
            faults = traceback_in(first) + traceback_in(second) + end_of(reader, None, finished=True)
            faults += traceback_in(shown)
            refused = first if first.code() else second
            if codes != [0, BAD_INPUT]:
                faults.append(f"they ended with {codes}:\n{first.text()[-600:]}\n{second.text()[-600:]}")
            elif str({first, second}.difference({refused}).pop().process.pid) not in refused.text():
                faults.append(f"the refused one does not name the process that runs:\n{refused.text()[-600:]}")
        faults += differences(storage, undisturbed.snapshot)
        with Marked(CHAIN, environment, storage.parent / "again.log", PROJECT) as again:
            faults += end_of(again, None, finished=True)
            if "Nothing to do" not in again.text():
                faults.append(f"the run after them found something to do:\n{again.text()[-1000:]}")
        tried.found += faults
    tried.tried = f"{times} pairs of runs, seed {seed}"
    tried.conclude()


def test_two_downloads_of_one_file_and_two_calls_of_isolate_leave_whole_results(
    undisturbed: Undisturbed, tmp_path: Path, tried: Tried
) -> None:
    tried.what, tried.tried = "two downloads of one file; two calls of isolate into one folder", "1 pair each"
    body, file = random.Random(0).randbytes(30_000_000), tmp_path / "downloads" / "a.zip"
    code = "import sys, pathlib, data.download; data.download.download(sys.argv[1], pathlib.Path(sys.argv[2]))"
    with loopback_server() as server, ExitStack() as stack:
        line = [command("data")[0], "-c", code, server.put("a.zip", Answer(body)), str(file)]
        environment = Site(tmp_path).environment | {"PYTHONPATH": str(PROJECT)}
        both = [stack.enter_context(Marked(line, environment, tmp_path / f"{n}.log", PROJECT)) for n in range(2)]
        codes = [process.code() for process in both]
        # Outside of a command line the word that another one fetches it is an exception.
        told = [process.text() for process in both if process.code()]
        if not all("another process that is fetching it" in text for text in told):
            tried.found.append(f"they ended with {codes}: {told}")
    if file.read_bytes() != body or len(list(file.parent.iterdir())) != 1:
        tried.found.append(f"{[path.name for path in file.parent.iterdir()]} is there, or other bytes")

    soundfile.write(tmp_path / "song.wav", tone(30.0), RATE)
    line = command("pipelines.isolate", str(tmp_path / "song.wav"), "-o", str(tmp_path / "out"))
    with ExitStack() as stack:
        log = [tmp_path / f"isolate-{number}.log" for number in range(2)]
        for process in [stack.enter_context(Marked(line, undisturbed.site.environment, each, PROJECT)) for each in log]:
            tried.found += end_of(process, None, finished=True)
    left = sorted(path.name for path in (tmp_path / "out").rglob("*") if path.is_file())
    if left != ["accompaniment.wav", "vocals.wav"]:
        tried.found.append(f"isolate twice leaves {left}")
    tried.conclude()
