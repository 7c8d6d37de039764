"""What an asset's signature says, and what follows from it.

Belongs here: the declaration of an artifact, as data. A parameter's type says what is handed in (an upstream table, a
model, a section of params …: `pipeline.inputs`); nothing else is, so what isn't declared can't be read. The result's
type names the tables. Nothing here knows Dagster, DVC or MLflow; they are made from this.
"""

from __future__ import annotations

import inspect
import types
import typing
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import polars as pl

from spavl_dag.errors import SpavlError
from spavl_dag.names import PartitionKind
from spavl_dag.pipeline.result import AnyResult, Result, Summary
from spavl_dag.schemas import Table as Schema

if TYPE_CHECKING:
    from spavl_dag.params.sections import Params
    from spavl_dag.pipeline.run import Run

Mode = Literal["one", "all", "baseline"]
"""Which part of a partitioned artifact is read: the same one (or the only one), all of them, or the baseline's."""


@dataclass(frozen=True, slots=True)
class Upstream:
    """An artifact that another one reads.

    Attributes:
        artifact: Its name, or the schema of one of its tables.
        mode: Which part of it.
    """

    artifact: str | type[Schema]
    mode: Mode = "one"


@dataclass(frozen=True, slots=True)
class Source:
    """Something that no asset makes and an artifact depends on: a section of params, a role, a folder of files.

    Attributes:
        name: Short and unique, such as "roles/judge".
        keys: Key paths of params.yaml; `{key}` stands for the partition.
        files: Files and folders, relative to the project: either a path, or `${key.path}` for what params name there.
        partitions: The section of params.yaml whose keys have a version each; None where there is one for all.
    """

    name: str
    keys: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    partitions: PartitionKind | None = None


@dataclass(frozen=True, slots=True)
class Context:
    """What a declaration is read against: params choose roles, weights, sources and files.

    Attributes:
        params: Checked params.
        root: The project's folder.
    """

    params: Params
    root: Path


class Input(ABC):
    """One parameter of an asset: what it makes the artifact depend on, and what is handed in."""

    uses_model = False
    """Whether a model is run through it, so that the asset waits for its turn in the pool of models."""

    trains = False
    """Whether weights are trained through it."""

    def upstream(self, _context: Context) -> Sequence[Upstream]:
        """Artifacts that are read."""
        return ()

    def sources(self, _context: Context) -> Sequence[Source]:
        """What is read beside artifacts."""
        return ()

    @abstractmethod
    def value(self, run: Run) -> Any:
        """What the function is given."""


@dataclass(frozen=True, slots=True)
class TableSpec:
    """A table of an artifact.

    Attributes:
        name: Of its Parquet file, without the suffix.
        schema: What its rows are.
    """

    name: str
    schema: type[Schema]


@dataclass(frozen=True, slots=True)
class Checked:
    """What a check may look at.

    Attributes:
        tables: The artifact's new tables, by name.
        inputs: What the asset's function was given, by parameter.
        metrics: The artifact's numbers.
    """

    tables: Mapping[str, pl.DataFrame]
    inputs: Mapping[str, Any]
    metrics: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Check:
    """A condition beyond the rows of one table.

    Attributes:
        name: Of the asset check.
        description: What holds, in a sentence.
        broken: Returns the rows that break it; empty when it holds.
        severity: "error" keeps the artifact from being replaced; "warn" is shown and recorded.
    """

    name: str
    description: str
    broken: Callable[[Checked], pl.DataFrame]
    severity: Literal["error", "warn"] = "error"


@dataclass(frozen=True)
class Asset:
    """The declaration of one artifact.

    Attributes:
        name: Of the function, the artifact, its folder, the Dagster asset and the DVC stage.
        function: Makes it.
        group_name: Group in the graph.
        kinds: What it is made with; shown as tags.
        partitions: The section of params.yaml that it has one part per key of, or None.
        folder: Top-level folder that it lies in.
        files: Whether it has a folder `files` of pictures; then others depend on its tables and not on the pictures.
        metrics_file: A small JSON file of numbers in it that `dvc metrics show` prints, or None.
        checks: Conditions beyond its schemas.
        summary: What people should see of it, from its tables and documents.
    """

    name: str
    function: Callable[..., AnyResult]
    group_name: str
    kinds: frozenset[str]
    partitions: PartitionKind | None
    folder: str
    files: bool
    metrics_file: str | None
    checks: tuple[Check, ...]
    summary: Callable[[Any], Summary] | None
    inputs: Mapping[str, Input] = field(default_factory=dict)
    tables: tuple[TableSpec, ...] = ()

    @property
    def description(self) -> str:
        """The function's docstring."""
        return inspect.getdoc(self.function) or ""

    @property
    def module(self) -> Path:
        """The file that declares it."""
        return Path(inspect.getfile(self.function))

    @property
    def uses_models(self) -> bool:
        """Whether it runs models."""
        return any(declared.uses_model for declared in self.inputs.values())

    @property
    def trains(self) -> bool:
        """Whether it trains weights."""
        return any(declared.trains for declared in self.inputs.values())

    @cached_property
    def schemas(self) -> Mapping[str, type[Schema]]:
        """Its schemas by table name."""
        return {table.name: table.schema for table in self.tables}

    def out(self, partition: str | None = None) -> str:
        """Folder of the artifact or of one part, relative to the project."""
        base = f"{self.folder}/{self.name}"
        return f"{base}/{partition}" if partition else base

    def outs(self, partition: str | None = None) -> tuple[str, ...]:
        """What DVC tracks; the first is what others read, and its hash is the artifact's data version."""
        base = self.out(partition)
        if self.files:
            return (*(f"{base}/{table.name}.parquet" for table in self.tables), f"{base}/files")
        return (base,)

    def upstream(self, context: Context) -> list[Upstream]:
        """The artifacts that it reads, each mode once."""
        return list(dict.fromkeys(up for declared in self.inputs.values() for up in declared.upstream(context)))

    def sources(self, context: Context) -> list[Source]:
        """What it depends on beside artifacts, each once."""
        return list(dict.fromkeys(source for declared in self.inputs.values() for source in declared.sources(context)))


