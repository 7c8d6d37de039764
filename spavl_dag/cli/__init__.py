"""The `spavl` command. Commands import what they use when they run, so that `--help` answers at once."""

from __future__ import annotations

import io
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from spavl_dag.errors import SpavlError

_INTERRUPTED = (128 + signal.SIGINT, 128 + signal.SIGTERM)


def main() -> None:
    """Entry point; a stage of `dvc repro` hands its command over to a process that it shares with the others."""
    if os.environ.get("DVC_STAGE"):
        from spavl_dag.cli.shared_process import hand_over

        code = hand_over(sys.argv[1:])
        if code is not None:
            sys.exit(code)
    run_command()


def run_command() -> None:
    """Run the command in this process; a fixable problem is printed without a traceback and ends with exit code 1.

    Ctrl-C ends with 130 and SIGTERM with 143, after what has to be put away was put away.
    """
    from spavl_dag.errors import OtherCheckoutError, SpavlError, from_system

    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a sign that the terminal doesn't know is no reason to fail
    try:
        from spavl_dag.cli.app import app

        app()
    except SpavlError as error:
        if isinstance(error, OtherCheckoutError):
            _run_code_of_experiment(error.root)
        _tell(error)
        sys.exit(1)
    except OSError as error:  # a full disk, no permission: nothing that a traceback explains
        _tell(from_system(error))
        sys.exit(1)
    except (KeyboardInterrupt, SystemExit) as ended:
        # typer makes an exit code of Ctrl-C
        code = ended.code if isinstance(ended, SystemExit) else 128 + signal.SIGINT
        if code in _INTERRUPTED:
            print("interrupted; finished calls are in the ledger and are not made again", file=sys.stderr)
        sys.exit(code)


def _tell(error: SpavlError) -> None:
    from rich.console import Console
    from rich.text import Text

    console = Console(stderr=True)
    console.print(Text(f"error: {error.message}", style="bold red"), soft_wrap=True)
    if error.hint:
        console.print(Text(error.hint), soft_wrap=True)


def _run_code_of_experiment(root: Path) -> None:
    """Start again with the code of a folder in which DVC runs an experiment; any other folder is left to the error."""
    from spavl_dag.pipeline.layout import Project

    if Project(root).origin.root == root or os.environ.get("PYTHONPATH", "").split(os.pathsep)[0] == str(root):
        return
    path = os.pathsep.join(filter(None, [str(root), os.environ.get("PYTHONPATH")]))
    command = [sys.executable, "-m", "spavl_dag", *sys.argv[1:]]
    os.execve(sys.executable, command, {**os.environ, "PYTHONPATH": path})
