"""Who may speak to the web server: the rules one by one. What a real browser makes of them: tests/browser."""

from __future__ import annotations

import re
from collections.abc import Iterator

import dagster as dg
import pytest
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import EmptyWorkspaceTarget
from starlette.routing import Mount, Route
from starlette.testclient import TestClient, WebSocketDenialResponse

from pipelines.guard import CONTENT, GuardedWebserver

OURS = "127.0.0.1:3000"
QUERY = '{"query": "{ version }"}'
JSON = {"content-type": "application/json"}
CHANGE = "mutation { setConcurrencyLimit(concurrencyKey: %22forged%22, limit: 1) }"
CLAIMS = ("report_asset_materialization", "report_asset_check", "report_asset_observation")
FROM_ELSEWHERE = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors", "sec-fetch-dest": "image"}
OPENED_FROM_ELSEWHERE = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    with (
        dg.instance_for_test() as instance,
        WorkspaceProcessContext(instance, EmptyWorkspaceTarget(), version="1") as context,
        TestClient(GuardedWebserver(context).create_asgi_app(), base_url=f"http://{OURS}") as client,
    ):
        yield client


def refused(
    client: TestClient, method: str, address: str, headers: dict[str, str] | None = None, body: str = ""
) -> str:
    """The reason of a refusal; empty for what is let through, whatever Dagster answers."""
    answer = client.request(method, address, headers=headers, content=body or None, follow_redirects=False)
    if answer.status_code != 403:
        return ""
    (line,) = answer.text.splitlines()
    assert line.startswith("refused: ")
    return line


def ask(client: TestClient, **headers: str) -> str:
    return refused(client, "POST", "/graphql", JSON | {name.replace("_", "-"): v for name, v in headers.items()}, QUERY)


def test_a_program_of_this_machine_is_answered(client: TestClient) -> None:
    answer = client.post("/graphql", json={"query": "{ version }"})
    assert answer.json() == {"data": {"version": "1"}}
    assert client.get("/server_info").status_code == 200


@pytest.mark.parametrize("host", [OURS, "localhost", "LocalHost:80", "[::1]:3000", "127.0.0.1:65535"])
def test_this_machine_is_called_by_its_own_names(client: TestClient, host: str) -> None:
    assert ask(client, host=host) == ""
    assert ask(client, host=host, origin=f"http://{host.lower()}") == ""


@pytest.mark.parametrize(
    "host",
    [
        "attacker.test",
        "attacker.test:3000",
        "localhost.attacker.test:3000",
        "127.0.0.1.attacker.test",
        "attacker.localhost:3000",
        "localhost.:3000",
        "127.0.0.2:3000",
        "0.0.0.0:3000",
        "127.1:3000",
        "2130706433:3000",
        "[::ffff:127.0.0.1]:3000",
        "::1",
        "user@127.0.0.1:3000",
        "127.0.0.1:3000,attacker.test",
        "127.0.0.1:",
        "127.0.0.1:port",
        "",
    ],
)
def test_other_names_for_this_machine_are_refused(client: TestClient, host: str) -> None:
    assert "hosts" in ask(client, host=host)
    assert "hosts" in refused(client, "GET", "/", {"host": host})
    # What stands before a server may name the host that was asked; nothing does here.
    assert "hosts" in ask(client, host=host, x_forwarded_host=OURS, forwarded=f"host={OURS}")


@pytest.mark.parametrize(
    "origin",
    [
        "http://attacker.test",
        "null",
        "",
        "http://127.0.0.1:8000",  # another program's page on this machine
        "http://localhost:3000",  # of one name, asking another
        "https://127.0.0.1:3000",
        "http://127.0.0.1",
        "file://",
        "chrome-extension://abcdefgh",
        "http://127.0.0.1:3000 http://attacker.test",
    ],
)
def test_pages_of_other_origins_are_refused(client: TestClient, origin: str) -> None:
    assert "another site" in ask(client, origin=origin)
    assert "another site" in refused(client, "GET", "/", {"origin": origin})


