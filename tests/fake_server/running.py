"""The test server as users start it: a process of its own."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any


@dataclass
class Served:
    """A running `spavl fake-server`."""

    process: subprocess.Popen[str]
    url: str

    def stats(self) -> dict[str, Any]:
        address = self.url.removesuffix("/v1") + "/stats"
        with urllib.request.urlopen(address) as answer:
            found: dict[str, Any] = json.load(answer)
        return found


@contextmanager
def fake_server(*options: str) -> Iterator[Served]:
    port = [] if "--port" in options else ["--port", "0"]
    command = [sys.executable, "-m", "spavl_dag", "fake-server", *port, *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "COLUMNS": "200"})
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        found = re.search(r"http://[\d.]+:\d+/v1", line)
        assert found, line
        yield Served(process, found[0])
    finally:
        process.terminate()
        process.wait(10)
        process.stdout.close()
