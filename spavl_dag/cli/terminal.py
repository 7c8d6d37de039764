"""Printing for people and for scripts, on whatever terminal there is."""

from __future__ import annotations

import io
import json
import sys
from typing import Any

from rich.console import Console


def terminal() -> Console:
    """Standard output for people; characters that its encoding lacks are written as escapes."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    return Console(highlight=False)


def print_json(content: Any) -> None:
    """Print JSON in ASCII without a control character: what isn't plain is escaped."""
    print(json.dumps(content, default=str, indent=1).replace("\x7f", "\\u007f"))  # the one that JSON leaves as it is
