"""Dagster's UI for this machine alone: a check of host and origin in front of its web server.

Dagster's web server answers any host name and takes changes by plain GET, so any page in the user's browser could
launch or delete runs here. `python -m spavl_dag.integrations.dagster.guard dev …` is `dagster dev …` with the check.
"""

from __future__ import annotations

import importlib
import ipaddress
import logging
import os
import sys
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

if TYPE_CHECKING:
    from starlette.datastructures import Headers
    from starlette.types import ASGIApp, Receive, Scope, Send

HOSTS = "SPAVL_UI_HOSTS"
"""Environment variable: host names, separated by commas, under which a proxy or tunnel shows the UI."""

_SERVER, _DAEMON = "dagster_webserver", "dagster._daemon"  # the modules that `dagster dev` starts
_LINK = ("GET", "navigate", "document")  # what a browser says of a followed link


class Guard:
    """ASGI middleware that refuses what can't come from the UI itself or from a program of the user."""

    def __init__(self, app: ASGIApp, hosts: Sequence[str] = ()) -> None:
        """Stand in front of `app`; `hosts` are welcome besides this machine's own names."""
        self._app = app
        self._hosts = [host.strip().lower() for host in hosts if host.strip()]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or hand it on."""
        from starlette.datastructures import Headers
        from starlette.responses import PlainTextResponse

        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        refusal = self._foreign(scope, headers) or _not_by_address(scope, headers)
        if refusal is None:
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008, "reason": refusal})
        else:
            await PlainTextResponse(f"refused: {refusal}\n", status_code=403)(scope, receive, send)

    def _foreign(self, scope: Scope, headers: Headers) -> str | None:
        """Why the request is not from a page of this server, or None when it is, or from no page at all."""
        names = headers.getlist("host")
        if len(names) != 1 or not self._is_ours(names[0]):
            return f"unknown host name; where a proxy or tunnel uses it on purpose, name it in {HOSTS}"
        origin = headers.get("origin")
        if origin is not None:
            place = urlsplit(origin).netloc.lower()
            if place != names[0].lower() and _host(place) not in self._hosts:
                return "the request comes from a page of another origin"
        # A link to the UI may stand anywhere; a picture, a frame, a script or a form of it may not.
        asked = (scope.get("method"), headers.get("sec-fetch-mode"), headers.get("sec-fetch-dest"))
        if headers.get("sec-fetch-site", "none") not in ("none", "same-origin") and asked != _LINK:
            return "the request comes from a page of another site"
        return None

    def _is_ours(self, place: str) -> bool:
        host = _host(place)
        try:
            return host in ("localhost", *self._hosts) or ipaddress.ip_address(host).is_loopback
        except ValueError:
            return False


def _host(place: str) -> str:
    """The name in "name:port", "" where there is none."""
    try:
        return (urlsplit(f"//{place}").hostname or "").rstrip(".")
    except ValueError:
        return ""


def _not_by_address(scope: Scope, headers: Headers) -> str | None:
    """Refuse GraphQL in an address: links and pictures could hold it, and Dagster's own pages never do."""
    if not scope["path"].rstrip("/").endswith("/graphql") or scope["type"] != "http":
        return None
    if scope["method"] == "GET" and "text/html" in headers.get("accept", ""):
        return None  # Dagster shows its playground and runs nothing
    if "query" in parse_qs(scope["query_string"].decode("latin-1"), keep_blank_values=True):
        return "POST GraphQL as application/json; it is not taken from an address"
    return None


def main(arguments: Sequence[str]) -> None:
    """Be `dagster dev` with a guarded web server, or that web server."""
    if arguments[:1] == ["dev"]:
        _develop(arguments)
    else:
        _serve(arguments)


def _develop(arguments: Sequence[str]) -> None:
    _drop_what_is_not_for_the_user()
    dev: Any = importlib.import_module("dagster._cli.dev")
    start = dev.open_ipc_subprocess

    def start_guarded(parts: Sequence[str], **options: Any) -> Any:
        if _SERVER not in parts and _DAEMON not in parts:
            raise RuntimeError(
                f"this Dagster starts its servers in another way; none is started without its guard: {parts}"
            )
        return start([__spec__.name if part == _SERVER else part for part in parts], **options)

    # No public way: `dagster dev` starts the web server by its module's name.
    dev.open_ipc_subprocess = start_guarded
    sys.argv = ["dagster", *arguments]
    importlib.import_module("dagster._cli").main()


def _drop_what_is_not_for_the_user() -> None:
    # "Use dg dev instead", which is another package; the user of `spavl ui` chose neither.
    warnings.filterwarnings("ignore", "Function `dev_command` is superseded")
    # The project's dagster.yaml is not used, says Dagster: the one in its home is a link to it.
    logging.getLogger("dagster").addFilter(lambda record: "Found a dagster instance config" not in record.getMessage())


def _serve(arguments: Sequence[str]) -> None:
    cli: Any = importlib.import_module("dagster_webserver.cli")
    make_app = cli.create_app_from_workspace_process_context

    def make_guarded_app(*args: Any, **options: Any) -> Guard:
        return Guard(make_app(*args, **options), os.environ.get(HOSTS, "").split(","))

    cli.create_app_from_workspace_process_context = make_guarded_app
    sys.argv = [_SERVER, *arguments]
    cli.main()


if __name__ == "__main__":
    main(sys.argv[1:])
