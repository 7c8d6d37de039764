"""Where a row comes from: from a preference back to verdicts, labels, answers, texts, image and model calls."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import polars as pl

from spavl_dag.errors import MissingInputError, SpavlError
from spavl_dag.inference.ledger import CallRow, Ledger
from spavl_dag.integrations.dvc.lock import Lock
from spavl_dag.pipeline.graph import Graph
from spavl_dag.pipeline.store import Store


@dataclass(frozen=True, slots=True)
class Found:
    """One row on the way.

    Attributes:
        artifact: Where it stands.
        table: In which table.
        row: Its columns.
        calls: The model calls behind it, by the column that names them.
        data_version: The artifact's content hash, as recorded in dvc.lock; None when it isn't recorded.
    """

    artifact: str
    table: str
    row: dict[str, Any]
    calls: dict[str, CallRow] = field(default_factory=dict)
    data_version: str | None = None


class Tracer:
    """Follows ids through the artifacts of a project."""

    def __init__(self, graph: Graph, ledger: Ledger) -> None:
        self._graph = graph
        self._store = Store(graph.project)
        self._models = list(graph.params.models)
        self._ledger = ledger
        self._lock = Lock(graph)

    def trace(self, row_id: str) -> list[Found]:
        """Everything a row comes from, the row itself first.

        Args:
            row_id: A pair (or dataset row), question, image or call id, or the beginning of one.

        Raises:
            SpavlError: Nothing has that id, or several do.
        """
        for artifact, table, column, follow in (
            ("pairs", "pairs", "pair_id", self._pair),
            ("questions", "questions", "question_id", self._question),
            ("images", "images", "image_id", self._image),
        ):
            try:
                ids = self._store.read(self._graph.asset(artifact), table)[column]
            except MissingInputError:
                continue
            if row_id in ids:
                return follow(row_id)
            matches = ids.filter(ids.str.starts_with(row_id)).sort()
            if len(matches) == 1:
                return follow(matches[0])
            if len(matches) > 1:
                shown = ", ".join(matches.head(5))
                raise SpavlError(f"{len(matches)} ids of {artifact} begin with '{row_id}'", f"Such as: {shown}.")
        call = self._call(row_id)
        if call is not None:
            row = {
                "call_key": row_id,
                "artifact": call.artifact,
                "partition": call.partition,
                "role": call.role,
            }
            return [Found("ledger", "calls", row, {"call_key": call})]
        raise SpavlError(
            f"nothing has the id '{row_id}'",
            "Ids stand in the first columns of the tables: pair_id, question_id, image_id, call_key.",
        )

    def _pair(self, pair_id: str) -> list[Found]:
        pair = self._rows("pairs", "pairs", pair_id=pair_id)
        found = [
            *self._rows("preferences", "preferences", pair_id=pair_id),
            *self._rows("preferences", "undecided", pair_id=pair_id),
            *self._rows("preferences", "verdicts", pair_id=pair_id),
            *pair,
            *self._rows("dataset", "dataset", row_id=pair_id),
        ]
        models = {pair[0].row["model_a"], pair[0].row["model_b"]}
        return found + self._question(pair[0].row["question_id"], models)

    def _question(self, question_id: str, models: set[str] | None = None) -> list[Found]:
        question = self._rows("questions", "questions", question_id=question_id)
        answers = []
        for model in self._models:
            if models is None or model in models:
                answers += self._rows("responses", None, model, question_id=question_id)
                answers += self._rows("safety_labels", None, model, question_id=question_id)
        return [*answers, *question, *self._image(question[0].row["image_id"])]

    def _image(self, image_id: str) -> list[Found]:
        return self._rows("captions", None, image_id=image_id) + self._rows("images", None, image_id=image_id)

    def _rows(self, artifact: str, table: str | None, partition: str | None = None, **key: str) -> list[Found]:
        try:
            rows = self._store.read(self._graph.asset(artifact), table or artifact, partition)
        except MissingInputError:
            return []
        ((column, value),) = key.items()
        stage = self._graph.get(artifact, partition)
        recorded = self._lock.recorded(stage)
        version = recorded.outs.get(stage.main_out) if recorded else None
        found = []
        for row in rows.filter(pl.col(column) == value).iter_rows(named=True):
            calls = {
                name: call
                for name, id_ in row.items()
                if name.endswith("_key") and id_ is not None and (call := self._call(id_))
            }
            found.append(Found(artifact, table or artifact, row, calls, version))
        return found

    def _call(self, call_id: str) -> CallRow | None:
        try:
            key = bytes.fromhex(call_id)
        except ValueError:
            return None
        return self._ledger.fetch([key]).get(key)
