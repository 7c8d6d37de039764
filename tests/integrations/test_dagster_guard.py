"""The guard in front of Dagster's web server: pages elsewhere get nothing, the UI and scripts get all."""

from __future__ import annotations

import asyncio
from collections.abc import MutableMapping
from typing import Any

import pytest

from spavl_dag.integrations.dagster.guard import Guard

HERE = "127.0.0.1:3000"
MUTATION = b"query=mutation%7BfreeConcurrencySlots(runId:%22x%22)%7D"


async def app(scope: Any, _receive: Any, send: Any) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.accept"})
    else:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"Dagster"})


def answer(
    headers: list[tuple[str, str]],
    path: str = "/graphql",
    query: bytes = b"",
    method: str = "POST",
    kind: str = "http",
    hosts: str = "",
) -> Any:
    """Status of the answer to a request, or whether a websocket was accepted."""
    sent: list[MutableMapping[str, Any]] = []

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message)

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    scope = {
        "type": kind,
        "path": path,
        "query_string": query,
        "method": method,
        "headers": [(name.encode(), value.encode()) for name, value in headers],
    }
    asyncio.run(Guard(app, hosts.split(","))(scope, receive, send))
    return sent[0].get("status", sent[0]["type"] == "websocket.accept")


@pytest.mark.parametrize("host", [HERE, "localhost:3000", "LOCALHOST", "localhost.:3000", "[::1]:3000", "127.8.8.8"])
def test_this_machines_own_names(host: str):
    assert answer([("host", host)]) == 200
    assert answer([("host", host)], kind="websocket") is True


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:3000", "localhost.evil.example", "127.0.0.1.evil.example", "0.0.0.0", "", "[::"],
)
def test_any_other_name_is_refused(host: str):
    assert answer([("host", host)]) == 403
    assert answer([("host", host)], path="/", method="GET") == 403
    assert answer([("host", host)], kind="websocket") is False


def test_no_name_or_two_are_refused():
    assert answer([]) == 403
    assert answer([("host", HERE), ("host", "evil.example")]) == 403


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        (f"http://{HERE}", 200),
        (f"https://{HERE}", 200),
        ("http://127.0.0.1:8888", 403),  # another program's page on this machine
        ("http://localhost:3000", 403),
        ("https://evil.example", 403),
        ("null", 403),
        ("", 403),
    ],
)
def test_only_the_ui_itself_may_ask(origin: str, status: int):
    assert answer([("host", HERE), ("origin", origin)]) == status
    assert answer([("host", HERE), ("origin", origin)], kind="websocket") is (status == 200)


def test_a_name_that_a_proxy_uses_can_be_allowed():
    headers = [("host", "hub.example"), ("origin", "https://hub.example")]
    assert answer(headers) == 403
    assert answer(headers, hosts="other.example, Hub.example") == 200
    assert answer([("host", HERE), ("origin", "https://hub.example")], hosts="hub.example") == 200
    assert answer([("host", "evil.example")], hosts="hub.example") == 403


def test_pictures_frames_and_forms_of_other_sites_are_refused_but_links_are_not():
    def fetched(site: str, mode: str, dest: str, method: str = "GET") -> Any:
        headers = [("host", HERE), ("sec-fetch-site", site), ("sec-fetch-mode", mode), ("sec-fetch-dest", dest)]
        return answer(headers, "/runs", method=method)

    assert fetched("cross-site", "no-cors", "image") == 403
    assert fetched("same-site", "no-cors", "script") == 403
    assert fetched("cross-site", "navigate", "iframe") == 403
    assert fetched("cross-site", "navigate", "document", "POST") == 403
    assert fetched("cross-site", "navigate", "document") == 200
    assert fetched("same-origin", "cors", "empty", "POST") == 200
    assert fetched("none", "navigate", "document") == 200


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("path", ["/graphql", "/graphql/", "/prefix/graphql"])
def test_graphql_in_an_address_is_refused(method: str, path: str):
    assert answer([("host", HERE)], path, MUTATION, method) == 403
    assert answer([("host", HERE)], path, b"a=1&" + MUTATION, method) == 403
    assert answer([("host", HERE)], path, b"", method) == 200
    # The playground's page, on which nothing runs.
    assert answer([("host", HERE), ("accept", "text/html,*/*")], path, MUTATION, "GET") == 200