@pytest.mark.parametrize("site", ["cross-site", "same-site", "something-new"])
@pytest.mark.parametrize("path", ["/", "/runs", "/graphql", "/favicon.png", "/logs/a.out", "/server_info"])
def test_other_pages_take_nothing_in(client: TestClient, site: str, path: str) -> None:
    for destination, mode in (("image", "no-cors"), ("script", "no-cors"), ("iframe", "navigate"), ("empty", "cors")):
        headers = {"sec-fetch-site": site, "sec-fetch-mode": mode, "sec-fetch-dest": destination}
        assert "another site" in refused(client, "GET", path, headers)


def test_other_pages_may_link_to_pages_and_to_nothing_else(client: TestClient) -> None:
    for page in ("/", "/runs", "/assets/training_set/manifest?view=events"):
        assert refused(client, "GET", page, OPENED_FROM_ELSEWHERE) == ""
        assert "another site" in refused(client, "POST", page, OPENED_FROM_ELSEWHERE | JSON, QUERY)
    for content in CONTENT:
        assert "another site" in refused(client, "GET", f"/{content}", OPENED_FROM_ELSEWHERE)
        assert "another site" in refused(client, "GET", f"/{content}/a", OPENED_FROM_ELSEWHERE)


def test_every_route_of_dagster_is_a_page_or_content_or_a_file(client: TestClient) -> None:
    known = {*CONTENT, "{path:path}", ""}
    for route in client.app.routes:  # type: ignore[attr-defined]
        if not isinstance(route, Mount) and getattr(route, "name", "") != "root_static":
            assert isinstance(route, Route) or route.path == "/graphql"
            assert route.path.split("/")[1] in known, f"{route.path} is new: is it a page?"


def test_the_users_own_pages_are_answered(client: TestClient) -> None:
    for site in ("same-origin", "none"):
        assert refused(client, "GET", "/logs/a/b.out", {"sec-fetch-site": site}) == ""
    assert ask(client, origin=f"http://{OURS}", sec_fetch_site="same-origin", sec_fetch_mode="cors") == ""
    # The UI names its operations in the address, and nothing more.
    assert refused(client, "POST", "/graphql?op=RunsFeedRootQuery", JSON, QUERY) == ""


@pytest.mark.parametrize(
    "query", [f"query={CHANGE}", f"op=A&query={CHANGE}", "variables={}", "op=A&op=B", "op=%7B", "x"]
)
def test_operations_in_an_address_are_refused(client: TestClient, query: str) -> None:
    assert "address" in refused(client, "GET", f"/graphql?{query}")
    assert "address" in refused(client, "POST", f"/graphql?{query}", JSON, QUERY)


@pytest.mark.parametrize(
    "kind",
    [
        "text/plain",
        "text/plain; x=application/json",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=application/json",
        "application/graphql",
        "application/json, text/plain",
        "application/json; charset=utf-7",
        "application/json; charset=utf-8; x=y",
        "application/jsonp",
        "",
    ],
)
def test_operations_come_as_json_and_as_nothing_else(client: TestClient, kind: str) -> None:
    assert "application/json" in refused(client, "POST", "/graphql", {"content-type": kind}, QUERY)


def test_json_may_tell_its_encoding(client: TestClient) -> None:
    for kind in ("application/json;charset=utf-8", 'Application/JSON; charset="UTF-8"', " application/json "):
        assert refused(client, "POST", "/graphql", {"content-type": kind}, QUERY) == ""


