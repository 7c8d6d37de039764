"""`spavl fake-server`: run the test server until it is ended."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aiohttp import web

from spavl_dag.errors import ParamsError, SpavlError
from spavl_dag.fake_server.script import read_script
from spavl_dag.fake_server.server import FakeServer


def serve(host: str, port: int, script: Path | None, fail: list[str], options: Mapping[str, Any]) -> None:
    """Serve until Ctrl-C.

    Args:
        host: Address to listen at.
        port: 0 takes a free one.
        script: YAML file.
        fail: Shares of failures, as `outcome=share`.
        options: What comes before the file's own; None is not said.

    Raises:
        SpavlError: The script isn't right, or the address can't be had.
    """
    said = {name: value for name, value in options.items() if value is not None}
    if fail:
        said["failures"] = dict(map(_share, fail))
    server = FakeServer(read_script(script, said))
    asyncio.run(_run(server.app(), host, port))


async def _run(app: web.Application, host: str, port: int) -> None:
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True)
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port, backlog=4096)
        try:
            await site.start()
        except OSError as error:
            raise SpavlError(f"can't listen at {host}:{port}: {error.strerror}", "Choose another --port.") from error
        bound = runner.addresses[0]
        print(f"scripted answers, no model: http://{bound[0]}:{bound[1]}/v1 (what was served: /stats)", flush=True)
        ended = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, ended.set)
        await ended.wait()
    finally:
        await runner.cleanup()


def _share(said: str) -> tuple[str, float]:
    outcome, _, share = said.partition("=")
    try:
        return outcome, float(share)
    except ValueError:
        raise ParamsError(f"--fail {said} isn't outcome=share", "Write, for example, --fail rate_limit=0.1.") from None
