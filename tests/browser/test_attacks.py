"""Pages of other sites against the web server, in a real browser: as Dagster brings it, and behind the guard."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import dagster as dg
import pytest
import uvicorn
from attacks import CHANGES, IN_VAIN, PAGE, SECRET, hostile_site, script, subscription
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import EmptyWorkspaceTarget
from dagster_webserver.webserver import DagsterWebserver
from starlette.types import Message, Receive, Scope, Send

from pipelines.guard import GuardedWebserver

if TYPE_CHECKING:
    from playwright import sync_api

REBOUND = "attacker.test"
# A site elsewhere; another program's page on this machine, under the server's own name and another.
HOSTS = (REBOUND, "127.0.0.1", "localhost")
PATIENCE_S = 30


@dg.op
def secretive() -> None:
    dg.get_dagster_logger().info(SECRET)


@dg.job
def ran() -> None:
    secretive()


class Server:
    """A web server on a port of its own, over a history in which one job has run."""

    def __init__(self, kind: type[DagsterWebserver[Any, Any]], instance: dg.DagsterInstance) -> None:
        self.instance, self.beacons = instance, 0
        self.run = ran.execute_in_process(instance=instance).run_id
        self._context = WorkspaceProcessContext(instance, EmptyWorkspaceTarget(), version="1")
        app = kind(self._context).create_asgi_app()

        async def counting(scope: Scope, receive: Receive, send: Send) -> None:
            async def sent(message: Message) -> None:
                await send(message)
                # Nothing tells a page what became of its beacons.
                if message["type"] == "http.response.body" and (b"sec-fetch-dest", b"empty") in scope["headers"]:
                    self.beacons += 1

            await app(scope, receive, sent)

        listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = listener.getsockname()[1]
        self._server = uvicorn.Server(uvicorn.Config(counting, log_level="error", lifespan="off"))
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [listener]})
        self._thread.start()

    @property
    def changed(self) -> set[str]:
        """What arrived: limits that were set, and assets of which something was claimed."""
        assets = {key.to_user_string() for key in self.instance.all_asset_keys()}
        return self.instance.event_log_storage.get_concurrency_keys() | assets

    def close(self) -> None:
        self._server.should_exit = True
        self._thread.join()
        self._context.__exit__(None, None, None)


@pytest.fixture
def serve() -> Iterator[Callable[[type[DagsterWebserver[Any, Any]]], Server]]:
    servers: list[Server] = []
    with dg.instance_for_test() as instance:

        def start(kind: type[DagsterWebserver[Any, Any]]) -> Server:
            servers.append(Server(kind, instance))
            return servers[-1]

        yield start
        for server in servers:
            server.close()


@pytest.fixture(scope="module")
def site() -> Iterator[int]:
    with hostile_site() as port:
        yield port


def attack(page: sync_api.Page, server: Server, address: str, target: str) -> dict[str, Any]:
    """Open the hostile page at `address` and try everything against `target`; what changing and reading gave."""
    got: dict[str, Any] = {}
    for name in CHANGES:
        page.goto(address)
        before = server.beacons
        page.evaluate(script(name, target))
        if name.startswith("beacon"):
            until(lambda before=before: server.beacons > before)
    page.goto(address)
    socket_address = f"ws{target.removeprefix('http')}/graphql"
    got["heard"] = page.evaluate("([a, s]) => listened(a, s)", [socket_address, subscription(server.run)])
    got["picture"] = page.evaluate("(src) => loaded(Object.assign(new Image(), {src}))", f"{target}/favicon.png")
    got["script"] = page.evaluate(
        "(src) => loaded(append('script', {src}))", f"{target}/vendor/graphiql/react.production.min.js"
    )
    page.evaluate("(src) => loaded(append('iframe', {src}))", f"{target}/")
    got["framed"] = any(frame.url.startswith(target) for frame in page.frames[1:])
    with page.context.expect_page() as opened:
        page.evaluate("(src) => { window.opened = window.open(src); }", f"{target}/runs")
    opened.value.wait_for_load_state("domcontentloaded")
    got["opens"] = "refused" not in opened.value.content()
    # A window that it holds, a page may lead elsewhere and send messages to.
    got["holds"] = not page.evaluate("() => window.opened.closed")
    return got


def until(happened: Callable[[], bool]) -> None:
    ends = time.monotonic() + PATIENCE_S
    while not happened():
        assert time.monotonic() < ends
        time.sleep(0.02)  # until it is so


def test_against_dagsters_own_server_every_way_works(
    page: sync_api.Page, serve: Callable[[type[DagsterWebserver[Any, Any]]], Server], site: int
) -> None:
    server = serve(DagsterWebserver)
    got = attack(page, server, f"http://{REBOUND}:{site}/", f"http://127.0.0.1:{server.port}")
    assert server.changed == CHANGES.keys() - IN_VAIN
    assert SECRET in got["heard"]
    assert got == got | {"picture": True, "script": True, "framed": True, "opens": True, "holds": True}


@pytest.mark.parametrize("host", HOSTS)
def test_behind_the_guard_no_other_page_changes_or_reads_anything(
    page: sync_api.Page, serve: Callable[[type[DagsterWebserver[Any, Any]]], Server], site: int, host: str
) -> None:
    server = serve(GuardedWebserver)
    got = attack(page, server, f"http://{host}:{site}/", f"http://127.0.0.1:{server.port}")
    assert server.changed == set()
    # A link from elsewhere opens the UI, in a window that the page has no hold of.
    assert got == {"heard": "", "picture": False, "script": False, "framed": False, "opens": True, "holds": False}


@pytest.mark.parametrize("kind", [DagsterWebserver, GuardedWebserver])
def test_a_name_that_comes_to_point_here_opens_nothing(
    page: sync_api.Page,
    serve: Callable[[type[DagsterWebserver[Any, Any]]], Server],
    kind: type[DagsterWebserver[Any, Any]],
) -> None:
    server = serve(kind)
    target = f"http://{REBOUND}:{server.port}"
    # The page came from the attacker's own machine, before the name was pointed here: one origin for the browser.
    page.route(f"{target}/attacker", lambda route: route.fulfill(body=PAGE, content_type="text/html"))
    page.goto(f"{target}/attacker")
    read = page.evaluate("async () => (await fetch('/server_info')).status")
    for name in ("post as json", "get", "claim"):
        page.evaluate(script(name, target))
    heard = page.evaluate(
        "([a, s]) => listened(a, s)", [f"ws://{REBOUND}:{server.port}/graphql", subscription(server.run)]
    )
    if kind is GuardedWebserver:
        assert (read, server.changed, heard) == (403, set(), "")
    else:
        assert (read, server.changed) == (200, {"post as json", "get", "claim"})
        assert SECRET in heard
