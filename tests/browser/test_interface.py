"""The UI as `make ui` opens it, used through a browser: its pages, runs with their logs as they come, a backfill.

What the metadata of the tracks says is hostile: what is shown of it must not ask anybody for anything.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg
import pytest
import yaml
from attacks import CHANGES, hostile_site, script
from dagster._core.execution.backfill import BulkActionStatus
from pipelines_site import PROJECT
from small_datasets import metadata_of, write_medleydb_track

if TYPE_CHECKING:
    from playwright import sync_api

PATIENCE_S = 240
INSTRUMENTS = ["piano", "female singer"]
PAGES = {
    "/overview/activity": "Overview",
    "/runs": "Runs",
    "/assets": "Catalog",
    "/asset-groups": "lineage",
    "/automation": "retrain",
    "/deployment/daemons": "Scheduler",
    "/deployment/locations": "pipelines.definitions",
    "/locations/pipelines.definitions/jobs/ingest": "Materialize all",
    "/assets/training_set/manifest": "One row per normalised track",
    "/graphql": "",
}


class Listener:
    """A server that counts what it is asked for: nothing shown in the UI may ask it."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.asked.append(self.path)
                self.send_error(404)

            def log_message(self, format: str, *arguments: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()
        self.address = f"http://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class Interface:
    """`pipelines.ui` over two tracks of MedleyDB with hostile `words` in their metadata."""

    def __init__(self, folder: Path, words: str) -> None:
        for name in ("Ann_One", "Bob_Two"):
            write_medleydb_track(folder / "medleydb", folder / "metadata", name, INSTRUMENTS)
            metadata = metadata_of(name, INSTRUMENTS, genre=words)
            (folder / "metadata" / f"{name}_METADATA.yaml").write_text(yaml.safe_dump(metadata))
        self.storage, self._log = folder / "storage", folder / "ui.log"
        settings = {
            "STORAGE": self.storage,
            "MUSDB18": "off",
            "MEDLEYDB": folder / "medleydb",
            "MEDLEYDB_METADATA": folder / "metadata",
            "DEVICE": "cpu",
        }
        environment = os.environ | {f"ISOLATION_{name}": str(value) for name, value in settings.items()}
        with open(self._log, "wb") as log:
            command = [sys.executable, "-m", "pipelines.ui", "--port", "0"]
            self._process = subprocess.Popen(command, cwd=PROJECT, env=environment, stdout=log, stderr=log)
        self.wait_until(lambda: self._address() is not None)
        self.address = str(self._address())

    def _address(self) -> str | None:
        found = re.search(r"open on (http://127\.0\.0\.1:\d+)", self._log.read_text())
        return found[1] if found else None

    def wait_until(self, happened: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not happened():
            assert self._process.poll() is None, self._log.read_text()
            assert time.monotonic() < deadline, self._log.read_text()[-3000:]
            time.sleep(0.1)  # until it is so: Dagster's history does not call

    def instance(self) -> dg.DagsterInstance:
        return dg.DagsterInstance.from_config(str(self.storage / "dagster"))

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(PATIENCE_S)


@pytest.fixture(scope="module")
def listener() -> Iterator[Listener]:
    started = Listener()
    yield started
    started.close()


@pytest.fixture(scope="module")
def interface(tmp_path_factory: pytest.TempPathFactory, listener: Listener) -> Iterator[Interface]:
    words = f"![x]({listener.address}/a) <img src={listener.address}/b> `"
    started = Interface(tmp_path_factory.mktemp("interface"), words)
    yield started
    started.close()


@pytest.fixture
def watched(page: sync_api.Page) -> Iterator[sync_api.Page]:
    """A page of which nothing is refused: by the server, or by the policy that it sends."""
    refused: list[str] = []
    page.on("response", lambda answer: refused.append(answer.url) if answer.status >= 400 else None)
    page.on("console", lambda line: refused.append(line.text) if "Refused to" in line.text else None)
    page.set_default_timeout(60_000)
    yield page
    assert not refused


def test_every_page_opens(watched: sync_api.Page, interface: Interface) -> None:
    for path, content in PAGES.items():
        watched.goto(interface.address + path)
        if content:
            watched.get_by_text(content).first.wait_for()


def test_assets_are_made_in_the_ui_and_hostile_words_stay_text(
    watched: sync_api.Page, interface: Interface, listener: Listener
) -> None:
    heard: list[str] = []
    watched.on("websocket", lambda socket: socket.on("framereceived", lambda frame: heard.append(str(frame))))
    jobs = f"{interface.address}/locations/pipelines.definitions/jobs"

    watched.goto(f"{jobs}/ingest")
    watched.get_by_role("button", name="Materialize all").click()
    watched.get_by_role("link", name="View", exact=True).click()
    watched.get_by_text("RUN_SUCCESS").wait_for(timeout=PATIENCE_S * 1000)
    assert any("RunSuccessEvent" in frame for frame in heard)  # the log came over the WebSocket

    watched.goto(f"{jobs}/prepare_medleydb")
    watched.get_by_role("button", name="Materialize all").click()
    watched.get_by_role("button", name="All", exact=True).click()
    watched.get_by_text("2 partitions").first.wait_for()
    watched.get_by_role("button", name="Launch backfill").click()
    with interface.instance() as instance:
        done = [BulkActionStatus.COMPLETED_SUCCESS]
        interface.wait_until(lambda: [backfill.status for backfill in instance.get_backfills()] == done)

    watched.goto(f"{interface.address}/assets/training_set/manifest")
    watched.get_by_role("button", name="Materialize").first.click()
    confirm, launched = watched.get_by_role("button", name="Confirm"), watched.get_by_text("Launched run")
    confirm.or_(launched).first.wait_for()  # the other lanes are off, which the UI asks about
    if confirm.is_visible():
        confirm.click()
    with interface.instance() as instance:
        manifest = dg.AssetKey(["training_set", "manifest"])
        interface.wait_until(lambda: instance.get_latest_materialization_event(manifest) is not None)
    watched.goto(f"{interface.address}/assets/training_set/manifest?view=events")
    row = watched.locator("tr", has=watched.get_by_text("preview", exact=True))
    row.get_by_text("[Show Markdown]").click()
    told = watched.get_by_role("dialog").get_by_role("cell", name=f"![x]({listener.address}/a) <img").first
    told.wait_for()
    told.scroll_into_view_if_needed()
    assert watched.get_by_role("dialog").locator("img").count() == 0
    watched.wait_for_load_state("networkidle")
    assert listener.asked == []


def test_a_hostile_page_launches_and_switches_nothing(page: sync_api.Page, interface: Interface) -> None:
    def state() -> tuple[object, ...]:
        with interface.instance() as instance:
            limits = instance.event_log_storage.get_concurrency_keys()
            events = instance.event_log_storage.get_maximum_record_id()
            switched = [(each.name, each.status) for each in instance.all_instigator_state()]
            return limits, events, switched, instance.get_runs_count(), len(instance.all_asset_keys())

    before = state()
    with hostile_site() as port:
        for name in CHANGES:
            page.goto(f"http://attacker.test:{port}/")
            page.evaluate(script(name, interface.address))
    assert state() == before
