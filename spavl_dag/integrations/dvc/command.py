"""All calls of the `dvc` command, one at a time, and the recording of what was made outside `dvc repro`.

DVC is never imported: it lives in a tool environment of its own (it needs another antlr than Dagster).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence, Set
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock

from spavl_dag.errors import SpavlError
from spavl_dag.pipeline.layout import Project
from spavl_dag.pipeline.making import Finished
from spavl_dag.pipeline.stages import Stages

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


class Recorder:
    """Records made stages in dvc.lock and DVC's cache, at once or, inside `deferred`, together."""

    def __init__(self) -> None:
        """Nothing waits yet."""
        self._waiting: dict[Path, list[Finished]] = {}
        self._deferring = False

    def record(self, project: Project, finished: Finished) -> str:
        """Record a stage that was made outside `dvc repro`.

        Returns:
            What was done, in words.

        Raises:
            DvcError: DVC failed, or what the stage was made from changed meanwhile; the artifact and the calls
                are kept, only the record is missing.
        """
        if inside_repro():
            return "by dvc repro"
        self._waiting.setdefault(project.root, []).append(finished)
        if self._deferring:
            return "by dvc commit, together with other stages"
        self.flush(project)
        return "by dvc commit"

    def flush(self, project: Project) -> None:
        """Record what waits, in one dvc call.

        `dvc commit -f` blesses whatever lies on disk at that moment, so what changed since is left out and reported.
        """
        waiting = self._waiting.pop(project.root, [])
        stages = Stages(project)
        changed = {
            finished.stage.name: changes
            for finished in waiting
            if (changes := finished.meanwhile or stages.fingerprint(finished.stage).changes(finished.before))
        }
        names = {finished.stage.name for finished in waiting} - changed.keys()
        if names:
            run_dvc(project, ["commit", "--quiet", "--force", *_targets(stages, names)])
        if changed:
            listed = "; ".join(f"{name} ({', '.join(what)})" for name, what in changed.items())
            raise DvcError(
                f"not recorded, because it changed while it was made: {listed}",
                "Make it again. Calls whose input is the same are in the ledger.",
            )

    @contextmanager
    def deferred(self, project: Project) -> Iterator[None]:
        """Record everything made inside this block when it ends, also when it ends in an error."""
        self._deferring = True
        try:
            yield
        finally:
            self._deferring = False
            self.flush(project)


def _targets(stages: Stages, names: Set[str]) -> list[str]:
    """Stages as dvc takes them: all parts of an artifact by its name, because dvc writes its lock anew per target."""
    targets = []
    for artifact in dict.fromkeys(stage.artifact for stage in stages.all if stage.name in names):
        parts = [stage.name for stage in stages.of(artifact)]
        made = [name for name in parts if name in names]
        targets += [artifact] if made == parts else made
    return targets


RECORDER = Recorder()
"""The process's recorder."""
