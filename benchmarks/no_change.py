"""The whole chain run again with nothing changed, at 100, 346, 1000 and 3000 tracks.

`python -m benchmarks.no_change --work DIR [--tracks 100,346,1000,3000]`. The chain is run twice over short generated
tracks, 150 of 346 in MUSDB18-HQ's layout and the others in MedleyDB's; the second run is measured, in a process of its
own, against how long that process takes to load the code location and open Dagster's history.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from time import perf_counter

from benchmarks.corpora import many_tracks
from benchmarks.reporting import arguments, tell

_START = """
import sys
from data.settings import load_settings
from pipelines.instance import prepare_home
import dagster as dg
settings = load_settings()
prepare_home(settings.root)
from pipelines.chain import Chain
from pipelines.definitions import build_definitions
with dg.DagsterInstance.get() as instance:
    Chain(build_definitions(settings), instance)
"""
_TALLY = re.compile(r"Nothing to do: all (\d+) outputs")


def environment(corpus: Path, storage: Path) -> dict[str, str]:
    return os.environ | {
        "ISOLATION_STORAGE": str(storage),
        "ISOLATION_MUSDB18": str(corpus / "musdb18"),
        "ISOLATION_MEDLEYDB": str(corpus / "medleydb" / "audio"),
        "ISOLATION_MEDLEYDB_METADATA": str(corpus / "medleydb" / "metadata"),
        "ISOLATION_CANDIDATES": str(Path(__file__).resolve().parent.parent / "tests" / "candidates"),
    }


def timed(command: list[str], surroundings: dict[str, str]) -> tuple[float, str]:
    started = perf_counter()
    done = subprocess.run(command, env=surroundings, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stdout[-2000:] + done.stderr[-2000:])
    return perf_counter() - started, done.stdout


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--tracks", default="100,346,1000,3000")
    options = parser.parse_args()
    chain = [sys.executable, "-m", "pipelines.run", "--candidates", "tiny"]
    rows, beyond = [], {}
    for count in map(int, options.tracks.split(",")):
        work: Path = options.work.absolute() / f"many-{count}"
        surroundings = environment(many_tracks(work, count), work / "storage")
        first, _ = timed(chain, surroundings)
        start = min(timed([sys.executable, "-c", _START], surroundings)[0] for _ in range(2))
        seconds, output = min(timed(chain, surroundings) for _ in range(2))
        unchanged = _TALLY.search(output)
        if not unchanged:
            raise RuntimeError(f"the second run was not without work:\n{output[-2000:]}")
        beyond[count] = seconds - start
        cells = (f"{first:.0f}", f"{seconds:.1f}", f"{start:.1f}", f"{beyond[count]:.1f}", unchanged.group(1))
        rows.append((str(count), *cells, "0"))
    fewest, most = min(beyond), max(beyond)
    each = (beyond[most] - beyond[fewest]) / (most - fewest) * 1000 if most > fewest else 0.0
    tell(
        "the whole chain again, nothing changed",
        ("tracks", "first run, s", "again, s", "start alone, s", "beyond the start, s", "outputs unchanged", "made"),
        rows,
        f"ratio: {most / fewest:.0f} times the tracks take {beyond[most] / beyond[fewest]:.1f} times as long beyond "
        f"the start; {each:.1f} ms for each further track",
        {"seconds_beyond_start": beyond, "milliseconds_a_track": each},
        options.json,
    )


if __name__ == "__main__":
    main()
