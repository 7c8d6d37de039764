"""A page in headless Chromium, looked at and clicked as a user does, by the DevTools protocol."""

from __future__ import annotations

import base64
import itertools
import json
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from websockets.sync.client import ClientConnection, connect

CHROMIUM = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None
)

# The innermost visible element that shows exactly this text, of the last opened part of the page.
_FIND = """(text => {
  const shown = [...document.querySelectorAll("a, button, [role=button], [role=menuitem], [role=tab], span, div")]
    .filter(each => each.innerText && each.innerText.trim() === text && each.getClientRects().length);
  const found = shown.filter(each => !shown.some(other => other !== each && each.contains(other))).at(-1);
  if (!found || found.closest("[disabled], [aria-disabled=true]")) return null;
  found.scrollIntoView({block: "center"});
  const box = found.getBoundingClientRect();
  return [box.left + box.width / 2, box.top + box.height / 2];
})"""


class Page:
    """One page of a browser."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self._numbers = itertools.count(1)

    def open(self, url: str) -> None:
        self._ask("Page.navigate", url=url)

    def evaluate(self, script: str) -> Any:
        answer = self._ask("Runtime.evaluate", expression=script, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def text(self) -> str:
        """All that can be read on the page."""
        return str(self.evaluate("document.body ? document.body.innerText : ''"))

    def wait_for(self, text: str, seconds: float = 60) -> None:
        """Wait until the page shows a text."""
        end = time.monotonic() + seconds
        while text not in (shown := self.text()):
            assert time.monotonic() < end, f"'{text}' is not shown:\n{shown}"
            time.sleep(0.2)

    def click(self, text: str, seconds: float = 60) -> None:
        """Click what shows this text, when it is there and can be clicked."""
        end = time.monotonic() + seconds
        last = None
        while True:
            place = self.evaluate(f"{_FIND}({json.dumps(text)})")
            if place and place == last:  # it has stopped moving
                break
            assert time.monotonic() < end, f"nothing to click shows '{text}':\n{self.text()}"
            last = place
            time.sleep(0.2)
        for kind in ("mouseMoved", "mousePressed", "mouseReleased"):
            button = "none" if kind == "mouseMoved" else "left"
            self._ask("Input.dispatchMouseEvent", type=kind, x=place[0], y=place[1], button=button, clickCount=1)

    def screenshot(self, file: Path) -> None:
        """Write what is seen, for whoever looks for a failure's cause."""
        file.write_bytes(base64.b64decode(self._ask("Page.captureScreenshot")["data"]))

    def _ask(self, method: str, **params: Any) -> Any:
        number = next(self._numbers)
        self._connection.send(json.dumps({"id": number, "method": method, "params": params}))
        while True:
            answer = json.loads(self._connection.recv(timeout=60))
            if answer.get("id") == number:
                assert "error" not in answer, answer
                return answer["result"]


@contextmanager
def browser(profile: Path) -> Iterator[Page]:
    """A browser with one page, ended afterwards."""
    assert CHROMIUM is not None
    process = subprocess.Popen(
        [
            *(CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"),
            *(f"--user-data-dir={profile}", "--remote-debugging-port=0", "--window-size=1400,1000", "about:blank"),
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        told = profile / "DevToolsActivePort"
        end = time.monotonic() + 60
        while not (told.is_file() and told.read_text().count("\n")):
            assert process.poll() is None, "the browser ended"
            assert time.monotonic() < end, "the browser does not answer"
            time.sleep(0.1)
        port = told.read_text().split()[0]
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/json/list", timeout=30) as answer:
            (address,) = [one["webSocketDebuggerUrl"] for one in json.load(answer) if one["type"] == "page"]
        with connect(address, max_size=None) as connection:
            yield Page(connection)
    finally:
        process.kill()
        process.wait()
