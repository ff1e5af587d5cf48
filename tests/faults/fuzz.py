"""A fuzzer with a seed over every reader, in processes of its own.

A worker gives a reader mutated inputs one after the other, with bounded memory, and notes which one it is at; whoever
started it sees from that note where it hangs or died.
"""

from __future__ import annotations

import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
import traceback
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MORE_MEMORY = 1 << 30  # bytes of address space, beyond what a worker has when it has read its seeds
PROCESSOR_SECONDS, SECONDS = 20.0, 60.0  # for one input; the machine may be busy
LONGEST_MESSAGE = 20_000  # characters
FRAMES = 4  # of a traceback that are told
ODD_KINDS = ("folder", "pipe", "loop", "dangling", "endless")


@dataclass(frozen=True)
class Fault:
    """An input that was neither read nor refused as it should be, and how to make it again."""

    reader: str
    seed: int
    number: int
    what: str
    file: str = ""

    def __str__(self) -> str:
        return f"{self.reader}, seed {self.seed}, input {self.number} ({self.file}): {self.what}"


class Nursery:
    """A process that has imported what readers need, and becomes workers by dividing itself."""

    def __init__(self) -> None:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("ISOLATION_", "DAGSTER_"))}
        places = (".", "tests", "tests/models", "tests/faults")
        path = os.pathsep.join(str(ROOT / place) for place in places)
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__))],
            env={**kept, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
            cwd="/",
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )

    def __enter__(self) -> Nursery:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()

    def fuzz(self, reader: str, seed: int, count: int, folder: Path) -> list[Fault]:
        """Give a reader `count` inputs, in as many workers as it takes; returns every fault."""
        folder.mkdir(parents=True)
        faults: list[Fault] = []
        first = 0
        while first < count:
            reached, ended_by = self._work(reader, seed, first, count, folder)
            if ended_by:
                faults.append(Fault(reader, seed, reached, ended_by, str(folder / f"input-{reached}")))
                if (folder / "input").is_file():
                    os.replace(folder / "input", folder / f"input-{reached}")
            first = reached + 1
        found = folder / "faults.jsonl"
        if found.is_file():
            faults += [Fault(**json.loads(line)) for line in found.read_text().splitlines()]
        return faults

    def _work(self, reader: str, seed: int, first: int, count: int, folder: Path) -> tuple[int, str]:
        """Have one worker work; the number of the input it was at when it ended, and why, if not at the end."""
        assert self._process.stdin is not None
        at = folder / "at"
        at.write_text(str(first))
        self._process.stdin.write(json.dumps([reader, seed, first, count, str(folder)]) + "\n")
        worker = int(self._answer())
        answer = threading.Thread(target=lambda: said.append(self._answer()))
        said: list[str] = []
        answer.start()
        before, since, used, hangs = "", time.monotonic(), 0.0, ""
        while answer.is_alive():
            now, spent = at.read_text(), _processor_seconds(worker)
            if now != before:
                before, since, used = now, time.monotonic(), spent
            elif not hangs and (spent - used > PROCESSOR_SECONDS or time.monotonic() - since > SECONDS):
                hangs = f"it hangs: {spent - used:.0f} s of the processor's time in {time.monotonic() - since:.0f} s"
                os.kill(worker, signal.SIGKILL)
            answer.join(0.02)
        reached = int(at.read_text() or first)
        if hangs or int(said[0]) == 0:
            return (reached, hangs) if hangs else (count, "")
        return reached, f"the worker ended with {said[0]}:\n{(folder / 'log').read_text(errors='replace')[-2000:]}"

    def _answer(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()


def _processor_seconds(process: int) -> float:
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def raise_workers() -> None:
    """Be the nursery: for every line of the input become a worker, tell its number, and how it ended."""
    import readers
    import torch

    assert torch.get_num_threads() == 1
    del readers
    for line in sys.stdin:
        worker = os.fork()
        if worker == 0:
            reader, seed, first, count, folder = json.loads(line)
            log = os.open(Path(folder) / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            for stream in (1, 2):
                os.dup2(log, stream)
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            try:
                work(reader, seed, first, count, Path(folder))
            except BaseException:
                traceback.print_exc()
                sys.stderr.flush()
                os._exit(1)
            os._exit(0)
        print(worker, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(worker, 0)[1]), flush=True)


def work(reader: str, seed: int, first: int, count: int, folder: Path) -> None:
    """Be a worker."""
    from mutations import mutated
    from readers import READERS

    os.environ["FUZZ_SCRATCH"] = str(folder)
    asked, scratch, seeds_folder = READERS[reader], folder / "scratch", folder / "seeds"
    shutil.rmtree(seeds_folder, ignore_errors=True)
    seeds_folder.mkdir()
    seeds = list(asked.seeds(seeds_folder))
    # Once as it should be: that is read well, and everything is imported and in memory.
    amiss = _fault(asked.read, asked.file, seeds[0], "", scratch, refused="refused")
    assert not amiss, f"{reader} does not read what is well: {amiss}"
    size = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_AS, (size + MORE_MEMORY, size + MORE_MEMORY))
    with open(folder / "faults.jsonl", "a") as found:
        for number in range(first, count):
            (folder / "at").write_text(str(number))
            rng = random.Random(f"{seed} {reader} {number}")
            content = mutated(asked.form, seeds, rng)
            kind = rng.choice(ODD_KINDS) if asked.found and rng.random() < 0.03 else ""
            (folder / "input").write_bytes(content)
            what = _fault(asked.read, asked.file, content, kind, scratch)
            if what:
                saved = folder / f"input-{number}"
                os.replace(folder / "input", saved)
                fault = {"reader": reader, "seed": seed, "number": number, "what": f"{kind} {what}", "file": str(saved)}
                found.write(json.dumps(fault) + "\n")
                found.flush()


def _fault(read: object, file: str, content: bytes, kind: str, scratch: Path, refused: str = "") -> str:
    """What is wrong with how an input was taken; nothing where it was read or refused in words."""
    from data.errors import InputError

    os.chdir("/")
    _remove(scratch)
    scratch.mkdir()
    _place(scratch / file, content, kind)
    try:
        read(scratch)  # type: ignore[operator]
    except InputError as error:
        words = str(error)
        try:
            words.encode()
        except UnicodeEncodeError:
            return "a message that cannot be shown"
        return f"a message of {len(words)} characters" if len(words) > LONGEST_MESSAGE else refused and words
    except (Exception, SystemExit, RecursionError, MemoryError) as error:
        lines = traceback.format_exception(error)
        return "".join([*lines[:1], *lines[-FRAMES:]])[-3000:]
    return ""


def _place(path: Path, content: bytes, kind: str) -> None:
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "loop":
        path.symlink_to(path.name)
    elif kind == "dangling":
        path.symlink_to("nowhere")
    elif kind == "endless":
        path.symlink_to("/dev/zero")
    else:
        path.write_bytes(content)


def _remove(folder: Path) -> None:
    """Remove a folder however deep it is: rmtree of this Python calls itself for every level."""
    if folder.exists():
        subprocess.run(["rm", "-rf", "--", str(folder)], check=True)


if __name__ == "__main__":
    raise_workers()
