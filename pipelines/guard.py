"""Who may speak to Dagster's web server: its own pages and programs of this machine, and no other page of the browser.

The server has no passwords, and a browser lets every page that is open send requests to 127.0.0.1. What is asked goes
through one table of rules here before Dagster sees it; what is answered says that no other page may show or read it.
Other users of the same machine are not kept out: they reach the port as its owner does.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from dagster_webserver.webserver import DagsterWebserver
from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

OPERATIONS = "graphql"  # the one place where something is asked of Dagster, or changed
# Dagster writes down as having happened whatever is sent to these. The project's processes write to the history itself.
CLAIMS = ("report_asset_materialization", "report_asset_check", "report_asset_observation")
# What is no page: content for the UI's own scripts, or downloads.
CONTENT = (OPERATIONS, "server_info", "dagit_info", "dagit", "notebook", "logs", "download_debug", *CLAIMS)

_HOST = re.compile(r"(127\.0\.0\.1|localhost|\[::1\])(:[0-9]{1,5})?", re.IGNORECASE)
_NAME = re.compile(rb"(op=[A-Za-z0-9_]*)?")
_JSON = re.compile(r'application/json[ \t]*(;[ \t]*charset="?utf-8"?[ \t]*)?', re.IGNORECASE)

_HEADERS = {
    "X-Frame-Options": "DENY",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
}
# Beside Dagster's own policy, which is about scripts; browsers obey both. Nothing shown in the UI loads from elsewhere.
_POLICY = (
    "frame-ancestors 'none'; form-action 'self'; frame-src 'self'; "
    "img-src 'self' data: blob:; media-src 'self' data: blob:; font-src 'self' data:"
)


class Asked:
    """What a request says of itself: a WebSocket's opening, or one of HTTP."""

    def __init__(self, scope: Scope) -> None:
        self._headers = Headers(scope=scope)
        self.websocket = scope["type"] == "websocket"
        self.method: str = "GET" if self.websocket else scope["method"]
        self.path: str = scope["path"]
        self.query: bytes = scope["query_string"]

    def all(self, header: str) -> list[str]:
        """Every value that a header was given; none, or several, are an answer too."""
        return self._headers.getlist(header)

    def one(self, header: str) -> str:
        """The value of a header; empty where it is missing or stands there twice."""
        values = self.all(header)
        return values[0] if len(values) == 1 else ""

    @property
    def place(self) -> str:
        """The first part of the path, by which Dagster's routes differ."""
        return self.path.lstrip("/").partition("/")[0]


def _foreign_host(asked: Asked) -> bool:
    # A name of an attacker's that points to this machine: the browser takes the page for the server's own.
    return not asked.path.startswith("/") or not _HOST.fullmatch(asked.one("host"))


def _foreign_origin(asked: Asked) -> bool:
    # Browsers send it with whatever may change something, WebSockets included; without one it is a program. Another
    # port is another site.
    return asked.all("origin") not in ([], [f"http://{asked.one('host').lower()}"])


def _sent_by_another_page(asked: Asked) -> bool:
    # Pictures, scripts, frames and links carry no origin, but this. Opening a page in a window of its own is harmless.
    if asked.all("sec-fetch-site") in ([], ["same-origin"], ["none"]):
        return False
    opens = (asked.method, asked.one("sec-fetch-mode"), asked.one("sec-fetch-dest")) == ("GET", "navigate", "document")
    return asked.websocket or not opens or asked.place in CONTENT


def _other_method(asked: Asked) -> bool:
    return asked.method not in ("GET", "HEAD") and (asked.method, asked.path) != ("POST", f"/{OPERATIONS}")


def _in_the_address(asked: Asked) -> bool:
    # The UI writes the name of an operation there, for whoever reads the browser's list of requests.
    return asked.place == OPERATIONS and not _NAME.fullmatch(asked.query)


def _not_json(asked: Asked) -> bool:
    # Pages may send every other kind anywhere without asking first.
    return asked.method == "POST" and not _JSON.fullmatch(asked.one("content-type").strip())


RULES: tuple[tuple[Callable[[Asked], bool], str], ...] = (
    (_foreign_host, "this server answers to the hosts 127.0.0.1, localhost and [::1] only"),
    (_foreign_origin, "another site's page asked for this"),
    (_sent_by_another_page, "another site's page asked for this, other than to open a page"),
    (
        lambda asked: asked.place in CLAIMS,
        "events are not taken from outside: Dagster's history is written by its runs",
    ),
    (_other_method, "only GET, and POST to /graphql, are answered"),
    (_in_the_address, "operations go into the body of a request, not into its address"),
    (_not_json, "operations are sent as application/json"),
)


def refusal(scope: Scope) -> str | None:
    """Why a request is not answered (an ASGI scope of type http or websocket); None for one that is."""
    asked = Asked(scope)
    return next((why for refuses, why in RULES if refuses(asked)), None)


class Guard:
    """ASGI middleware: answers what the rules refuse with 403 and the reason, and sets the headers of every answer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):  # the server's own start and end
            await self._app(scope, receive, send)
            return

        async def guarded(message: Message) -> None:
            if message["type"] in ("http.response.start", "websocket.http.response.start"):
                headers = MutableHeaders(scope=message)
                headers.update(_HEADERS)
                headers.append("Content-Security-Policy", _POLICY)
            await send(message)

        why = refusal(scope)
        if why is None:
            await self._app(scope, receive, guarded)
        elif scope["type"] == "http" or "websocket.http.response" in scope.get("extensions", {}):
            await PlainTextResponse(f"refused: {why}\n", status_code=403)(scope, receive, guarded)
        else:
            await send({"type": "websocket.close", "code": 1008, "reason": why})


class GuardedWebserver(DagsterWebserver[Any, Any]):
    """Dagster's web server behind the guard."""

    def build_middleware(self) -> list[Middleware]:
        """The guard, and behind it what Dagster has itself."""
        return [Middleware(Guard), *super().build_middleware()]