def asset(
    *,
    group_name: str,
    kinds: set[str],
    partitions: PartitionKind | None = None,
    folder: str = "data",
    files: bool = False,
    metrics_file: str | None = None,
    checks: Sequence[Check] = (),
    summary: Callable[[Any], Summary] | None = None,
) -> Callable[[Callable[..., AnyResult]], Asset]:
    """Declare the decorated function as the maker of the artifact of its name; see `Asset` for the arguments.

    Raises:
        SpavlError: A parameter's type says nothing that can be handed in.
    """

    def declare(function: Callable[..., AnyResult]) -> Asset:
        hints = typing.get_type_hints(function, include_extras=True)
        returned = hints.pop("return")
        return Asset(
            name=function.__name__,
            function=function,
            group_name=group_name,
            kinds=frozenset(kinds),
            partitions=partitions,
            folder=folder,
            files=files,
            metrics_file=metrics_file,
            checks=tuple(checks),
            summary=summary,
            inputs=_declared(function.__name__, hints),
            tables=tuple(_tables(function.__name__, returned)),
        )

    return declare


def table_name(schema: type[Schema], artifact: str) -> str:
    """Name of a table: what its schema's Config says, else the artifact's."""
    stated = getattr(schema.Config, "name", None)
    unstated = {None, *(kind.__name__ for kind in schema.__mro__)}  # pandera puts the class' own name there
    return artifact if stated in unstated else str(stated)


def _tables(artifact: str, returned: Any) -> Sequence[TableSpec]:
    schemas = typing.get_args(returned)
    if typing.get_origin(returned) is not Result:
        raise SpavlError(f"asset {artifact}: it must return Result[…] of its schemas", "Result[()] has no tables.")
    return [TableSpec(table_name(schema, artifact), schema) for schema in schemas]


def _declared(where: str, hints: Mapping[str, Any]) -> dict[str, Input]:
    return {name: _input_of(where, name, hint) for name, hint in hints.items()}


def _input_of(where: str, name: str, hint: Any) -> Input:
    """The input that a parameter's type stands for."""
    from spavl_dag.pipeline.inputs import input_for

    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        marked = next((mark for mark in arguments[1:] if isinstance(mark, Input)), None)
        if marked is not None:
            return marked
    optional = origin in (typing.Union, types.UnionType) and type(None) in arguments
    if optional:
        hint = next(argument for argument in arguments if argument is not type(None))
    found = input_for(hint, name, optional=optional)
    if found is None and is_dataclass(hint) and isinstance(hint, type):
        inner = typing.get_type_hints(hint, include_extras=True)
        found = _Grouped(hint, _declared(where, {part.name: inner[part.name] for part in fields(hint)}))
    if found is None:
        raise SpavlError(
            f"asset {where}: parameter '{name}: {hint}' declares nothing that can be handed in",
            "See spavl_dag/pipeline/inputs.py for what there is.",
        )
    return found


class _Grouped(Input):
    """A dataclass whose fields are inputs, for what belongs together."""

    def __init__(self, kind: type, parts: Mapping[str, Input]) -> None:
        self._kind = kind
        self._parts = parts
        self.uses_model = any(part.uses_model for part in parts.values())

    def upstream(self, context: Context) -> Sequence[Upstream]:
        return [found for part in self._parts.values() for found in part.upstream(context)]

    def sources(self, context: Context) -> Sequence[Source]:
        return [found for part in self._parts.values() for found in part.sources(context)]

    def value(self, run: Run) -> Any:
        return self._kind(**{name: part.value(run) for name, part in self._parts.items()})
