"""Artifacts on disk: read, written beside their place, and exchanged whole or not at all.

Belongs here: everything that touches files under data/, models/ and eval/. An artifact is written into a staging folder
beside its place and exchanged with the old one in one step where the system can; else by two renames, and what a kill
leaves between them is put right when the artifact is next locked.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import polars as pl
from filelock import FileLock, Timeout

from spavl_dag.errors import BusyError, MissingInputError
from spavl_dag.pipeline.declaration import Asset
from spavl_dag.pipeline.layout import Project

UNREADABLE = (pl.exceptions.PolarsError, pl.exceptions.PanicException)
"""What polars raises for a damaged Parquet file; the second is no `Exception`."""

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2


class Store:
    """Reads and replaces the artifacts of a project."""

    def __init__(self, project: Project) -> None:
        self.project = project

    def read(self, asset: Asset, table: str, partition: str | None = None) -> pl.DataFrame:
        """One table of an artifact.

        Raises:
            MissingInputError: It was not made yet, or is damaged.
        """
        file = self._there(asset, f"{table}.parquet", partition)
        try:
            return pl.read_parquet(file, glob=False)
        except UNREADABLE as error:
            raise self._damaged(file, asset, partition) from error

    def read_document(self, asset: Asset, name: str, partition: str | None = None) -> Any:
        """A JSON document of an artifact.

        Raises:
            MissingInputError: It was not made yet, or is damaged.
        """
        return self._parsed(self._there(asset, name, partition), asset, partition)

    def find_document(self, asset: Asset, name: str, partition: str | None = None) -> Any:
        """A JSON document of an artifact, or None where it has no such document."""
        file = self.project.root / asset.out(partition) / name
        return self._parsed(file, asset, partition) if file.is_file() else None

    @contextmanager
    def lock(self, asset: Asset, partition: str | None, *, wait: bool = False) -> Iterator[None]:
        """Hold an artifact while it is made, so that two runs never make the same calls.

        Args:
            asset: The artifact.
            partition: Which part of it.
            wait: Whether to wait for another process; else it is an error.

        Raises:
            BusyError: Another process is making it.
        """
        self.project.locks.mkdir(parents=True, exist_ok=True)
        name = _name(asset, partition)
        lock = FileLock(self.project.locks / f"{name}.lock", timeout=-1 if wait else 0)
        try:
            lock.acquire()
        except Timeout:
            raise BusyError(
                f"{name} is being made by another process",
                "Wait for it to end. Its calls are in the ledger, so nothing needs to be made twice.",
            ) from None
        try:
            self._recover(asset, partition)
            yield
        finally:
            lock.release()

    def staging(self, asset: Asset, partition: str | None) -> Path:
        """An empty folder on the same file system as the artifact's place, so that it can be renamed there.

        Raises:
            OSError: The place is on another file system (EXDEV): told before the work, not after it.
        """
        folder = self._staging_folder(asset, partition)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        target = self.project.root / asset.out(partition)
        place = next(parent for parent in target.parents if parent.exists())
        if target.is_mount() or place.stat().st_dev != folder.stat().st_dev:
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), str(target))
        return folder

    def write(
        self,
        staging: Path,
        tables: Mapping[str, pl.DataFrame],
        documents: Mapping[str, Any],
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        """Put tables and documents into the staging folder, byte for byte the same for the same content.

        Args:
            staging: The folder.
            tables: By name.
            documents: By file name.
            metadata: What each table's file says of itself besides its schema; None for nothing.
        """
        said = dict(metadata) if metadata else None
        for name, table in tables.items():
            file = staging / f"{name}.parquet"
            table.write_parquet(file, compression="zstd", row_group_size=131_072, metadata=said)
        for name, document in documents.items():
            text = json.dumps(document, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
            (staging / name).write_text(text, encoding="utf-8")

    def replace(self, staging: Path, asset: Asset, partition: str | None) -> None:
        """Make the staging folder the artifact."""
        target = self.project.root / asset.out(partition)
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.is_symlink():
            target.unlink()
        if not target.exists():
            os.rename(staging, target)
        elif _exchange(staging, target):
            shutil.rmtree(staging, ignore_errors=True)
        else:
            retired = _retired(staging)
            shutil.rmtree(retired, ignore_errors=True)
            os.rename(target, retired)
            os.rename(staging, target)
            shutil.rmtree(retired, ignore_errors=True)

    def keep_failures(self, asset: Asset, partition: str | None, failures: Mapping[str, pl.DataFrame]) -> list[Path]:
        """Write failing rows beside the work files, one Parquet file per check; returns the files."""
        folder = self.project.failures / asset.out(partition)
        shutil.rmtree(folder, ignore_errors=True)
        files = []
        for check, rows in failures.items():
            folder.mkdir(parents=True, exist_ok=True)
            file = folder / f"{check}.parquet"
            rows.write_parquet(file)
            files.append(file)
        return files

    def _parsed(self, file: Path, asset: Asset, partition: str | None) -> Any:
        try:
            return json.loads(file.read_text(encoding="utf-8"))
        except ValueError as error:
            raise self._damaged(file, asset, partition) from error

    def _damaged(self, file: Path, asset: Asset, partition: str | None) -> MissingInputError:
        stage = _name(asset, partition)
        return MissingInputError(
            f"{file.relative_to(self.project.root)} is damaged: it can't be read any more",
            f"Get it back with `dvc checkout --force {stage}`, or make it again with `dvc repro {stage}`.",
        )

    def _there(self, asset: Asset, name: str, partition: str | None) -> Path:
        file = self.project.root / asset.out(partition) / name
        if not file.is_file():
            at = f" --partition {partition}" if partition else ""
            raise MissingInputError(
                f"{file.relative_to(self.project.root)} is not there",
                f"Make it with `spavl run {asset.name}{at}`, or everything up to here with `dvc repro`.",
            )
        return file

    def _staging_folder(self, asset: Asset, partition: str | None) -> Path:
        return self.project.root / asset.folder / ".staging" / _name(asset, partition)

    def _recover(self, asset: Asset, partition: str | None) -> None:
        """Put an artifact back that a killed process had moved aside and not yet replaced."""
        retired = _retired(self._staging_folder(asset, partition))
        target = self.project.root / asset.out(partition)
        if retired.exists() and not target.exists():
            os.rename(retired, target)


def _retired(staging: Path) -> Path:
    return staging.with_name(f"{staging.name}.old")


def _name(asset: Asset, partition: str | None) -> str:
    return f"{asset.name}@{partition}" if partition else asset.name


def _exchange(one: Path, other: Path) -> bool:
    """Exchange two folders in one step (Linux' renameat2); False where the system or file system can't."""
    try:
        rename = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError):
        return False
    if rename(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE) == 0:
        return True
    code = ctypes.get_errno()
    if code in (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP):
        return False
    raise OSError(code, os.strerror(code), str(other))
