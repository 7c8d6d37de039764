"""What making everything would ask of models, found without asking: the assets' own functions, on tables in memory.

A stage that would run is run here with clients that count, and with stand-ins for answers that are still to be written;
what it makes goes to the stages behind it and nowhere else. Calls whose prompts are known are exact. Behind
answers or weights that aren't there yet all calls count as missing, and rows that parsers or filters would drop
are still in: an upper bound.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from spavl_dag.errors import MissingInputError
from spavl_dag.inference.client import ModelClient
from spavl_dag.inference.ledger import Ledger
from spavl_dag.inference.planning import PlannedCalls, PlanningClient
from spavl_dag.pipeline.clients import Clients
from spavl_dag.pipeline.declaration import Asset
from spavl_dag.pipeline.graph import Graph, Stage
from spavl_dag.pipeline.layout import Project
from spavl_dag.pipeline.run import Run, image_refs
from spavl_dag.pipeline.store import Store
from spavl_dag.pipeline.weights import ResolvedModel, Weights
from spavl_dag.progress import Progress, no_progress

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from spavl_dag.inference.request import ImageRef
    from spavl_dag.schemas import Table as Schema

Tables = dict[str, pl.DataFrame]
Part = tuple[str, str | None]


@dataclass
class Plan:
    """What would be done.

    Attributes:
        calls: By stage, what each client would ask.
        trainings: Stages that train.
        unknown: Stages of which nothing can be said, with the reason.
        exact: Stages whose calls are exact; those of the others are an upper bound.
    """

    calls: dict[str, list[PlannedCalls]] = field(default_factory=dict)
    trainings: list[str] = field(default_factory=list)
    unknown: dict[str, str] = field(default_factory=dict)
    exact: set[str] = field(default_factory=set)


def make_plan(
    graph: Graph, stages: Sequence[Stage], is_stale: Callable[[Stage], bool], progress: Progress = no_progress
) -> Plan:
    """Find out what would be asked.

    Args:
        graph: The project's artifacts.
        stages: What is wanted, in an order in which it can be made.
        is_stale: Whether a stage would run by itself.
        progress: Told about stages.
    """
    plan, made = Plan(), _Made({}, set(), set())
    with _ledger_of(graph.project) as ledger, tempfile.TemporaryDirectory() as folder:
        for number, stage in enumerate(stages, 1):
            behind = [(up.artifact, up.partition) for up in graph.behind(stage)]
            if is_stale(stage) or any(part in made.planned for part in behind):
                _plan_stage(graph, stage, plan, made, ledger, Path(folder) / str(number))
            progress("looking", number, len(stages))
    return plan


@dataclass
class _Made:
    """What was planned so far: by part of an artifact its tables and folder, the parts, and those of stand-ins."""

    tables: dict[Part, Tables]
    planned: set[Part]
    guessed: set[Part]
    folders: dict[Part, Path] = field(default_factory=dict)


def _plan_stage(graph: Graph, stage: Stage, plan: Plan, made: _Made, ledger: Ledger, folder: Path) -> None:
    asset, part = graph.asset(stage.artifact), (stage.artifact, stage.partition)
    made.planned.add(part)
    if asset.trains:
        plan.trainings.append(stage.name)
        made.guessed.add(part)
        return
    folder.mkdir()
    made.folders[part] = folder
    calls: list[PlannedCalls] = []
    run = _PlannedRun(graph, stage, ledger, folder)
    run.store, run.calls, run.made = _PlannedStore(graph.project, made), calls, made
    try:
        inputs = {name: declared.value(run) for name, declared in asset.inputs.items()}
        result = asset.function(**inputs)
    except Exception as error:  # stand-ins need not be what a function can work with
        if asset.uses_models or not isinstance(error, MissingInputError):
            plan.unknown[stage.name] = getattr(error, "message", None) or f"{type(error).__name__} on stand-in rows"
        made.guessed.add(part)
        return
    made.tables[part] = {spec.name: table for spec, table in zip(asset.tables, result.tables, strict=True)}
    read = {(up.artifact, up.partition) for up in graph.behind(stage)}
    guessed = bool(read & made.guessed)
    if calls:
        plan.calls[stage.name] = calls
        if not guessed:
            plan.exact.add(stage.name)
    if guessed or any(each.missing for each in calls):
        made.guessed.add(part)


class _PlannedStore(Store):
    def __init__(self, project: Project, made: _Made) -> None:
        super().__init__(project)
        self._made = made

    def read(self, asset: Asset, table: str, partition: str | None = None) -> pl.DataFrame:
        part = (asset.name, partition)
        if part not in self._made.planned:
            return super().read(asset, table, partition)
        if part not in self._made.tables:
            raise MissingInputError(f"it needs {asset.name}")
        return self._made.tables[part][table]


@dataclass
class _PlannedRun(Run):
    calls: list[PlannedCalls] = field(default_factory=list)
    made: _Made = field(init=False)

    def pictures(self, schema: type[Schema]) -> dict[str, ImageRef]:
        asset, _ = self.graph.owner(schema)
        folder = self.made.folders.get((asset.name, None))
        if folder is None:
            return super().pictures(schema)
        return image_refs(self.read(schema, "one").filter(pl.col("image_id").is_not_null()), folder)

    @cached_property
    def weights(self) -> Weights:
        base = self.project.root / self.graph.asset("base_model").out()
        weights = _PlannedWeights(self.project.root, base, self.graph.hasher)
        weights.remade = {
            self.project.root / self.graph.asset(artifact).out(partition) for artifact, partition in self.made.planned
        }
        return weights

    @cached_property
    def models(self) -> Clients:
        owner = (self.stage.artifact, self.stage.partition)
        clients = _PlannedClients(self.project.root, self.params, self.weights, self.ledger, owner, self.progress)
        clients.told = self.calls.append
        return clients


class _PlannedClients(Clients):
    told: Callable[[PlannedCalls], None]

    def _make_client(self, *arguments: Any, **named: Any) -> ModelClient:
        return PlanningClient(self.told, *arguments, **named)


class _PlannedWeights(Weights):
    remade: set[Path]

    def of_artifact(self, folder: Path, name: str) -> ResolvedModel:
        if folder in self.remade or not folder.is_dir():
            return ResolvedModel(str(folder), name, "to be made", None)
        return super().of_artifact(folder, name)


@contextmanager
def _ledger_of(project: Project) -> Iterator[Ledger]:
    """The project's ledger, or an empty one where there is none yet."""
    if project.ledger.exists():
        with Ledger(project.ledger, read_only=True) as ledger:
            yield ledger
        return
    with tempfile.TemporaryDirectory() as folder, Ledger(Path(folder) / "ledger.db") as ledger:
        yield ledger
