"""Printing for people and for scripts, on whatever terminal there is."""

from __future__ import annotations

import io
import json
import sys
from typing import Any

from rich.console import Console
from rich.text import Text


class Terminal:
    """Standard output for people: texts are broken at its width, and what its encoding lacks is written as escapes.

    A text may hold whatever is printable; what models, files and users wrote goes through `media.files.printable`.
    """

    def __init__(self) -> None:
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(errors="backslashreplace")
        self._console = Console()
        self.width = max(self._console.width, 40)

    def print(self, text: str, indent: int = 0, style: str = "") -> None:
        """Print a text on as many lines as it needs; those that follow the first are indented further."""
        for number, line in enumerate(Text(text).wrap(self._console, self.width - indent - 2)):
            margin = " " * (indent + 2 * (number > 0))
            self._console.print(Text(margin + line.plain.rstrip(), style), no_wrap=True, overflow="ignore", crop=False)


def print_json(content: Any) -> None:
    """Print JSON without a character that a terminal obeys or can't show: all that isn't plain ASCII is escaped."""
    print(json.dumps(content, default=str, indent=1).replace("\x7f", "\\u007f"))  # the one that JSON leaves as it is