def test_headers_given_twice_are_refused(client: TestClient) -> None:
    for name, value, other in (
        ("host", OURS, "attacker.test"),
        ("origin", f"http://{OURS}", "http://attacker.test"),
        ("content-type", "application/json", "text/plain"),
        ("sec-fetch-site", "same-origin", "cross-site"),
    ):
        headers = [pair for pair in [("host", OURS), *JSON.items()] if pair[0] != name]
        for pair in ([value, other], [other, value], [value, value]):
            answer = client.post("/graphql", headers=[*headers, *((name, each) for each in pair)], content=QUERY)
            assert answer.status_code == 403, (name, pair)


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "PROPFIND"])
def test_other_methods_are_refused(client: TestClient, method: str) -> None:
    for path in ("/graphql", "/", "/logs/a"):
        assert "GET" in refused(client, method, path, JSON, QUERY)
    asked_first = {"origin": f"http://{OURS}", "access-control-request-method": "POST"}
    answer = client.request(method, "/graphql", headers=asked_first)
    assert not [name for name in answer.headers if name.startswith("access-control")]
    hidden = {"x-http-method-override": "POST", "x-http-method": "POST", "x-method-override": "POST"}
    assert client.get("/graphql", headers=JSON | hidden).status_code == 400


@pytest.mark.parametrize("claim", CLAIMS)
def test_events_are_not_taken_from_outside(client: TestClient, claim: str) -> None:
    for method in ("POST", "GET", "PUT"):
        for address in (f"/{claim}/a", f"/{claim}/a?data_version=1", f"/{claim}"):
            assert "events" in refused(client, method, address, JSON, "{}")


def test_a_request_for_another_servers_page_is_refused() -> None:
    from pipelines.guard import refusal

    headers = [(b"host", OURS.encode())]
    scope = {"type": "http", "method": "GET", "path": "http://attacker.test/", "query_string": b"", "headers": headers}
    assert "hosts" in (refusal(scope) or "")
    assert "hosts" in (refusal(scope | {"path": "*"}) or "")
    assert refusal(scope | {"path": "/"}) is None
    assert "hosts" in (refusal(scope | {"path": "/", "headers": []}) or "")


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://attacker.test"},
        {"origin": "http://127.0.0.1:8000"},
        {"origin": "null"},
        {"host": "attacker.test:3000", "origin": "http://attacker.test:3000"},
        {"origin": f"http://{OURS}", "sec-fetch-site": "cross-site", "sec-fetch-mode": "websocket"},
    ],
)
def test_a_foreign_websocket_is_refused(client: TestClient, headers: dict[str, str]) -> None:
    with pytest.raises(WebSocketDenialResponse) as denied:
        client.websocket_connect("/graphql", headers={"host": OURS} | headers).__enter__()
    assert denied.value.status_code == 403
    assert denied.value.text.startswith("refused: ")
    assert denied.value.headers["x-frame-options"] == "DENY"


def test_the_users_own_websocket_is_accepted(client: TestClient) -> None:
    for headers in ({"origin": f"http://{OURS}"}, {}):
        headers["host"] = OURS
        with client.websocket_connect("/graphql", headers=headers, subprotocols=["graphql-ws"]) as socket:
            socket.send_json({"type": "connection_init"})
            assert socket.receive_json() == {"type": "connection_ack"}


@pytest.mark.parametrize("path", ["/", "/graphql", "/server_info", "/favicon.png", "/no/such.js"])
def test_every_answer_says_that_no_other_page_may_show_or_read_it(client: TestClient, path: str) -> None:
    for headers in ({"accept": "text/html"}, FROM_ELSEWHERE):
        answer = client.get(path, headers=headers).headers
        assert answer["x-frame-options"] == "DENY"
        assert answer["cross-origin-resource-policy"] == "same-origin"
        assert answer["cross-origin-opener-policy"] == "same-origin"
        assert answer["x-content-type-options"] == "nosniff"
        assert answer.get_list("referrer-policy") == ["same-origin"]
        assert "frame-ancestors 'none'" in answer.get_list("content-security-policy")[-1]


def test_dagsters_own_policy_about_scripts_stays(client: TestClient) -> None:
    page = client.get("/")
    (nonce,) = set(re.findall(r'nonce="(\w+)"', page.text))
    own, ours = page.headers.get_list("content-security-policy")
    assert f"script-src 'nonce-{nonce}'" in own
    assert "script-src" not in ours
