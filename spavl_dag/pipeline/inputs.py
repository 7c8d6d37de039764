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

from spavl_dag.inference.client import ModelClient
from spavl_dag.inference.request import ImageRef
from spavl_dag.names import PartitionKind
from spavl_dag.params.models import BASE_MODEL, ModelEntry
from spavl_dag.params.sections import Params as ProjectParams
from spavl_dag.pipeline.declaration import Context, Input, Mode, Source, Upstream
from spavl_dag.pipeline.kept import KeptTrainings
from spavl_dag.pipeline.run import Run
from spavl_dag.pipeline.trainer import Trainer
from spavl_dag.progress import Progress
from spavl_dag.schemas import Images
from spavl_dag.schemas import Table as Schema
from spavl_dag.taxonomy import Taxonomy, load_taxonomy

S = TypeVar("S", bound=Schema)

Seed = NewType("Seed", int)
"""The project's seed."""

PartitionKey = NewType("PartitionKey", str)
"""The partition that is made."""

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


class Role(ModelClient):
    """Asks the model of the role that the parameter is named after."""


class ByPartition(dict[str, pl.DataFrame], Generic[S]):
    """Rows of all partitions of that table, by partition, in the order of params.yaml."""


class AnsweringModel(ModelClient):
    """Asks the answering model of the partition."""


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
    if kind is Role:
        return _RoleInput(name, optional)
    simple: Mapping[Any, Callable[[], Input]] = {
        AnsweringModel: _AnsweringInput,
        Taxonomy: _TaxonomyInput,
        Seed: lambda: Params("seed"),
        PartitionKey: _PartitionInput,
        OutputFolder: _OutputInput,
        Trainer: _TrainerInput,
        KeptTrainings: _KeptInput,
        Progress: _ProgressInput,
    }
    made = next((make for known, make in simple.items() if known == hint), None)
    return made() if made else None


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
class ModelParams(Input):
    """A section of params.yaml that names a model, and the weights that it names.

    Attributes:
        path: Its key path, such as "reward_model".
    """

    path: str

    def upstream(self, context: Context) -> Sequence[Upstream]:
        """The base model, if that is meant."""
        return model_upstream(value_at(context.params, self.path))

    def sources(self, context: Context) -> Sequence[Source]:
        """The section, and local weights."""
        files = local_weights(context.root, {self.path: value_at(context.params, self.path)})
        return [Source(f"params/{self.path.replace('.', '/')}", (self.path,), files)]

    def value(self, run: Run) -> Any:
        """The section, typed and checked."""
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
class Roles(Input):
    """Several roles that params choose, by name.

    Attributes:
        choose: From params to the roles: what they are called, and their key of `roles`.
        asked_of: Key path of params that the choice depends on.
    """

    choose: Callable[[ProjectParams], Mapping[str, str]]
    asked_of: str
    uses_model = True

    def upstream(self, context: Context) -> Sequence[Upstream]:
        """Artifacts that they are."""
        return [up for role in self.choose(context.params).values() for up in _RoleInput(role).upstream(context)]

    def sources(self, context: Context) -> Sequence[Source]:
        """What they are made of, and what chooses them."""
        chosen = [
            source for role in self.choose(context.params).values() for source in _RoleInput(role).sources(context)
        ]
        return [*Params(self.asked_of).sources(context), *chosen]

    def value(self, run: Run) -> dict[str, ModelClient]:
        """Their clients."""
        return {name: run.models.role(role) for name, role in self.choose(run.params).items()}


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
class ExperimentEntry(Input):
    """The entry of the partition's experiment."""

    def upstream(self, context: Context) -> Sequence[Upstream]:
        """The base model, where one of them starts from it."""
        return list(dict.fromkeys(up for entry in context.params.experiments.values() for up in model_upstream(entry)))

    def sources(self, context: Context) -> Sequence[Source]:
        """The entry, and local weights."""
        return [
            Source("experiments", ("experiments.{key}",), partitions="experiments"),
            *weights_of(context, "experiments"),
        ]

    def value(self, run: Run) -> Any:
        """The entry, typed and checked."""
        return run.params.experiments[run.key]


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


