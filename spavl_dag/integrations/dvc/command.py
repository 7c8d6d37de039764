"""All calls of the `dvc` command, one at a time.

DVC is never imported: it lives in a tool environment of its own (it needs another antlr than Dagster).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from filelock import FileLock

from spavl_dag.errors import SpavlError
from spavl_dag.pipeline.layout import Project

_LOCKED = ("unable to acquire lock", "is busy", "rwlock", "lock file")
_ATTEMPTS = 8


class DvcError(SpavlError):
    """A dvc command failed, or there is no dvc."""


def inside_repro() -> bool:
    """Whether this process runs as a stage of `dvc repro`, which records the stage itself and holds DVC's lock."""
    return bool(os.environ.get("DVC_STAGE"))


def find_dvc() -> str | None:
    """The dvc executable: beside this Python, else on the PATH."""
    beside = Path(sys.executable).parent / "dvc"
    return str(beside) if beside.is_file() else shutil.which("dvc")


def run_dvc(project: Project, arguments: Sequence[str]) -> str:
    """Run a dvc command in the project and return what it printed.

    One runs at a time (a file lock); when a foreign dvc holds DVC's own lock, it is tried again for a while.

    Raises:
        DvcError: There is no dvc, or it failed.
    """
    dvc = find_dvc()
    if dvc is None:
        raise DvcError("there is no dvc command", "`make setup` installs it; `spavl doctor` checks it.")
    project.locks.mkdir(parents=True, exist_ok=True)
    environment = os.environ | {"DVC_NO_ANALYTICS": "1"}
    for attempt in range(_ATTEMPTS):
        with FileLock(project.locks / "dvc.lock"):
            done = subprocess.run(
                [dvc, *arguments],
                cwd=project.root,
                env=environment,
                capture_output=True,
                text=True,
                check=False,
                stdin=subprocess.DEVNULL,
            )
        if done.returncode == 0:
            return done.stdout
        message = done.stderr.strip() or done.stdout.strip()
        if not any(sign in message.lower() for sign in _LOCKED):
            break
        time.sleep(0.25 * 2**attempt)
    raise DvcError(
        f"`dvc {' '.join(arguments)}` failed:\n{message}", "Try the command by hand in the project's folder."
    )
