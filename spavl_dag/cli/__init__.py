"""The `spavl` command. Commands import what they use when they run, so that `--help` answers at once."""

from __future__ import annotations

import io
import sys


def main() -> None:
    """Entry point: run the command; a fixable problem is printed without a traceback and ends with exit code 1."""
    from spavl_dag.cli.app import app
    from spavl_dag.errors import SpavlError

    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a sign that the terminal doesn't know is no reason to fail
    try:
        app()
    except SpavlError as error:
        from rich.console import Console
        from rich.text import Text

        console = Console(stderr=True)
        console.print(Text(f"error: {error.message}", style="bold red"), soft_wrap=True)
        if error.hint:
            console.print(Text(error.hint), soft_wrap=True)
        sys.exit(1)
    except KeyboardInterrupt:
        print("interrupted; finished calls are in the ledger and are not made again", file=sys.stderr)
        sys.exit(130)
