"""Rehearsals: artifacts that hold scripted answers say so, and nothing is trained on them or reported of them.

Which answers are scripted is read from params (`engine: scripted`) for what is made now, and from the tables' metadata
for what lies on disk and was made with other params.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING

import polars as pl

from spavl_dag.errors import SpavlError
from spavl_dag.pipeline.store import UNREADABLE

if TYPE_CHECKING:
    from spavl_dag.pipeline.graph import Graph, Stage

SCRIPTED = "spavl.scripted"
"""Key of a Parquet file's metadata: the entries of params.yaml that no model answered for."""

_REAL_ONLY = ("alignment", "evaluation")
"""Groups of artifacts that end in a report."""


class RehearsalError(SpavlError):
    """What was made by script would end in a report."""


def scripted_entries(graph: Graph, stage: Stage) -> list[str]:
    """Key paths of the entries that no model answers for, among those that a stage and all behind it ask."""
    if not (scripted := graph.params.scripted()):
        return []
    keys = {key for each in (*graph.behind(stage), stage) for key in each.params}
    return [path for path in scripted if any(path == key or path.startswith(f"{key}.") for key in keys)]


def table_metadata(scripted: list[str]) -> Mapping[str, str] | None:
    """What the tables of an artifact say of it; None where models answered."""
    return {SCRIPTED: ", ".join(scripted)} if scripted else None


def refuse_rehearsal(graph: Graph, stage: Stage) -> None:
    """Raise where a stage ends in a report and what it reads was, or would be, made of scripted answers.

    Raises:
        RehearsalError: So it is.
    """
    if graph.asset(stage.artifact).group_name not in _REAL_ONLY:
        return
    named = scripted_entries(graph, stage) or [name for name in map(_said_by, _tables_read(graph, stage)) if name]
    if named:
        raise RehearsalError(
            f"{stage.name} is not made of scripted answers, and there are some of {', '.join(named)}",
            "`engine: scripted` is for rehearsals up to the dataset. Name the engines that run your models, and make "
            "the dataset again.",
        )


def _tables_read(graph: Graph, stage: Stage) -> list[str]:
    """Parquet files that a stage's artifact reads of others, relative to the project."""
    folders = [graph.project.root / out for each in graph.upstream(stage) for out in each.outs]
    files = [found for path in folders for found in (path.glob("*.parquet") if path.is_dir() else [path])]
    return [str(file) for file in files if file.is_file() and file.suffix == ".parquet"]


def _said_by(file: str) -> str:
    with suppress(*UNREADABLE):  # whoever reads its rows says so
        return pl.read_parquet_metadata(file).get(SCRIPTED, "")
    return ""
