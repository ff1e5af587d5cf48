"""Disks that are full or read-only: one message, nothing half written, and once there is room all goes on."""

from __future__ import annotations

import random
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
import soundfile
from faults_site import CHAIN, Undisturbed, command, differences, environment_of
from marked import Marked
from pipelines_site import PROJECT
from small_datasets import RATE, tone
from test_kills_of_the_chain import traceback_in, unended_runs
from training_root import write_candidate, write_training_root
from tried import Tried

BAD_INPUT = 2
FILLER = "filler"


class Disk:
    """A small file system of its own, in memory."""

    def __init__(self, folder: Path, kilobytes: int) -> None:
        self.folder = folder
        folder.mkdir(parents=True)
        self._mount("-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs")

    def _mount(self, *options: str) -> None:
        subprocess.run(["mount", *options, str(self.folder)], check=True, capture_output=True)

    def grow(self, kilobytes: int) -> None:
        self._mount("-o", f"remount,size={kilobytes}k")

    def forbid_writing(self) -> None:
        self._mount("-o", "remount,ro")

    def leave(self, kilobytes: int) -> None:
        """Have so much room left, and no more."""
        filler = self.folder / FILLER
        filler.unlink(missing_ok=True)
        filler.write_bytes(bytes(shutil.disk_usage(self.folder).free - (kilobytes << 10)))

    def remove(self) -> None:
        subprocess.run(["umount", "--lazy", str(self.folder)], check=True)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Callable[[int], Disk]]:
    """Makes disks of so many kilobytes; they go with the test."""
    made: list[Disk] = []

    def make(kilobytes: int) -> Disk:
        try:
            made.append(Disk(tmp_path / f"disk-{len(made)}", kilobytes))
        except (OSError, subprocess.CalledProcessError) as error:
            pytest.skip(f"this machine does not let tests mount a file system: {error}")
        return made[-1]

    yield make
    for each in made:
        each.remove()


def complaints(done: Marked, code: int, words: Sequence[str], others: Sequence[str] = ()) -> list[str]:
    """What is wrong with how a command took it that it could not write."""
    ended, text = done.code(), done.text()
    faults = [f"orphan: {orphan}" for orphan in done.orphans()] + traceback_in(done)
    if ended != code:
        faults.append(f"it ended with {ended} and not with {code}:\n{text[-700:]}")
    faults += [f"nothing says {word!r}:\n{text[-700:]}" for word in words if word.casefold() not in text.casefold()]
    return faults + [f"it says {word!r}:\n{text[-700:]}" for word in others if word in text]


NO_ROOM = ("No space left on device", "to do:")
READ_ONLY = ("read-only", "to do:")


