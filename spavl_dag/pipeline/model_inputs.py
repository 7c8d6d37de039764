"""What an asset's function may ask for that runs or trains a model; the rest, and how to read both, is in `inputs`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spavl_dag.inference.client import ModelClient
from spavl_dag.names import PartitionKind
from spavl_dag.params.models import BASE_MODEL, AskedModel
from spavl_dag.params.sections import Params as ProjectParams
from spavl_dag.pipeline.declaration import Context, Input, Source, Upstream
from spavl_dag.pipeline.inputs import Params, value_at
from spavl_dag.pipeline.kept import KeptTrainings
from spavl_dag.pipeline.run import Run
from spavl_dag.pipeline.trainer import Trainer
from spavl_dag.schemas import Images

SEED = Source("params/seed", ("seed",))
POLICY = (Source("params/policy", ("policy",), ("${policy.prompt}",)), SEED)
"""How the model that is aligned is asked, in training and in evaluation."""


def model_upstream(context: Context, entry: AskedModel | Any) -> list[Upstream]:
    """The artifact that an entry's `model` is, if it is one."""
    return [Upstream(BASE_MODEL)] if entry.model == BASE_MODEL and context.params.has_weights(entry) else []


def local_weights(context: Context, entries: Mapping[str, Any]) -> tuple[str, ...]:
    """Folders of the project that entries name as their model, by the entries' key paths, as files of a source."""
    return tuple(
        f"${{{path}.model}}"
        for path, entry in entries.items()
        if is_local(context.root, entry.model) and context.params.has_weights(entry)
    )


def is_local(root: Path, model: str) -> bool:
    """Whether a `model:` names a folder of weights and no hub id."""
    return model != BASE_MODEL and (model.startswith((".", "/")) or (root / model).is_dir())


def weights_of(context: Context, section: PartitionKind) -> list[Source]:
    """Local weights that any entry of a section names.

    `foreach` in dvc.yaml can't give its items different dependencies, so those of one entry count for all of them.
    """
    entries = {f"{section}.{key}": entry for key, entry in getattr(context.params, section).items()}
    folders = local_weights(context, entries)
    return [Source(f"params/{section}_weights", files=folders)] if folders else []


def engines_of(context: Context, *names: str) -> list[Source]:
    """What params say of the engines with these names; of a kind as it is they say nothing."""
    named = [name for name in dict.fromkeys(names) if name in context.params.engines]
    return [Source(f"engines/{name}", (f"engines.{name}",)) for name in named]


class Role(ModelClient):
    """Asks the model of the role that the parameter is named after."""


class AnsweringModel(ModelClient):
    """Asks the answering model of the partition."""


def model_input_for(hint: Any, name: str, *, optional: bool) -> Input | None:
    """The input that a parameter's type stands for; None where it is none of those here."""
    if hint is Role:
        return _RoleInput(name, optional)
    simple: Mapping[Any, Callable[[], Input]] = {
        AnsweringModel: _AnsweringInput,
        Trainer: _TrainerInput,
        KeptTrainings: _KeptInput,
    }
    return simple[hint]() if hint in simple else None


@dataclass(frozen=True)
class ModelParams(Input):
    """A section of params.yaml that names a model, and the weights that it names.

    Attributes:
        path: Its key path, such as "reward_model".
    """

    path: str

    def upstream(self, context: Context) -> Sequence[Upstream]:
        """The base model, if that is meant."""
        return model_upstream(context, value_at(context.params, self.path))

    def sources(self, context: Context) -> Sequence[Source]:
        """The section, and local weights."""
        files = local_weights(context, {self.path: value_at(context.params, self.path)})
        return [Source(f"params/{self.path.replace('.', '/')}", (self.path,), files)]

    def value(self, run: Run) -> Any:
        """The section, typed and checked."""
        return value_at(run.params, self.path)


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
class ExperimentEntry(Input):
    """The entry of the partition's experiment."""

    def upstream(self, context: Context) -> Sequence[Upstream]:
        """The base model, where one of them starts from it."""
        return list(
            dict.fromkeys(up for entry in context.params.experiments.values() for up in model_upstream(context, entry))
        )

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
            *engines_of(context, context.params.policy.engine),
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


@dataclass(frozen=True)
class _RoleInput(Input):
    role: str
    optional: bool = False
    uses_model = True

    def _entry(self, params: ProjectParams) -> AskedModel | None:
        entry: AskedModel | None = getattr(params.roles, self.role)
        return entry

    def upstream(self, context: Context) -> Sequence[Upstream]:
        entry = self._entry(context.params)
        return model_upstream(context, entry) if entry else []

    def sources(self, context: Context) -> Sequence[Source]:
        entry, path = self._entry(context.params), f"roles.{self.role}"
        files: tuple[str, ...] = ()
        if entry is not None:
            template = (f"${{{path}.prompt}}",) if entry.prompt else ()
            files = (*template, *local_weights(context, {path: entry}))
        engines = engines_of(context, entry.engine) if entry else []
        return [SEED, Source(f"roles/{self.role}", (path,), files), *engines]

    def value(self, run: Run) -> ModelClient | None:
        return run.models.role(self.role) if self._entry(run.params) else None


class _AnsweringInput(Input):
    uses_model = True

    def upstream(self, context: Context) -> Sequence[Upstream]:
        return list(
            dict.fromkeys(up for entry in context.params.models.values() for up in model_upstream(context, entry))
        )

    def sources(self, context: Context) -> Sequence[Source]:
        own = Source("models", ("models.{key}",), ("${models.{key}.prompt}",), "models")
        engines = engines_of(context, *(entry.engine for entry in context.params.models.values()))
        return [SEED, own, *engines, *weights_of(context, "models")]

    def value(self, run: Run) -> ModelClient:
        return run.models.answering(run.key)


class _KeptInput(Input):
    uses_model = True
    trains = True

    def value(self, run: Run) -> KeptTrainings:
        return KeptTrainings(run)


class _TrainerInput(Input):
    uses_model = True
    trains = True

    def upstream(self, _context: Context) -> Sequence[Upstream]:
        return [Upstream(Images)]

    def sources(self, _context: Context) -> Sequence[Source]:
        return list(POLICY)

    def value(self, run: Run) -> Trainer:
        return Trainer(run)
