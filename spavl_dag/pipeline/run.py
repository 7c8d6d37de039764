"""One making of one artifact: where the declared inputs get their values from. Assets never see it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from spavl_dag.inference.ledger import Ledger
from spavl_dag.inference.request import ImageRef
from spavl_dag.params.models import BASE_MODEL
from spavl_dag.params.sections import Params
from spavl_dag.pipeline.clients import Clients
from spavl_dag.pipeline.layout import Project
from spavl_dag.pipeline.store import Store
from spavl_dag.pipeline.weights import Weights
from spavl_dag.progress import Progress, no_progress
from spavl_dag.schemas import Table as Schema

if TYPE_CHECKING:
    from spavl_dag.pipeline.declaration import Mode
    from spavl_dag.pipeline.graph import Graph, Stage

CurveCallback = Callable[[str, Sequence[Mapping[str, float]]], None]
"""Told, now and then while a training runs, its key and the new rows of its curve."""


def no_curve(_training: str, _rows: Sequence[Mapping[str, float]]) -> None:
    """Tell nobody."""


@dataclass
class Run:
    """One making of one artifact (or of one part of it).

    Attributes:
        graph: All artifacts, with params and content hashes.
        stage: What is made.
        ledger: All model calls.
        staging: Folder whose content becomes the artifact.
        progress: Told about long work.
        curve: Told about a training's curve.
    """

    graph: Graph
    stage: Stage
    ledger: Ledger
    staging: Path
    progress: Progress = no_progress
    curve: CurveCallback = no_curve
    retry_failed: bool = False
    project: Project = field(init=False)
    params: Params = field(init=False)
    store: Store = field(init=False)

    def __post_init__(self) -> None:
        """Take what the graph knows."""
        self.project = self.graph.project
        self.params = self.graph.params
        self.store = Store(self.project)

    @property
    def key(self) -> str:
        """The partition, for an artifact that has some."""
        assert self.stage.partition is not None, f"{self.stage.artifact} has no partitions"
        return self.stage.partition

    @cached_property
    def weights(self) -> Weights:
        """Finds the weights that params name."""
        base = self.project.root / self.graph.asset(BASE_MODEL).out()
        return Weights(self.project.root, base, self.graph.hasher)

    @cached_property
    def models(self) -> Clients:
        """Makes model clients, and counts their calls."""
        owner = (self.stage.artifact, self.stage.partition)
        return Clients(
            self.project.root,
            self.params,
            self.weights,
            self.ledger,
            owner,
            self.progress,
            retry_failed=self.retry_failed,
        )

    def folder(self, artifact: str) -> Path:
        """Folder of an upstream artifact, or of its same partition."""
        asset = self.graph.asset(artifact)
        return self.project.root / asset.out(self.key if asset.partitions else None)

    def read(self, schema: type[Schema], mode: Mode) -> pl.DataFrame:
        """Rows of an upstream table."""
        if mode == "all":
            return pl.concat(self.read_parts(schema).values())
        asset, table = self.graph.owner(schema)
        partition: str | None = None
        if asset.partitions:
            partition = self.params.evaluation.baseline if mode == "baseline" else self.key
        return self.store.read(asset, table.name, partition)

    def read_parts(self, schema: type[Schema]) -> dict[str, pl.DataFrame]:
        """Rows of an upstream table by partition, in the order of params.yaml."""
        asset, table = self.graph.owner(schema)
        assert asset.partitions is not None, f"{asset.name} has no partitions"
        return {key: self.store.read(asset, table.name, key) for key in self.params.keys(asset.partitions)}

    def pictures(self, schema: type[Schema]) -> dict[str, ImageRef]:
        """Content of all images that an upstream table names, by image id, read when needed."""
        rows = self.read(schema, "one").filter(pl.col("image_id").is_not_null())
        asset, _ = self.graph.owner(schema)
        return image_refs(rows, self.project.root / asset.out())


def image_refs(images: pl.DataFrame, folder: Path) -> dict[str, ImageRef]:
    """Content of images by image id, read when needed.

    Args:
        images: Rows with image_id, sha256 and file.
        folder: What their `file` is relative to.
    """
    return {
        image_id: ImageRef.of_file(f"{folder}/{file}", sha256)
        for image_id, sha256, file in images.select("image_id", "sha256", "file").unique().iter_rows()
    }
