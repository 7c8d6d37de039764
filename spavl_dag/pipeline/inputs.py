"""What an asset's function may ask for in its signature.

`images: Table[Images]`
    Rows of the table with that schema, of the same partition where it has some. Depends on its artifact.
`labels: AllPartitions[SafetyLabels]`, `ByPartition[…]`
    Rows of all partitions, as one frame or by partition. Depends on all parts, and on the section that names them.
`base: BaselinePartition[EvalResponses]`
    Rows of the partition `evaluation.baseline`. Depends on that part.
`pictures: Pictures[Images]`
    Image content by id, read when needed and compared with its hash. Depends on the table's artifact.
`judge: Role`, `second_judge: Role | None`
    Asks the model of `roles.judge`. Depends on the entry, its prompt template and its weights.
`model: AnsweringModel`
    Asks the model of `models.<partition>`. Depends on the same.
`taxonomy: Taxonomy`
    The harm classes. Depends on `taxonomy`, and its file.
`settings: Annotated[PairParams, Params("pairs")]`
    That section of params; `ModelParams` where it names a model, whose weights count then.
`experiment: Annotated[Experiment, ExperimentEntry()]`
    The entry `experiments.<partition>`. Depends on it, and on its weights.
`trainer: Trainer`
    Trains, each training at most once. Depends on `policy` with its template, and on the images.
`seed: Seed`, `key: PartitionKey`
    The project's seed (depends on `seed`); the partition that is made.
`output: OutputFolder`, `progress: Progress`
    A folder whose files become the artifact's; is told about long work. Depends on nothing.
`scripted: ScriptedEntries`
    Entries of params whose answers no model wrote, here or in what it comes from. Depends on nothing.
a dataclass of such fields
    An object of it. Depends on what its fields depend on.

Others are written in the same way: a subclass of `Input`, put into `Annotated[…]`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, NewType, TypeVar, get_args, get_origin

import polars as pl

from spavl_dag.inference.request import ImageRef
from spavl_dag.params.sections import Params as ProjectParams
from spavl_dag.pipeline.declaration import Context, Input, Mode, Source, Upstream
from spavl_dag.pipeline.rehearsal import scripted_entries
from spavl_dag.pipeline.run import Run
from spavl_dag.progress import Progress
from spavl_dag.schemas import Table as Schema
from spavl_dag.taxonomy import Taxonomy, load_taxonomy

S = TypeVar("S", bound=Schema)

Seed = NewType("Seed", int)
"""The project's seed."""

PartitionKey = NewType("PartitionKey", str)
"""The partition that is made."""

ScriptedEntries = NewType("ScriptedEntries", list[str])
"""Key paths of the entries of params.yaml that no model answers for, as far as the artifact comes from them."""

OutputFolder = NewType("OutputFolder", Path)
"""An empty folder whose files become part of the artifact."""


class Table(pl.DataFrame, Generic[S]):
    """Rows of the upstream table with that schema; a plain frame at run time."""


class AllPartitions(pl.DataFrame, Generic[S]):
    """Rows of all partitions of that table, in the order of params.yaml."""


class BaselinePartition(pl.DataFrame, Generic[S]):
    """Rows of the partition that `evaluation.baseline` names."""


class Pictures(dict[str, ImageRef], Generic[S]):
    """Content of the images that the table with that schema names, by image id."""


class ByPartition(dict[str, pl.DataFrame], Generic[S]):
    """Rows of all partitions of that table, by partition, in the order of params.yaml."""


def input_for(hint: Any, name: str, *, optional: bool) -> Input | None:
    """The input that a parameter's type stands for; None where it is none of the types above."""
    kind, arguments = get_origin(hint) or hint, get_args(hint)
    modes: Mapping[Any, Mode] = {Table: "one", AllPartitions: "all", BaselinePartition: "baseline"}
    if kind in modes:
        return _TableInput(arguments[0], modes[kind])
    if kind is ByPartition:
        return _PartsInput(arguments[0])
    if kind is Pictures:
        return _PicturesInput(arguments[0])
    simple: Mapping[Any, Callable[[], Input]] = {
        Taxonomy: _TaxonomyInput,
        Seed: lambda: Params("seed"),
        PartitionKey: _PartitionInput,
        OutputFolder: _OutputInput,
        Progress: _ProgressInput,
        ScriptedEntries: _ScriptedInput,
    }
    made = next((make for known, make in simple.items() if known == hint), None)
    if made is not None:
        return made()
    from spavl_dag.pipeline.model_inputs import model_input_for

    return model_input_for(hint, name, optional=optional)


