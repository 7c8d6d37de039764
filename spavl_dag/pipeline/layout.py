"""Where things lie in a project.

Belongs here: names and paths, nothing that reads or writes. A project is the folder with params.yaml and dvc.yaml.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from spavl_dag.errors import SpavlError
from spavl_dag.names import PartitionKind


@dataclass(frozen=True, slots=True)
class ArtifactKind:
    """An artifact's name and place.

    Attributes:
        name: Name of the Dagster asset, the DVC stage and the folder.
        parent: Top-level folder it lives in.
        partitions: The section of params.yaml that it has one part per key of, or None.
    """

    name: str
    parent: str = "data"
    partitions: PartitionKind | None = None

    def out(self, partition: str | None = None) -> str:
        """Folder of the artifact or of one part, relative to the project."""
        base = f"{self.parent}/{self.name}"
        return f"{base}/{partition}" if partition else base


ARTIFACTS: dict[str, ArtifactKind] = {
    kind.name: kind
    for kind in (
        ArtifactKind("base_model", parent="models"),
        ArtifactKind("keywords"),
        ArtifactKind("images"),
        ArtifactKind("captions"),
        ArtifactKind("questions"),
        ArtifactKind("responses", partitions="models"),
        ArtifactKind("safety_labels", partitions="models"),
        ArtifactKind("safety_groups"),
        ArtifactKind("pairs"),
        ArtifactKind("preferences"),
        ArtifactKind("dataset"),
        ArtifactKind("reward_model", parent="models"),
        ArtifactKind("checkpoints", parent="models", partitions="experiments"),
        ArtifactKind("benchmarks"),
        ArtifactKind("eval_responses", parent="eval", partitions="experiments"),
        ArtifactKind("eval_scores", parent="eval", partitions="experiments"),
        ArtifactKind("report", parent="eval"),
    )
}
"""All artifacts, in an order in which they can be made."""


def artifact_kind(name: str) -> ArtifactKind:
    """Look an artifact up.

    Raises:
        SpavlError: There is none of that name.
    """
    if name not in ARTIFACTS:
        raise SpavlError(f"there is no artifact '{name}'", f"One of: {', '.join(ARTIFACTS)}.")
    return ARTIFACTS[name]


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
    def work(self) -> Path:
        """What is neither data nor code: ledger, locks, staging, failures. Ignored by git and DVC."""
        return self.root / ".spavl"

    @property
    def ledger(self) -> Path:
        """All model calls ever made."""
        return self.work / "ledger.db"

    @property
    def trainings(self) -> Path:
        """Trainings by key, with what is needed to go on after a kill; outside the outs, which DVC deletes."""
        return self.work / "training"

    @property
    def noted_runs(self) -> Path:
        """Which MLflow run each version of a checkpoint was logged to."""
        return self.work / "mlflow_runs.json"

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

    def out(self, artifact: str, partition: str | None = None) -> Path:
        """Folder of an artifact or of one part of it."""
        return self.root / artifact_kind(artifact).out(partition)

    def table(self, artifact: str, table: str | None = None, partition: str | None = None) -> Path:
        """Parquet file of a table; the main table is named as the artifact."""
        return self.out(artifact, partition) / f"{table or artifact}.parquet"