def test_a_chain_whose_disk_fills_says_so_and_goes_on_when_there_is_room(
    undisturbed: Undisturbed, disk: Callable[[int], Disk], kills: int, seed: int, tmp_path: Path, tried: Tried
) -> None:
    tried.what = "the storage root on a disk that fills while the chain runs, then grows"
    rng, times = random.Random(f"{seed} disks"), max(1, kills // 8)
    whole = sum(path.stat().st_size for path in undisturbed.site.storage.rglob("*") if path.is_file()) >> 10
    for number in range(times):
        # One in each of as many equal parts of what a run needs: it is full in another stage each time.
        room = max(64, round(whole * (number + rng.random()) / times))
        small = disk(room)
        environment = environment_of(undisturbed.site, small.folder / "storage")
        with Marked(CHAIN, environment, tmp_path / f"full-{number}.log", PROJECT) as full:
            code = full.code()
            faults = [f"orphan: {orphan}" for orphan in full.orphans()] + traceback_in(full)
            if code == 0 and "WARNING" not in full.text():  # links and holes: it fitted
                faults += differences(small.folder / "storage", undisturbed.snapshot)
            elif not any(word in full.text() for word in ("No space left", "room on the disk", "disk is full")):
                faults.append(f"it ended with {code} and does not say that the disk is full:\n{full.text()[-700:]}")
            elif code not in (1, BAD_INPUT):
                faults.append(f"the disk is full, and it ended with {code}:\n{full.text()[-700:]}")
        small.grow(500_000)
        with Marked(CHAIN, environment, tmp_path / f"room-{number}.log", PROJECT) as again:
            if again.code() != 0:
                faults.append(f"with room again it ended with {again.code()}:\n{again.text()[-700:]}")
            faults += traceback_in(again)
        faults += differences(small.folder / "storage", undisturbed.snapshot) + unended_runs(small.folder / "storage")
        tried.found += [f"full at {room} kB: {fault}" for fault in faults]
    tried.tried = f"{times} disks of 0 to {whole} kB, seed {seed}"
    tried.conclude()


def test_a_finished_site_on_a_read_only_disk_can_be_read_and_says_why_it_cannot_be_written(
    undisturbed: Undisturbed, disk: Callable[[int], Disk], tmp_path: Path, tried: Tried
) -> None:
    tried.what, tried.tried = "the storage root on a read-only disk", "6 commands"
    frozen = disk(500_000)
    shutil.copytree(undisturbed.site.storage, frozen.folder / "storage")
    frozen.forbid_writing()
    soundfile.write(tmp_path / "song.wav", tone(2.0), RATE)
    environment = environment_of(undisturbed.site, frozen.folder / "storage")
    checkpoint = str(frozen.folder / "storage/separators/checkpoint/tiny/checkpoint.pt")
    for line, code, words in (
        (CHAIN, BAD_INPUT, READ_ONLY),
        (command("pipelines.splits", "show"), 0, ("reserved",)),
        (command("pipelines.splits", "write", str(tmp_path / "splits.yaml")), 0, ("tracks written",)),
        (command("pipelines.splits", "redraw", "--yes"), BAD_INPUT, READ_ONLY),
        (command("pipelines.isolate", str(tmp_path / "song.wav"), "-o", str(tmp_path / "out")), 0, ("vocals.wav",)),
        (command("models.export", checkpoint, "-o", str(tmp_path / "tiny.pt2")), 0, ("tiny.pt2",)),
    ):
        with Marked(line, environment, tmp_path / "log", PROJECT) as done:
            tried.found += [f"{' '.join(line[3:5])}: {fault}" for fault in complaints(done, code, words)]
    tried.conclude()


@pytest.mark.parametrize("kind", ["full", "read-only"])
def test_results_that_cannot_be_written_are_told_in_one_message_and_leave_nothing(
    kind: str, undisturbed: Undisturbed, disk: Callable[[int], Disk], tmp_path: Path, tried: Tried
) -> None:
    tried.what, tried.tried = f"results of isolate, export, splits write and train on a {kind} disk", "4 commands"
    small = disk(2_000)
    songs = [str(tmp_path / name) for name in ("long.wav", "short.wav")]
    for song, seconds in zip(songs, (8.0, 0.5), strict=True):
        soundfile.write(song, tone(seconds), RATE)
    root = write_training_root(tmp_path / "root")
    pairs = ["--pairs", str(root / "training_set/loopback/pairs.parquet"), "--audio-root", str(root)]
    candidate = str(write_candidate(tmp_path, "tiny"))
    checkpoint = str(undisturbed.site.storage / "separators/checkpoint/tiny/checkpoint.pt")
    to = str(small.folder)
    lines = {
        "isolate": command("pipelines.isolate", *songs, "-o", f"{to}/songs"),
        "export": command("models.export", checkpoint, "-o", f"{to}/tiny.pt2"),
        "splits": command("pipelines.splits", "write", f"{to}/splits.yaml"),
        "train": command("models.train", candidate, *pairs, "--output", f"{to}/trained", "--device", "cpu"),
    }
    for name, line in lines.items():
        if kind == "full":
            small.leave(800 if name == "isolate" else 0 if name == "splits" else 4)
        else:
            small.forbid_writing()
        with Marked(line, undisturbed.site.environment, tmp_path / f"{name}.log", PROJECT) as done:
            # The same song in a tool's words would be another fault: that it does not play.
            words = READ_ONLY if kind == "read-only" else ("space", "to do:") if name == "isolate" else NO_ROOM
            tried.found += [
                f"{name}: {fault}" for fault in complaints(done, BAD_INPUT, words, ("that the file plays",))
            ]
        left = sorted(str(path.relative_to(small.folder)) for path in small.folder.rglob("*") if path.is_file())
        # Curves of a training that will go on are of use, whatever comes of it.
        left = [path for path in left if path != FILLER and "/tensorboard/" not in path]
        # The song for which there was room is done.
        wanted = [f"songs/short/{part}.wav" for part in ("accompaniment", "vocals")] if kind == "full" else []
        if left != (wanted if name == "isolate" else []):
            tried.found.append(f"{name} leaves {left}")
        for path in small.folder.iterdir() if kind == "full" else ():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    tried.conclude()
