"""Artifacts on disk: read, checked before they are replaced, replaced whole or not at all.

Belongs here: everything that touches files under data/, models/ and eval/. An artifact is written into a staging folder
beside the target and renamed into place, so a reader sees the old one or the new one and never a mixture.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl
from filelock import FileLock, Timeout

from spavl_dag.errors import BusyError, MissingInputError
from spavl_dag.pipeline.layout import Project, artifact_kind


@dataclass(frozen=True, slots=True)
class Training:
    """What a training was, for the comparison of checkpoints.

    Attributes:
        key: Names its result.
        rows: Rows that were trained on.
        curve: Rows {"step": n, metric: value, …}.
    """

    key: str
    rows: int
    curve: Sequence[Mapping[str, float]]


@dataclass(slots=True)
class Made:
    """What an asset made, before it is checked and kept.

    Attributes:
        tables: Frames by table name; the main table is named as the artifact.
        documents: Small JSON documents by file name.
        metadata: What a person should see of it: numbers, Markdown, pictures (see `project.preview`).
        metrics: Numbers to compare between runs.
        training: What was trained, for a checkpoint.
    """

    tables: dict[str, pl.DataFrame] = field(default_factory=dict)
    documents: dict[str, Any] = field(default_factory=dict)
    metadata: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    training: Training | None = None


class Store:
    """Reads and replaces the artifacts of a project."""

    def __init__(self, project: Project) -> None:
        """Remember whose artifacts these are."""
        self.project = project

    def read(self, artifact: str, table: str | None = None, partition: str | None = None) -> pl.DataFrame:
        """One table of an artifact.

        Raises:
            MissingInputError: It was not made yet.
        """
        file = self.project.table(artifact, table, partition)
        if not file.is_file():
            at = f" --partition {partition}" if partition else ""
            raise MissingInputError(
                f"{file.relative_to(self.project.root)} is not there",
                f"Make it with `spavl run {artifact}{at}`, or everything up to here with `dvc repro`.",
            )
        return pl.read_parquet(file)

    def read_document(self, artifact: str, name: str, partition: str | None = None) -> Any:
        """A JSON document of an artifact.

        Raises:
            MissingInputError: It was not made yet.
        """
        file = self.project.out(artifact, partition) / name
        if not file.is_file():
            raise MissingInputError(
                f"{file.relative_to(self.project.root)} is not there", "Make everything up to here with `dvc repro`."
            )
        return json.loads(file.read_text(encoding="utf-8"))

    def read_all(self, artifact: str, partitions: list[str]) -> pl.DataFrame:
        """The main table of several partitions as one frame, in the order given."""
        return pl.concat([self.read(artifact, partition=partition) for partition in partitions])

    @contextmanager
    def lock(self, artifact: str, partition: str | None) -> Iterator[None]:
        """Hold an artifact while it is made, so that two runs never make the same calls.

        Raises:
            BusyError: Another process is making it.
        """
        self.project.locks.mkdir(parents=True, exist_ok=True)
        name = f"{artifact}@{partition}" if partition else artifact
        lock = FileLock(self.project.locks / f"{name}.lock", timeout=0)
        try:
            lock.acquire()
        except Timeout:
            raise BusyError(
                f"{name} is being made by another process",
                "Wait for it to end. Its calls are in the ledger, so nothing needs to be made twice.",
            ) from None
        try:
            yield
        finally:
            lock.release()

    def staging(self, artifact: str, partition: str | None) -> Path:
        """An empty folder on the same file system as the artifact's place, so that it can be renamed there."""
        name = f"{artifact}@{partition}" if partition else artifact
        folder = self.project.root / artifact_kind(artifact).parent / ".staging" / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        return folder

    def write(self, staging: Path, made: Made) -> None:
        """Put tables and documents into the staging folder, byte for byte the same for the same content."""
        for name, table in made.tables.items():
            table.write_parquet(staging / f"{name}.parquet", compression="zstd", row_group_size=131_072)
        for name, document in made.documents.items():
            text = json.dumps(document, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
            (staging / name).write_text(text, encoding="utf-8")

    def replace(self, staging: Path, artifact: str, partition: str | None) -> None:
        """Make the staging folder the artifact, by two renames."""
        target = self.project.out(artifact, partition)
        target.parent.mkdir(parents=True, exist_ok=True)
        retired = staging.with_name(f"{staging.name}.old")
        shutil.rmtree(retired, ignore_errors=True)
        if target.is_symlink():
            target.unlink()
        elif target.exists():
            os.rename(target, retired)
        os.rename(staging, target)
        shutil.rmtree(retired, ignore_errors=True)

    def keep_failures(self, artifact: str, partition: str | None, failures: Mapping[str, pl.DataFrame]) -> list[Path]:
        """Write failing rows beside the work files, one Parquet file per check; returns the files."""
        folder = self.project.failures / artifact_kind(artifact).out(partition)
        shutil.rmtree(folder, ignore_errors=True)
        files = []
        for check, rows in failures.items():
            folder.mkdir(parents=True, exist_ok=True)
            file = folder / f"{check}.parquet"
            rows.write_parquet(file)
            files.append(file)
        return files


def note_run(project: Project, checkpoint: str, version: str, run_id: str) -> None:
    """Note which MLflow run a version of a checkpoint was logged to, for the report's lineage."""
    project.locks.mkdir(parents=True, exist_ok=True)
    with FileLock(project.locks / "mlflow_runs.lock"):
        noted = {**read_noted_runs(project), f"{checkpoint}@{version}": run_id}
        temporary = project.noted_runs.with_suffix(".tmp")
        temporary.write_text(json.dumps(noted, indent=1, sort_keys=True), encoding="utf-8")
        temporary.replace(project.noted_runs)


def read_noted_runs(project: Project) -> dict[str, str]:
    """The noted MLflow runs by `<checkpoint>@<version>`; empty where nothing was logged in this checkout."""
    if not project.noted_runs.is_file():
        return {}
    noted: dict[str, str] = json.loads(project.noted_runs.read_text(encoding="utf-8"))
    return noted
