"""Where a row comes from: from an id back over the tables that hold it or what it refers to, to the model calls.

No artifact is named here. A column that ends in `_id` and in a table's key is an id; the first artifact that has it is
its home. The row there refers to other ids, and so on; a table is read by the last made of the ids that it has. Columns
that end in `_key` or `_keys` name model calls.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import polars as pl

from spavl_dag.errors import SpavlError
from spavl_dag.inference.ledger import CallRow, Ledger
from spavl_dag.integrations.dvc.lock import Lock
from spavl_dag.media.files import printable
from spavl_dag.pipeline.declaration import Asset
from spavl_dag.pipeline.graph import Graph, Stage
from spavl_dag.schemas import hidden_columns, polars_schema


@dataclass(frozen=True, slots=True)
class Found:
    """One row on the way.

    Attributes:
        artifact: Where it stands; "ledger" for a call that was asked for by its own id.
        partition: In which part of it, or None.
        table: In which table.
        row: Its columns.
        ids: Those of its columns that are ids.
        hidden: Those that hold text which is not to be shown unasked.
        calls: The model calls behind it, by the column that names them.
        data_version: The artifact's content hash, as recorded in dvc.lock; None when it isn't recorded.
    """

    artifact: str
    partition: str | None
    table: str
    row: Mapping[str, Any]
    ids: frozenset[str] = frozenset()
    hidden: frozenset[str] = frozenset()
    calls: Mapping[str, CallRow] = field(default_factory=dict)
    data_version: str | None = None


class _Kind(NamedTuple):
    """A kind of id: the columns that tell its rows apart, the id last, and its home."""

    key: tuple[str, ...]
    asset: Asset
    table: str

    @property
    def column(self) -> str:
        return self.key[-1]


class _Match(NamedTuple):
    """What has the name that was asked for, or a longer one: its kind, that name, its key's columns."""

    kind: str
    name: str
    key: Mapping[str, str]


