"""What an asset's function gives back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVarTuple

import polars as pl

Schemas = TypeVarTuple("Schemas")


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


class Result(Generic[*Schemas]):
    """An artifact's content, before it is checked and kept: `Result[Pairs, MissingPairs](pairs, missing)`.

    Args:
        tables: Frames, in the order of the schemas that the asset's return type names.
        documents: Small JSON documents by file name.
        metrics: Numbers to compare between runs that can't be had from the tables again, such as seconds.
        training: What was trained, for a checkpoint.

    Attributes:
        folder: Where the artifact's files lie while it is summarized.
    """

    def __init__(
        self,
        *tables: pl.DataFrame,
        documents: Mapping[str, Any] | None = None,
        metrics: Mapping[str, float] | None = None,
        training: Training | None = None,
    ) -> None:
        self.tables = tables
        self.documents = dict(documents or {})
        self.metrics = dict(metrics or {})
        self.training = training
        self.folder = Path()


AnyResult = Result[*tuple[Any, ...]]
"""The content of any artifact."""


@dataclass(slots=True)
class Summary:
    """What people should see of an artifact; it comes from its tables and documents alone, also after `dvc pull`.

    Attributes:
        metadata: By name: numbers, Markdown, pictures (`spavl_dag.preview`).
        metrics: Numbers to compare between runs.
        columns: Columns of the main table that its preview shows; all when None.
    """

    metadata: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    columns: Sequence[str] | None = None
