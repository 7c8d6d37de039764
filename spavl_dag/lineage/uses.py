"""What was made of an image: from its id, hash or file on to every row, split and training that goes back to it.

As in `trace`, no artifact is named but those that trainings read: a table that has an id's column holds rows about it,
and the ids of its own key are followed in turn. Only the columns that are needed are read.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from spavl_dag.errors import SpavlError
from spavl_dag.integrations.dvc.lock import Lock
from spavl_dag.media.files import printable
from spavl_dag.params.training import TrainedExperiment
from spavl_dag.pipeline.declaration import Asset
from spavl_dag.pipeline.graph import Graph
from spavl_dag.schemas import DatasetRows, Images, polars_schema
from spavl_dag.training.selection import NothingSelectedError, select_rows

_IMAGE = "image_id"
_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Use:
    """Rows of one table that go back to an image.

    Attributes:
        artifact: Which.
        partition: In which part of it, or None.
        table: In which table.
        rows: How many.
        ids: Some of them, by their own id.
        splits: Of the dataset: rows by split.
    """

    artifact: str
    partition: str | None
    table: str
    rows: int
    ids: tuple[str, ...]
    splits: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TrainingUse:
    """A training that saw rows of an image.

    Attributes:
        checkpoint: Key of `experiments`; also the name of its run in MLflow.
        rows: How many of its training rows.
        up_to_date: Whether the checkpoint was made of the dataset as it is now.
    """

    checkpoint: str
    rows: int
    up_to_date: bool


@dataclass(frozen=True, slots=True)
class ImageUses:
    """Everything that goes back to an image.

    Attributes:
        image_id: Its id.
        sha256: Hash of its bytes.
        source: Where it came from.
        uses: By table, in the order in which artifacts are made.
        trainings: Those that saw it.
    """

    image_id: str
    sha256: str
    source: str
    uses: tuple[Use, ...]
    trainings: tuple[TrainingUse, ...]


def uses_of_image(graph: Graph, name: str) -> ImageUses:
    """Follow an image to all that was made of it.

    Args:
        graph: The project's artifacts.
        name: The image's id, the hash of its bytes (or the beginning of either), or a file with them.

    Raises:
        SpavlError: No image of the project is meant, or several are.
    """
    image = _image(graph, name)
    known: dict[str, set[str]] = {_IMAGE: {image["image_id"]}}
    uses = [use for asset in graph.assets.values() for use in _of_asset(graph, asset, known)]
    return ImageUses(
        image["image_id"],
        image["sha256"],
        image["source"],
        tuple(uses),
        tuple(_trainings(graph, known.get("row_id", set()))),
    )


def _image(graph: Graph, name: str) -> Mapping[str, str]:
    asset, table = graph.owner(Images)
    rows = _rows(graph, asset, table.name, None).select(_IMAGE, "sha256", "source").collect()
    wanted = hashlib.sha256(Path(name).read_bytes()).hexdigest() if Path(name).is_file() else name.lower()
    begin = pl.col(_IMAGE).str.starts_with(wanted) | pl.col("sha256").str.starts_with(wanted)
    found = rows.filter(begin) if wanted else rows.clear()
    if found.height != 1:
        told = "no image" if found.is_empty() else f"{found.height:,} images"
        raise SpavlError(
            f"'{printable(name)}' stands for {told} of this project",
            "Name an id or sha256 of the table images, or a file with exactly its bytes.",
        )
    return found.row(0, named=True)


def _of_asset(graph: Graph, asset: Asset, known: dict[str, set[str]]) -> Iterator[Use]:
    """Rows of an artifact's tables, and what they add to the known ids."""
    for partition in graph.params.keys(asset.partitions) if asset.partitions else [None]:
        for table, schema in asset.schemas.items():
            columns = polars_schema(schema).names()
            key = schema.to_schema().unique or [n for n, c in schema.to_schema().columns.items() if c.unique]
            ids = [column for column in key if column.endswith("_id")]
            # By the last made of the ids that a table has: rows about a pair, not all those about its question.
            by = next((column for column in reversed(list(known)) if column in columns), None)
            if by is None or not (file := _file(graph, asset, table, partition)).is_file():
                continue
            wanted = [by, *(column for column in (*ids, "split") if column in columns and column != by)]
            rows = pl.scan_parquet(file, glob=False).select(wanted)
            found = rows.filter(pl.col(by).is_in(known[by])).collect()
            if found.is_empty():
                continue
            own = ids[-1] if ids else by
            for column in ids:
                known.setdefault(column, set()).update(found[column].drop_nulls().to_list())
            splits = dict(sorted(found["split"].value_counts().iter_rows())) if "split" in found.columns else {}
            shown = tuple(found[own].drop_nulls().unique(maintain_order=True).head(_SHOWN).to_list())
            yield Use(asset.name, partition, table, found.height, shown, splits)


def _trainings(graph: Graph, row_ids: set[str]) -> Iterator[TrainingUse]:
    """The experiments whose training rows, drawn as they are drawn, hold some of these."""
    asset, table = graph.owner(DatasetRows)
    if not row_ids or not _file(graph, asset, table.name, None).is_file():
        return
    dataset = _rows(graph, asset, table.name, None).collect()
    lock = Lock(graph)
    for key, entry in graph.params.experiments.items():
        stage = graph.get("checkpoints", key)
        if not isinstance(entry, TrainedExperiment) or not (graph.project.root / stage.main_out).is_dir():
            continue
        try:
            selected = select_rows(dataset, entry.data, graph.params.seed_of(entry)).rows
        except NothingSelectedError:
            continue
        if count := selected.filter(pl.col("row_id").is_in(row_ids)).height:
            yield TrainingUse(key, count, up_to_date=not lock.why_stale(stage))


def _file(graph: Graph, asset: Asset, table: str, partition: str | None) -> Path:
    return graph.project.root / asset.out(partition) / f"{table}.parquet"


def _rows(graph: Graph, asset: Asset, table: str, partition: str | None) -> pl.LazyFrame:
    file = _file(graph, asset, table, partition)
    if not file.is_file():
        return pl.LazyFrame(schema=polars_schema(asset.schemas[table]))
    return pl.scan_parquet(file, glob=False)
