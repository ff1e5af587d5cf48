"""A backfill over all lanes at the real number of tracks, killed with SIGKILL in the middle, and run again.

`python -m benchmarks.backfill --work DIR --metadata DIR`: 150 stem.mp4 files and a MedleyDB track for each of the real
metadata files, all of them short, are prepared by Dagster's daemon as one click in the UI does it. Once a third is
done, every process of the UI is killed; then the UI is started again, and the same backfill. Shows that every file is
whole, that no track was processed twice, and that the counts are those of the published datasets.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pandas as pd
import requests

from benchmarks.corpora import full_count
from benchmarks.processes import descendants
from benchmarks.reporting import arguments, tell
from data import cache
from data.files import PARTIAL, sha256_of

_BACKFILL = """mutation($params: LaunchBackfillParams!) { launchPartitionBackfill(backfillParams: $params) {
  __typename ... on LaunchBackfillSuccess { backfillId } ... on PythonError { message } } }"""
_STATUS = """query($id: String!) { partitionBackfillOrError(backfillId: $id) {
  ... on PartitionBackfill { status error { message } } ... on PythonError { message } } }"""
_ENDED = ("COMPLETED", "COMPLETED_SUCCESS", "COMPLETED_FAILED", "CANCELED", "FAILED")
_ASSETS = [f"{lane}/{part}" for lane in ("musdb18", "medleydb") for part in ("stems", "normalised")]
_ASSETS += ["training_set/manifest", "training_set/duplicates", "training_set/splits"]


class Interface:
    """The UI with its daemon, in processes of its own."""

    def __init__(self, environment: dict[str, str], port: int, log: Path) -> None:
        command = [sys.executable, "-m", "pipelines.ui", "--port", str(port)]
        with open(log, "ab") as output:
            self._process = subprocess.Popen(
                command, env=environment, stdout=output, stderr=output, start_new_session=True
            )
        self._url = f"http://127.0.0.1:{port}/graphql"
        until(lambda: self._answers(), 120, "the UI does not answer")

    def backfill(self) -> str:
        """Start the backfill over all partitions of all lanes; returns its id."""
        params = {"assetSelection": [{"path": name.split("/")} for name in _ASSETS], "allPartitions": True}
        answer = self._ask(_BACKFILL, {"params": params})["launchPartitionBackfill"]
        if "backfillId" not in answer:
            raise RuntimeError(str(answer))
        return str(answer["backfillId"])

    def status(self, backfill: str) -> str:
        return str(self._ask(_STATUS, {"id": backfill})["partitionBackfillOrError"]["status"])

    def kill(self) -> int:
        """SIGKILL for the UI and every process that it started; returns their number."""
        processes = descendants(self._process.pid)
        for process in processes:
            try:
                os.kill(process, signal.SIGKILL)
            except ProcessLookupError:
                continue
        self._process.wait()
        return len(processes)

    def _ask(self, query: str, variables: dict[str, Any]) -> dict[str, Any]:
        answer = requests.post(self._url, json={"query": query, "variables": variables}, timeout=60).json()
        if "errors" in answer:
            raise RuntimeError(str(answer["errors"]))
        content: dict[str, Any] = answer["data"]
        return content

    def _answers(self) -> bool:
        try:
            ready = self._ask("query { repositoriesOrError { ... on RepositoryConnection { nodes { name } } } }", {})
        except (requests.RequestException, RuntimeError, ValueError):
            return False
        return bool(ready["repositoriesOrError"].get("nodes"))


def until(condition: Any, limit_s: float, problem: str) -> float:
    """Wait for a condition; returns the seconds it took."""
    started = time.monotonic()
    while not condition():
        if time.monotonic() - started > limit_s:
            raise TimeoutError(problem)
        time.sleep(0.2)  # until it is so: the UI's API does not call back
    return time.monotonic() - started


def records(storage: Path) -> dict[str, int]:
    """When each output of a track was finished, in nanoseconds."""
    found = storage.glob("*/*/*/record.json")
    return {
        str(path.parent.relative_to(storage)): path.stat().st_mtime_ns
        for path in found
        if path.parts[-3] in ("stems", "normalised") and not path.parent.name.startswith(PARTIAL)
    }


def damaged(storage: Path) -> list[str]:
    """Outputs whose files are not, byte for byte, what their record says."""
    bad = []
    for name in records(storage):
        record = cache.recall(storage / name)
        good = record and all(sha256_of(storage / name / file) == stamp.sha256 for file, stamp in record.files.items())
        if not good:
            bad.append(name)
    return bad


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--metadata", type=Path, required=True, help="folder of MedleyDB's real metadata files")
    parser.add_argument("--port", type=int, default=3901)
    options = parser.parse_args()
    work: Path = options.work.absolute()
    corpus, storage = full_count(work / "full", options.metadata), work / "backfill-storage"
    shutil.rmtree(storage, ignore_errors=True)
    environment = os.environ | {
        "ISOLATION_STORAGE": str(storage),
        "ISOLATION_MUSDB18": str(corpus / "musdb18"),
        "ISOLATION_MEDLEYDB": str(corpus / "medleydb"),
        "ISOLATION_MEDLEYDB_METADATA": str(options.metadata.absolute()),
        "DAGSTER_HOME": str(storage / "dagster"),
    }
    interface = Interface(environment, options.port, work / "backfill.log")
    launch = [str(Path(sys.executable).with_name("dg")), "launch", "--job", "ingest"]
    subprocess.run(launch, env=environment, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    tracks = sum(len(pd.read_parquet(path)) for path in storage.glob("*/archive/tracks.parquet"))

    interface.backfill()
    until(lambda: len(records(storage)) > 2 * tracks // 3, 300, "the backfill does not get on")
    processes = interface.kill()
    before, broken = records(storage), damaged(storage)
    halves = sum(1 for _ in storage.glob(f"*/*/{PARTIAL}*"))

    interface = Interface(environment, options.port, work / "backfill.log")
    backfill = interface.backfill()
    try:
        taken = until(lambda: interface.status(backfill) in _ENDED, 600, "the backfill does not end")
        status = interface.status(backfill)
    finally:
        interface.kill()
    after, left = records(storage), sum(1 for _ in storage.glob(f"*/*/{PARTIAL}*"))
    again = sum(after.get(name) != time_ns for name, time_ns in before.items())
    manifest = pd.read_parquet(storage / "training_set" / "manifest" / "manifest.parquet")
    copies = pd.read_parquet(storage / "training_set" / "duplicates" / "duplicates.parquet")
    medleydb = manifest[manifest["dataset"] == "medleydb"]
    second = medleydb.merge(_editions(options.metadata), on="track_id").query("edition == 'v2'")
    result = {
        "tracks": tracks,
        "processes killed": processes,
        "outputs finished at the kill": len(before),
        "damaged outputs after the kill": len(broken),
        "unfinished folders after the kill": halves,
        "second backfill": status,
        "outputs finished in the end": len(after),
        "damaged outputs in the end": len(damaged(storage)),
        "unfinished folders in the end": left,
        "outputs made twice": again,
        "tracks in the manifest": len(manifest),
        "MedleyDB 2 tracks with vocals": int((second["vocal_stems"] > 0).sum()),
        "of these with several vocal stems": int((second["vocal_stems"] > 1).sum()),
        "MedleyDB tracks recognised as MUSDB18's": int((copies["how"] == "registry").sum()),
    }
    tell(
        f"a backfill over {tracks} tracks, killed and run again",
        ("what", "found"),
        list(result.items()),
        f"ratio: {again / max(1, len(before)):.0%} of the finished work was done twice ({taken:.0f} s for the rest)",
        result,
        options.json,
    )


def _editions(metadata: Path) -> pd.DataFrame:
    """Which of the two releases each MedleyDB track is of, by the folder that its metadata file lies in."""
    from data.medleydb_metadata import SUFFIX
    from data.tracks import track_slug

    rows = [
        {"track_id": f"medleydb/{track_slug(path.name.removesuffix(SUFFIX))}", "edition": path.parent.name.lower()}
        for path in metadata.rglob(f"*{SUFFIX}")
    ]
    return pd.DataFrame(rows)


if __name__ == "__main__":
    main()