@dataclass(frozen=True)
class Params(Input):
    """A value or section of params.yaml.

    Attributes:
        path: Its key path, such as "pairs" or "images.source".
    """

    path: str

    def sources(self, _context: Context) -> Sequence[Source]:
        """The section."""
        return [Source(f"params/{self.path.replace('.', '/')}", (self.path,))]

    def value(self, run: Run) -> Any:
        """The value, typed and checked."""
        return value_at(run.params, self.path)


@dataclass(frozen=True)
class Files(Input):
    """Files or folders that params choose; handed in as paths, in the same order.

    Attributes:
        name: Of the source.
        choose: From params to paths relative to the project, or `${key.path}` for what params name there.
    """

    name: str
    choose: Callable[[ProjectParams], Sequence[str]]

    def sources(self, context: Context) -> Sequence[Source]:
        """The files chosen now."""
        chosen = tuple(self.choose(context.params))
        return [Source(self.name, files=chosen)] if chosen else []

    def value(self, run: Run) -> list[Path]:
        """Where they lie."""
        return [run.project.root / run.graph.path(file) for file in self.choose(run.params)]


@dataclass(frozen=True)
class Document(Input):
    """A JSON document of an upstream artifact; of all its partitions, by key, where it has some.

    Attributes:
        artifact: Its name.
        file: Name of the document.
        partitioned: Whether the artifact has partitions.
    """

    artifact: str
    file: str
    partitioned: bool = False

    def upstream(self, _context: Context) -> Sequence[Upstream]:
        """The artifact."""
        return [Upstream(self.artifact, "all" if self.partitioned else "one")]

    def value(self, run: Run) -> Any:
        """The document; None where it isn't there."""
        owner = run.graph.asset(self.artifact)
        if not self.partitioned:
            return run.store.read_document(owner, self.file)
        keys = run.params.keys(owner.partitions) if owner.partitions else []
        return {key: run.store.find_document(owner, self.file, key) for key in keys}


@dataclass(frozen=True)
class Versions(Input):
    """Data versions of all parts of an upstream artifact, by stage name.

    Attributes:
        artifact: Its name.
    """

    artifact: str

    def upstream(self, _context: Context) -> Sequence[Upstream]:
        """The artifact."""
        return [Upstream(self.artifact, "all")]

    def value(self, run: Run) -> dict[str, str | None]:
        """DVC's md5 of what lies on disk."""
        return {stage.name: run.graph.data_version(stage) for stage in run.graph.of(self.artifact)}


@dataclass(frozen=True)
class Folder(Input):
    """Folder of an upstream artifact, or of its same partition.

    Attributes:
        artifact: Its name.
    """

    artifact: str

    def upstream(self, _context: Context) -> Sequence[Upstream]:
        """The artifact."""
        return [Upstream(self.artifact)]

    def value(self, run: Run) -> Path:
        """Where it lies."""
        return run.folder(self.artifact)


def value_at(params: ProjectParams, path: str) -> Any:
    """The typed value under a dotted key path."""
    found: Any = params
    for part in path.split("."):
        found = found[part] if isinstance(found, Mapping) else getattr(found, part)
    return found


@dataclass(frozen=True)
class _TableInput(Input):
    schema: type[Schema]
    mode: Mode

    def upstream(self, _context: Context) -> Sequence[Upstream]:
        return [Upstream(self.schema, self.mode)]

    def value(self, run: Run) -> pl.DataFrame:
        return run.read(self.schema, self.mode)


@dataclass(frozen=True)
class _PartsInput(Input):
    schema: type[Schema]

    def upstream(self, _context: Context) -> Sequence[Upstream]:
        return [Upstream(self.schema, "all")]

    def value(self, run: Run) -> dict[str, pl.DataFrame]:
        return run.read_parts(self.schema)


@dataclass(frozen=True)
class _PicturesInput(Input):
    schema: type[Schema]

    def upstream(self, _context: Context) -> Sequence[Upstream]:
        return [Upstream(self.schema)]

    def value(self, run: Run) -> Mapping[str, ImageRef]:
        return run.pictures(self.schema)


class _TaxonomyInput(Input):
    def sources(self, _context: Context) -> Sequence[Source]:
        return [Source("params/taxonomy", ("taxonomy",), ("${taxonomy.file}",))]

    def value(self, run: Run) -> Taxonomy:
        return load_taxonomy(run.project.root / run.params.taxonomy.file)


class _PartitionInput(Input):
    def value(self, run: Run) -> str:
        return run.key


class _OutputInput(Input):
    def value(self, run: Run) -> Path:
        return run.staging


class _ScriptedInput(Input):
    def value(self, run: Run) -> list[str]:
        return scripted_entries(run.graph, run.stage)


class _ProgressInput(Input):
    def value(self, run: Run) -> Progress:
        return run.progress
