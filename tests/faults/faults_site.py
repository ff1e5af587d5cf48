"""A small corpus of all lanes, the chain over it, and its whole storage root in a form that can be compared."""

from __future__ import annotations

import hashlib
import io
import json
import re
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import soundfile
from marked import Marked
from pipelines_site import PROJECT, Site
from small_datasets import write_hq_dataset, write_hq_track, write_medleydb_track, write_stem_mp4

# Names of which one is the beginning of the other, and others made of the same words.
OWN = ("X", "X Live", "X Live 2", "Live", "X - X")

_RUN_NAME = re.compile(r"\w+-\d{4}-\d\d-\d\d-\d{4}(-\d+)?")
_TIMED = re.compile(r"<dt>training_seconds</dt><dd>[^<]*</dd>|\d{1,2} \w+ \d{4}, \d\d:\d\d UTC")
_TIMED_KEYS = ("run", "training_seconds", "mtime_ns")
_VOLATILE = ("report.html", "curves.parquet")  # they hold times: their own content is compared, their checksums are not


class FaultsSite(Site):
    """A site with own stems too."""

    @property
    def environment(self) -> dict[str, str]:
        return super().environment | {
            "ISOLATION_OWN": str(self.folder / "own"),
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": str(PROJECT),
        }


def command(module: str, *arguments: str) -> list[str]:
    """The command line of one of the project's modules."""
    return [sys.executable, "-u", "-m", module, *arguments]


CHAIN = command("pipelines.run", "--candidates", "tiny")


def build_raw(folder: Path) -> FaultsSite:
    """Five own tracks, three of MUSDB18-HQ and a stem.mp4, and two of MedleyDB."""
    for number, name in enumerate(OWN):
        write_hq_track(folder / "own" / name, seconds=2 + 0.5 * number, seed=20 + number)
    write_hq_dataset(folder / "musdb18", train=2, test=1)
    write_stem_mp4(folder / "musdb18" / "test" / "Artist 8 - Song 8.stem.mp4")
    for name, instruments in (
        ("Ann_One", ["piano", "female singer", "vocalists"]),
        ("Bob_Two", ["drums", "male singer"]),
    ):
        write_medleydb_track(folder / "medleydb", folder / "metadata", name, instruments)
    return FaultsSite(folder)


def change_raw(site: FaultsSite) -> None:
    """Change a track of every lane: what was made of it is replaced, and what depends on it."""
    changed = (
        "own/X Live/mixture.wav",
        "musdb18/train/Artist 0 - Song 0/vocals.wav",
        "medleydb/Bob_Two/Bob_Two_MIX.wav",
    )
    for name in changed:
        path = site.folder / name
        samples, rate = soundfile.read(path)
        soundfile.write(path, samples * 0.9, rate, subtype=soundfile.info(path).subtype)


@dataclass(frozen=True)
class Undisturbed:
    """A finished site, its storage root as `snapshot` sees it, and when the run said what, in seconds."""

    site: FaultsSite
    snapshot: dict[str, str]
    lines: Sequence[tuple[float, str]]

    @property
    def seconds(self) -> float:
        return self.lines[-1][0]


def undisturbed_run(site: FaultsSite) -> Undisturbed:
    """Run the chain to its end. Fails where it does not end well."""
    with Marked(CHAIN, site.environment, site.folder / "undisturbed.log", PROJECT) as chain:
        lines = chain.follow()
        assert chain.code() == 0, chain.text()
    return Undisturbed(site, snapshot(site.storage), lines)


def snapshot(root: Path) -> dict[str, str]:
    """Every file below a storage root by its relative path, with a checksum of what must not depend on chance.

    Left out is Dagster's own history; times and the names of trainings, which hold the time, are taken out of what
    holds them. Event files of TensorBoard, one for each life of a training, count as one.
    """
    found: dict[str, str] = {}
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root).as_posix()
        if name.startswith("dagster/") or not path.is_file():
            continue
        if "tfevents" in name:
            name = _RUN_NAME.sub("RUN", name.rpartition("/")[0] + "/events")
            found[name] = ""
            continue
        found[name] = hashlib.sha256(_content(path)).hexdigest()
    return found


def differences(root: Path, wanted: dict[str, str]) -> list[str]:
    """How a storage root differs from a snapshot, in words; nothing where it does not."""
    found = snapshot(root)
    words = [f"missing: {name}" for name in sorted(wanted.keys() - found.keys())]
    words += [f"left over: {name}" for name in sorted(found.keys() - wanted.keys())]
    words += [f"differs: {name}" for name in sorted(wanted.keys() & found.keys()) if wanted[name] != found[name]]
    # Folders without a file, and what lies in Dagster's home, are in no snapshot.
    words += [f"left over: {path.relative_to(root)}" for path in root.rglob("*") if ".partial-" in path.name]
    return sorted(set(words))


def copy_of(undisturbed: Undisturbed, folder: Path) -> FaultsSite:
    """The finished site once more, under another path."""
    shutil.copytree(undisturbed.site.folder, folder)
    return FaultsSite(folder)


def environment_of(site: FaultsSite, storage: Path) -> dict[str, str]:
    """The environment of a site whose storage root is another one."""
    return site.environment | {"ISOLATION_STORAGE": str(storage)}


def _content(path: Path) -> bytes:
    if path.name == "record.json":
        record = json.loads(path.read_text())
        record.pop("sha256", None)  # of all the rest, times and names included
        return json.dumps(_timeless(record), sort_keys=True).encode()
    if path.name == "report.html":
        return _TIMED.sub("", _RUN_NAME.sub("RUN", path.read_text())).encode()
    if path.name == "curves.parquet":
        return pd.read_parquet(io.BytesIO(path.read_bytes())).drop(columns="seconds").to_csv().encode()
    return path.read_bytes()


def _timeless(value: Any, name: str = "") -> Any:
    if isinstance(value, dict):
        if name in _VOLATILE or "tfevents" in name:
            return "volatile"
        kept = {key: _timeless(inner, key) for key, inner in value.items() if key not in _TIMED_KEYS}
        return {_RUN_NAME.sub("RUN", "events" if "tfevents" in key else key): inner for key, inner in kept.items()}
    return value