@dataclass(frozen=True)
class CheckpointClients(Input):
    """Asks the checkpoint of the partition, a client for each benchmark: with its prompt, else the policy's."""

    uses_model = True

    def upstream(self, context: Context) -> Sequence[Upstream]:
        """The checkpoint, and what it may refer to."""
        return [Upstream("checkpoints"), *ExperimentEntry().upstream(context)]

    def sources(self, context: Context) -> Sequence[Source]:
        """How it is asked."""
        benchmarks = context.params.evaluation.benchmarks
        prompts = tuple(f"${{evaluation.benchmarks.{name}.prompt}}" for name, one in benchmarks.items() if one.prompt)
        asked = Source("params/evaluation/benchmarks", ("evaluation.benchmarks",))
        return [
            *POLICY,
            asked,
            *([Source("prompts/benchmarks", files=prompts)] if prompts else []),
            *weights_of(context, "experiments"),
        ]

    def value(self, run: Run) -> dict[str, ModelClient]:
        """The clients, by benchmark."""
        return {
            name: run.models.checkpoint(run.key, run.folder("checkpoints"), one.prompt, one.max_new_tokens)
            for name, one in run.params.evaluation.benchmarks.items()
        }


SEED = Source("params/seed", ("seed",))
POLICY = (Source("params/policy", ("policy",), ("${policy.prompt}",)), SEED)
"""How the model that is aligned is asked, in training and in evaluation."""


def value_at(params: ProjectParams, path: str) -> Any:
    """The typed value under a dotted key path."""
    found: Any = params
    for part in path.split("."):
        found = found[part] if isinstance(found, Mapping) else getattr(found, part)
    return found


def model_upstream(entry: ModelEntry | Any) -> list[Upstream]:
    """The artifact that an entry's `model` is, if it is one."""
    return [Upstream(BASE_MODEL)] if entry.model == BASE_MODEL else []


def local_weights(root: Path, entries: Mapping[str, Any]) -> tuple[str, ...]:
    """Folders of the project that entries name as their model, by the entries' key paths, as files of a source."""
    return tuple(f"${{{path}.model}}" for path, entry in entries.items() if is_local(root, entry.model))


def is_local(root: Path, model: str) -> bool:
    """Whether a `model:` names a folder of weights and no hub id."""
    return model != BASE_MODEL and (model.startswith((".", "/")) or (root / model).is_dir())


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


@dataclass(frozen=True)
class _RoleInput(Input):
    role: str
    optional: bool = False
    uses_model = True

    def _entry(self, params: ProjectParams) -> ModelEntry | None:
        entry: ModelEntry | None = getattr(params.roles, self.role)
        return entry

    def upstream(self, context: Context) -> Sequence[Upstream]:
        entry = self._entry(context.params)
        return model_upstream(entry) if entry else []

    def sources(self, context: Context) -> Sequence[Source]:
        entry, path = self._entry(context.params), f"roles.{self.role}"
        files: tuple[str, ...] = ()
        if entry is not None:
            files = (f"${{{path}.prompt}}", *local_weights(context.root, {path: entry}))
        return [SEED, Source(f"roles/{self.role}", (path,), files)]

    def value(self, run: Run) -> ModelClient | None:
        return run.models.role(self.role) if self._entry(run.params) else None


class _AnsweringInput(Input):
    uses_model = True

    def upstream(self, context: Context) -> Sequence[Upstream]:
        return list(dict.fromkeys(up for entry in context.params.models.values() for up in model_upstream(entry)))

    def sources(self, context: Context) -> Sequence[Source]:
        own = Source("models", ("models.{key}",), ("${models.{key}.prompt}",), "models")
        return [SEED, own, *weights_of(context, "models")]

    def value(self, run: Run) -> ModelClient:
        return run.models.answering(run.key)


def weights_of(context: Context, section: PartitionKind) -> list[Source]:
    """Local weights that any entry of a section names.

    `foreach` in dvc.yaml can't give its items different dependencies, so those of one entry count for all of them.
    """
    entries = {f"{section}.{key}": entry for key, entry in getattr(context.params, section).items()}
    folders = local_weights(context.root, entries)
    return [Source(f"params/{section}_weights", files=folders)] if folders else []


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


class _ProgressInput(Input):
    def value(self, run: Run) -> Progress:
        return run.progress


class _KeptInput(Input):
    uses_model = True

    def value(self, run: Run) -> KeptTrainings:
        return KeptTrainings(run)


class _TrainerInput(Input):
    uses_model = True

    def upstream(self, _context: Context) -> Sequence[Upstream]:
        return [Upstream(Images)]

    def sources(self, _context: Context) -> Sequence[Source]:
        return list(POLICY)

    def value(self, run: Run) -> Trainer:
        return Trainer(run)