class Tracer:
    """Follows ids through the artifacts of a project; reads only.

    Args:
        graph: The project's artifacts.
        ledger: Its model calls; None where it has none.
    """

    def __init__(self, graph: Graph, ledger: Ledger | None) -> None:
        self._graph = graph
        self._ledger = ledger
        self._lock = Lock(graph)
        self._kinds = _kinds(graph)

    def trace(self, name: str) -> list[Found]:
        """Everything that has an id or stands behind it, the last made first.

        Args:
            name: The id of an image, question, pair, row of the dataset, benchmark item (also `benchmark/item`) or
                call, or the beginning of one. An id wins over longer ones that begin with it.

        Raises:
            SpavlError: Nothing has that id, or several do.
        """
        matches = self._matches(name.encode("utf-8", "replace").decode())  # undecodable bytes stand in no table
        if not matches:
            columns = ", ".join([*(kind.column for kind in self._kinds), "call_key"])
            raise SpavlError(f"nothing has the id '{printable(name)}'", f"Ids stand in the tables' columns {columns}.")
        shortest = min((match.name for match in matches), key=len)
        meant = [match for match in matches if match.name == shortest]
        unlike = [match for match in matches if not match.name.startswith(shortest)]
        if unlike or len({match.kind for match in meant}) < len(meant):
            raise _ambiguous(name, matches)
        ids = {column: value for match in meant for column, value in match.key.items()}
        if "call_key" not in ids:
            return self._follow(ids)
        (call,) = self._calls(ids).values()
        row = ids | {"artifact": call.artifact, "partition": call.partition, "role": call.role}
        return [Found("ledger", None, "calls", row, frozenset(ids), calls={"call_key": call})]

    def _matches(self, name: str) -> list[_Match]:
        """What has that name, or else what begins with it."""
        found = []
        for kind in self._kinds:
            both = [pl.col(kind.column), pl.concat_str(kind.key, separator="/")]
            rows = self._rows(kind.asset, kind.table).select(kind.key)
            begin = rows.filter(pl.any_horizontal(each.str.starts_with(name) for each in both))
            for key in begin.collect().to_dicts():
                short = key[kind.column]
                full = short if short.startswith(name) else "/".join(key.values())
                found.append(_Match(kind.column.removesuffix("_id"), full, key))
        keys = self._ledger.keys_beginning(name.lower()) if self._ledger else []
        found += [_Match("call", key.hex(), {"call_key": key.hex()}) for key in keys]
        return [match for match in found if match.name == name] or found

    def _follow(self, ids: dict[str, str]) -> list[Found]:
        """Rows with these ids, and with those that their rows refer to."""
        models: set[str] = set()
        for kind in reversed(self._kinds):  # what an id refers to was made before it
            if ids.keys() >= set(kind.key):
                for row in self._about(kind, ids, self._rows(kind.asset, kind.table)):
                    ids = {each.column: row[each.column] for each in self._kinds if row.get(each.column)} | ids
                    models |= {row[name] for name in row if "model" in name} & self._graph.params.models.keys()
        return [
            found
            for asset in reversed(list(self._graph.assets.values()))
            for stage in self._graph.of(asset.name)
            if asset.partitions != "models" or not models or stage.partition in models
            for found in self._found(asset, stage, ids)
        ]

    def _found(self, asset: Asset, stage: Stage, ids: Mapping[str, str]) -> Iterator[Found]:
        """Rows of a stage that are about these ids."""
        columns = {table: polars_schema(schema) for table, schema in asset.schemas.items()}
        kinds = {table: [kind for kind in self._kinds if has.keys() >= set(kind.key)] for table, has in columns.items()}
        known = [has[-1] for has in kinds.values() if has and has[-1].column in ids]
        # Where one table is about a pair, another of the same artifact that is about its question tells of others.
        closest = max(known, key=self._kinds.index, default=None)
        recorded = self._lock.recorded(stage)
        for table, schema in asset.schemas.items():
            if closest is None or kinds[table][-1:] != [closest]:
                continue
            for row in self._about(closest, ids, self._rows(asset, table, stage.partition)):
                yield Found(
                    asset.name,
                    stage.partition,
                    table,
                    row,
                    frozenset(ids) & row.keys(),
                    hidden_columns(schema)
                    | (row.keys() - columns[table].keys()),  # a file may be older than its schema
                    self._calls(row),
                    recorded.outs.get(stage.main_out) if recorded else None,
                )

    def _about(self, kind: _Kind, ids: Mapping[str, str], rows: pl.LazyFrame) -> list[dict[str, Any]]:
        """The rows of a table that have an id."""
        return rows.filter(*(pl.col(column) == ids[column] for column in kind.key)).collect().to_dicts()

    def _calls(self, row: Mapping[str, Any]) -> dict[str, CallRow]:
        """The calls that a row names, by column."""
        named = {column: key for column, key in row.items() if column.endswith("_key") and key is not None}
        for column in (column for column in row if column.endswith("_keys")):
            named |= {f"{column}[{number}]": key for number, key in enumerate(row[column] or ())}
        keys = {column: bytes.fromhex(key) for column, key in named.items()}
        held = self._ledger.fetch(list(keys.values())) if self._ledger else {}
        return {column: held[key] for column, key in keys.items() if key in held}

    def _rows(self, asset: Asset, table: str, partition: str | None = None) -> pl.LazyFrame:
        file = self._graph.project.root / asset.out(partition) / f"{table}.parquet"
        if not file.is_file():
            return pl.LazyFrame(schema=polars_schema(asset.schemas[table]))
        return pl.scan_parquet(file, glob=False)  # a path is one file's, whatever characters it has


def _kinds(graph: Graph) -> list[_Kind]:
    """The kinds of ids, in the order in which their homes are made."""
    homes: dict[str, _Kind] = {}
    for asset in graph.assets.values():
        for table in asset.tables:
            schema = table.schema.to_schema()
            for name, column in schema.columns.items():
                key = schema.unique or ([name] if column.unique else [""])
                if name.endswith("_id"):
                    homes.setdefault(name, _Kind(tuple(key), asset, table.name))
    return [kind for name, kind in homes.items() if kind.column == name]


def _ambiguous(name: str, matches: Sequence[_Match]) -> SpavlError:
    counts = Counter(match.kind for match in matches)
    listed = ", ".join(f"{count:,} {kind}{'s' * (count > 1)}" for kind, count in counts.items())
    examples = {"/".join(match.key.values()): None for match in sorted(matches, key=lambda match: len(match.name))}
    shown = ", ".join(map(printable, list(examples)[:3]))
    return SpavlError(f"'{printable(name)}' stands for {listed}", f"Give one of them whole, such as: {shown}.")
