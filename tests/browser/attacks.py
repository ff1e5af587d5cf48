"""A hostile page: every way in which a page can send something to a server of this machine, or read of it.

Each way tries to make a change of its own name, so that what arrived can be told apart.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import quote

SECRET = "a line of a run's log"

# Ways to change something: JavaScript that ends when the request has been answered, or has failed. `address` and
# `body` carry the change, as a query string and as JSON.
CHANGES = {
    "image": "await loaded(Object.assign(new Image(), {src: address}))",
    "script": "await loaded(append('script', {src: address}))",
    "stylesheet": "await loaded(append('link', {rel: 'stylesheet', href: address}))",
    "frame": "await loaded(append('iframe', {src: address}))",
    "object": "await loaded(append('object', {data: address}))",
    "get": "await fetch(address, {mode: 'no-cors'})",
    "post with a query string": "await fetch(address, {method: 'POST', mode: 'no-cors'})",
    "post as text": "await fetch(plain, {method: 'POST', mode: 'no-cors', body,"
    " headers: {'Content-Type': 'text/plain; x=application/json'}})",
    "post of a form's kind": "await fetch(plain, {method: 'POST', mode: 'no-cors', body,"
    " headers: {'Content-Type': 'multipart/form-data; boundary=application/json'}})",
    "post as json": "await fetch(plain, {method: 'POST', body, headers: {'Content-Type': 'application/json'}})",
    "put": "await fetch(address, {method: 'PUT'})",
    "delete": "await fetch(address, {method: 'DELETE'})",
    "beacon": "navigator.sendBeacon(address, 'x')",
    "beacon as text": "navigator.sendBeacon(plain, new Blob([body], {type: 'text/plain; x=application/json'}))",
    "kept alive": "await fetch(address, {method: 'POST', mode: 'no-cors', keepalive: true})",
    "form": "await submitted('post', address)",
    "form by get": "await submitted('get', plain, {query})",
    "form as text": "await submitted('post', plain, {[body.slice(0, -1) + ', \"x\": \"']: '\"}'})",
    "claim": "await fetch(claim, {method: 'POST', mode: 'no-cors'})",
}
# Ways that come to nothing at a server without a guard too. Browsers ask it first, or say of what kind the body is not;
# and what is to be shown in a frame Dagster answers with a page.
IN_VAIN = {"put", "delete", "post as json", "beacon as text", "form as text", "frame", "object", "form by get"}


PAGE = """<!doctype html><title>attacker</title><body><script>
const append = (name, values) => document.body.appendChild(Object.assign(document.createElement(name), values));
const loaded = (element) => new Promise((done) => {
  element.onload = () => done(true);
  element.onerror = () => done(false);
});
const submitted = async (method, action, fields = {}) => {
  const frame = append('iframe', {name: 'f' + Math.random()});
  const form = append('form', {method, action, target: frame.name, enctype: 'text/plain'});
  for (const [name, value] of Object.entries(fields)) {
    form.appendChild(Object.assign(document.createElement('input'), {name, value}));
  }
  const done = loaded(frame);
  form.submit();
  await done;
};
const listened = (address, subscription) => new Promise((done) => {
  const socket = new WebSocket(address, 'graphql-ws');
  const heard = [];
  socket.onopen = () => socket.send(JSON.stringify({type: 'connection_init'}));
  socket.onmessage = (message) => {
    heard.push(message.data);
    const type = JSON.parse(message.data).type;
    if (type === 'connection_ack') {
      socket.send(JSON.stringify({id: '1', type: 'start', payload: {query: subscription}}));
    }
    if (type === 'data') socket.close();
  };
  socket.onclose = () => done(heard.join());
});
</script>"""


def change(name: str) -> str:
    """The change that a way tries to make: a limit by its name."""
    return f"mutation {{ setConcurrencyLimit(concurrencyKey: {json.dumps(name)}, limit: 1) }}"


def script(name: str, target: str) -> str:
    """A way as a JavaScript function for the page, against the server at `target`."""
    query = change(name)
    values = {
        "query": query,
        "body": json.dumps({"query": query}),
        "plain": f"{target}/graphql",
        "address": f"{target}/graphql?query={quote(query)}",
        "claim": f"{target}/report_asset_materialization/{quote(name)}?data_version=forged",
    }
    given = "".join(f"const {key} = {json.dumps(value)};" for key, value in values.items())
    return f"async () => {{ {given} try {{ {CHANGES[name]} }} catch (error) {{ return String(error) }} }}"


def subscription(run: str) -> str:
    """What a WebSocket asks to hear the log of a run."""
    return (
        f"subscription {{ pipelineRunLogs(runId: {json.dumps(run)}) {{ ... on PipelineRunLogsSubscriptionSuccess "
        "{ messages { ... on MessageEvent { message } } } } }"
    )


@contextmanager
def hostile_site() -> Iterator[int]:
    """The hostile page on a port of this machine, under every address there."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = PAGE.encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
