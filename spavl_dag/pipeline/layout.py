"""Where things lie in a project.

Belongs here: names and paths, nothing that reads or writes. A project is the folder with params.yaml and dvc.yaml.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from spavl_dag.errors import SpavlError


@dataclass(frozen=True, slots=True)
class Project:
    """A project's folder and the fixed places in it."""

    root: Path

    @classmethod
    def find(cls, start: Path | None = None) -> Project:
        """The project that `start` (default: the current folder) lies in.

        Raises:
            SpavlError: Neither the folder nor one above it holds params.yaml and dvc.yaml.
        """
        here = (start or Path.cwd()).resolve()
        for folder in (here, *here.parents):
            if (folder / "params.yaml").is_file() and (folder / "dvc.yaml").is_file():
                return cls(folder)
        raise SpavlError(
            f"{here} is in no spavl-dag project: no params.yaml and dvc.yaml here or above",
            "Change into the project's folder, or name it with --project.",
        )

    @property
    def params_file(self) -> Path:
        """Every choice that changes a result."""
        return self.root / "params.yaml"

    @property
    def dvc_file(self) -> Path:
        """The stages, written by `spavl graph write`."""
        return self.root / "dvc.yaml"

    @property
    def lock_copy(self) -> Path:
        """The last whole dvc.lock."""
        return self.work / "dvc.lock"

    @property
    def work(self) -> Path:
        """What is neither data nor code: ledger, locks, failures. Ignored by git and DVC."""
        return self.root / ".spavl"

    @property
    def origin(self) -> Project:
        """The project that keeps what was paid for: itself, or the one whose experiment this folder is a copy for.

        `dvc exp run --temp` and `--queue` run in `.dvc/tmp/exps/<name>` of the project, which is removed afterwards.
        """
        for folder in self.root.parents:
            if folder.name == "exps" and folder.parent.name == "tmp" and folder.parent.parent.name == ".dvc":
                return Project(folder.parent.parent.parent)
        return self

    @property
    def ledger(self) -> Path:
        """All model calls ever made."""
        return self.origin.work / "ledger.db"

    @property
    def trainings(self) -> Path:
        """Trainings by key, with what is needed to go on after a kill."""
        return self.origin.work / "training"

    @property
    def hashes(self) -> Path:
        """Content hashes by path, size and time of change."""
        return self.work / "hashes.json"

    @property
    def locks(self) -> Path:
        """Lock files of artifacts and of DVC."""
        return self.work / "locks"

    @property
    def failures(self) -> Path:
        """Rows that broke a schema, one file per artifact, partition and table."""
        return self.work / "failures"

    @property
    def dagster_home(self) -> Path:
        """Dagster's instance."""
        return self.root / ".dagster"
