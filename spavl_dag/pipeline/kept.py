"""Trainings that are kept by what decides them, in `.spavl/training`, so that none is done twice."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from spavl_dag.pipeline.run import Run

_DONE = "done.json"


class KeptTrainings:
    """Trainings without a job, such as that of the drawn world's model, each at most once in the project's life.

    Args:
        run: The making of an artifact.
    """

    def __init__(self, run: Run) -> None:
        self._run = run

    def reference(self, model: str, revision: str | None) -> Mapping[str, str | None]:
        """What stands in an artifact's folder where it is another model as it is."""
        return self._run.weights.reference(model, revision)

    def get(
        self, name: str, decisive: Mapping[str, Any], make: Callable[[Path], Mapping[str, float]]
    ) -> dict[str, Any]:
        """The training that is decided by this, run now where it wasn't before.

        Args:
            name: For its work folder.
            decisive: Everything that decides the weights, as JSON can hold it.
            make: Trains into an empty folder, and gives numbers of it.

        Returns:
            The numbers; the folder's files are in the artifact then.
        """
        text = json.dumps(decisive, sort_keys=True, ensure_ascii=False)
        work = self._run.project.trainings / f"{name}-{hashlib.md5(text.encode()).hexdigest()}"
        if _read_done(work) is None:
            shutil.rmtree(work, ignore_errors=True)
            (work / "final").mkdir(parents=True)
            numbers = dict(make(work / "final"))
            unfinished = work / f"{_DONE}.part"
            unfinished.write_text(json.dumps(numbers, sort_keys=True), encoding="utf-8")
            unfinished.replace(work / _DONE)
        link_files(work / "final", self._run.staging)
        return _read_done(work) or {}

    def content(self, path: Path) -> str | None:
        """Hash of a file or folder."""
        return self._run.graph.hasher.md5(path)


def _read_done(work: Path) -> dict[str, Any] | None:
    """The numbers of a finished training; None where it isn't finished, or the note is damaged."""
    try:
        content = json.loads((work / _DONE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def link_files(source: Path, target: Path) -> None:
    """The same files in both folders, on disk once where the file system can."""
    for file in sorted(path for path in source.rglob("*") if path.is_file()):
        place = target / file.relative_to(source)
        place.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(file, place)
        except OSError:  # another file system, or one without hard links
            shutil.copyfile(file, place)
