"""`spavl run`, `spavl demo` and `spavl sync`: the DAG, one artifact or all of them, in this process."""

from __future__ import annotations

import importlib
import sys
import time
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from spavl_dag.cli.progress import ProgressReporter
from spavl_dag.errors import SpavlError
from spavl_dag.params.load import load_params
from spavl_dag.pipeline.layout import Project, artifact_kind
from spavl_dag.pipeline.stages import Stage, Stages

if TYPE_CHECKING:
    import dagster as dg


def load_definitions(project: Project) -> dg.Definitions:
    """The project's own `assets` package, as Dagster would load it from the checkout."""
    load_params(project.params_file)  # a typo should be told by itself, not as an import error
    sys.path.insert(0, str(project.root))
    try:
        return importlib.import_module("assets").defs  # type: ignore[no-any-return]
    except ModuleNotFoundError as error:
        if error.name != "assets":
            raise
        raise SpavlError(
            f"{project.root} has no assets/ folder",
            "The DAG lives in the checkout; run inside a clone of it.",
        ) from error


def run_artifact(project: Project, artifact: str, partition: str | None) -> None:
    """Make one artifact.

    Raises:
        SpavlError: It could not be made; the old one is untouched.
    """
    artifact_kind(artifact)
    load_params(project.params_file)
    stage = Stages(project).get(artifact, partition)  # a wrong name is told before Dagster is loaded
    from spavl_dag.integrations.dagster.door import materialize, open_instance

    definitions = load_definitions(project)
    started = time.monotonic()
    with open_instance(project) as instance, ProgressReporter() as progress:
        materialize(project, definitions, instance, artifact, partition, progress)
    Console(stderr=True).print(f"made {stage.name} in {time.monotonic() - started:.1f} s", highlight=False)


def run_everything(project: Project, to: str | None) -> None:
    """Make what isn't up to date, in order, and print what there is.

    Raises:
        SpavlError: A stage failed; what was made before it is kept and recorded.
    """
    if to is not None:
        artifact_kind(to)
    started = time.monotonic()
    load_params(project.params_file)
    before = _ledger_size(project)
    made = _make_stale(project, to)
    _print_made(project, made, before, time.monotonic() - started)


def synchronize_dagster(project: Project) -> None:
    """Report to Dagster what DVC restored."""
    from spavl_dag.integrations.dagster.door import open_instance, synchronize

    definitions = load_definitions(project)
    with open_instance(project) as instance:
        reported = synchronize(project, definitions, instance)
    told = ", ".join(reported) if reported else "nothing; Dagster knew all of it"
    Console().print(f"reported to Dagster: {told}", highlight=False)


def wanted_stages(stages: Stages, to: str | None) -> list[Stage]:
    """All stages, or those that the given artifact needs, in an order in which they can run."""
    if to is None:
        return list(stages.all)
    wanted = stages.of(to)
    return [*stages.behind(*wanted), *wanted]


def _make_stale(project: Project, to: str | None) -> list[str]:
    """Make each stage that is stale when its turn comes; record the parts of one artifact together."""
    stages = Stages(project)
    order = wanted_stages(stages, to)
    if not any(stages.why_stale(stage) for stage in order):
        stages.hasher.save()
        return []
    from spavl_dag.integrations.dagster.door import materialize, open_instance
    from spavl_dag.integrations.dvc.command import RECORDER

    console = Console(stderr=True)
    definitions = load_definitions(project)
    made: list[str] = []
    with open_instance(project) as instance:
        for artifact in dict.fromkeys(stage.artifact for stage in order):
            now = Stages(project, stages.hasher)
            stale = [stage for stage in order if stage.artifact == artifact and now.why_stale(stage)]
            with RECORDER.deferred(project):
                for stage in stale:
                    begun = time.monotonic()
                    with ProgressReporter() as progress:
                        materialize(project, definitions, instance, stage.artifact, stage.partition, progress)
                    console.print(f"made {stage.name} in {time.monotonic() - begun:.1f} s", highlight=False)
                    made.append(stage.name)
    return made


def _ledger_size(project: Project) -> int:
    from spavl_dag.inference.ledger import Ledger

    with Ledger(project.ledger) as ledger:
        return ledger.count()


def _print_made(project: Project, made: list[str], calls_before: int, seconds: float) -> None:
    import polars as pl

    from spavl_dag.pipeline.tables import tables_of

    console = Console()
    table = Table(title="What there is")
    for column, justify in (("artifact", "left"), ("made now", "left"), ("rows", "right"), ("where", "left")):
        table.add_column(column, justify=justify)  # type: ignore[arg-type]
    stages = Stages(project)
    for artifact in dict.fromkeys(stage.artifact for stage in stages.all):
        parts = stages.of(artifact)
        now = sum(stage.name in made for stage in parts)
        told = "no" if not now else "yes" if len(parts) == 1 else f"{now} of {len(parts)}"
        rows: Any = ""
        if tables_of(artifact):
            files = [project.table(artifact, partition=stage.partition) for stage in parts]
            rows = sum(pl.scan_parquet(file).select(pl.len()).collect().item() for file in files if file.is_file())
        table.add_row(artifact, told, f"{rows:,}" if rows != "" else "", f"{artifact_kind(artifact).out()}/")
    console.print(table)
    calls = _ledger_size(project)
    console.print(
        f"{calls - calls_before:,} model calls made now, {calls:,} in the ledger; this took {seconds:.0f} s",
        highlight=False,
    )
    console.print(
        "Look: `spavl ui` (Dagster and MLflow), data/dataset/README.md (data card), `spavl status`, `spavl trace ID`",
        highlight=False,
    )
