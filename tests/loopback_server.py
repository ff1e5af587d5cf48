"""An HTTP server on 127.0.0.1 that does what it is told, the wrong things too."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass(frozen=True)
class Answer:
    """What one GET gets.

    `cut`: close after so many bytes of the body; `stall`: send so many and then nothing; `ranges` off: always the
    whole; `if_range` off: the part that was asked for, of whatever file there is now; `content_range`: a false one.
    """

    body: bytes = b""
    status: int = 200
    etag: str | None = '"first"'
    modified: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    cut: int | None = None
    stall: int | None = None
    ranges: bool = True
    if_range: bool = True
    content_range: str | None = None
    sized: bool = True


@dataclass
class Request:
    """What was asked, and what was answered: `sent` counts bytes of the body."""

    path: str
    headers: dict[str, str]
    status: int = 0
    sent: int = 0


class LoopbackServer:
    """Each path has a queue of answers, of which the last one stays; a number as path is a status, others are 404."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self._answers: dict[str, list[Answer]] = {}
        self._stopped = threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer._answer(self)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def put(self, name: str, *answers: Answer | bytes) -> str:
        """Answer GETs of `name` by these, one after the other; returns the address."""
        self._answers[name] = [Answer(one) if isinstance(one, bytes) else one for one in answers]
        return self.url(name)

    def url(self, name: str, host: str = "127.0.0.1") -> str:
        return f"http://{host}:{self._server.server_port}/{name}"

    @property
    def tokens(self) -> list[str | None]:
        return [request.headers.get("Authorization") for request in self.requests]

    def stop(self) -> None:
        self._stopped.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _answer(self, handler: BaseHTTPRequestHandler) -> None:
        request = Request(handler.path, dict(handler.headers))
        self.requests.append(request)
        name = handler.path.strip("/").partition("?")[0]
        queue = self._answers.get(name, [Answer(status=int(name) if name.isdigit() else 404)])
        answer = queue.pop(0) if len(queue) > 1 else queue[0]
        request.status, start = self._extent(answer, request.headers)
        handler.send_response(request.status)
        body = answer.body[start:] if request.status in (200, 206) else b""
        headers = dict(answer.headers)
        if request.status == 206:
            headers["Content-Range"] = f"bytes {start}-{len(answer.body) - 1}/{len(answer.body)}"
            headers["Content-Range"] = answer.content_range or headers["Content-Range"]
        for key, value in (("ETag", answer.etag), ("Last-Modified", answer.modified)):
            if value is not None:
                headers[key] = value
        if answer.sized:
            headers["Content-Length"] = str(len(body))
        for key, value in headers.items():
            handler.send_header(key, value)
        handler.end_headers()
        part = body[: answer.cut if answer.cut is not None else answer.stall]
        request.sent = len(part)  # before they are: whoever has read the last of them may look here at once
        handler.wfile.write(part)
        if answer.stall is not None:
            handler.wfile.flush()
            self._stopped.wait()  # until the test ends

    @staticmethod
    def _extent(answer: Answer, headers: Mapping[str, str]) -> tuple[int, int]:
        asked = re.fullmatch(r"bytes=(\d+)-", headers.get("Range", ""))
        current = headers.get("If-Range") in (None, answer.etag, answer.modified) or not answer.if_range
        if answer.status != 200 or asked is None or not answer.ranges or not current:
            return answer.status, 0
        start = int(asked[1])
        return (206, start) if start < len(answer.body) else (416, 0)


@contextmanager
def loopback_server() -> Iterator[LoopbackServer]:
    server = LoopbackServer()
    try:
        yield server
    finally:
        server.stop()
