"""`spavl run`, `spavl demo` and `spavl sync`: the DAG, one artifact or all of them, in this process."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import Any

from rich.console import Console
from rich.table import Table

from spavl_dag.cli.params import ready_params
from spavl_dag.cli.progress import ProgressReporter
from spavl_dag.integrations.dvc.command import inside_repro
from spavl_dag.integrations.dvc.commit import DvcCommit
from spavl_dag.integrations.dvc.lock import Lock
from spavl_dag.integrations.dvc.stages_file import refuse_outdated
from spavl_dag.integrations.recording import make_and_record
from spavl_dag.pipeline.graph import Graph, Stage
from spavl_dag.pipeline.layout import Project
from spavl_dag.pipeline.load import load_graph
from spavl_dag.pipeline.store import UNREADABLE


def run_artifact(project: Project, artifact: str, partition: str | None, *, retry_failed: bool = False) -> None:
    """Make one artifact.

    Args:
        project: The project.
        artifact: Which.
        partition: Which part of it, where it has some.
        retry_failed: Whether calls that ended in a permanent error are made again.

    Raises:
        SpavlError: It could not be made; the old one is untouched.
    """
    graph = load_graph(project)
    stage = graph.get(artifact, partition)
    refuse_outdated(graph)
    if not inside_repro():
        _refuse_path(project)
    started = time.monotonic()
    with ProgressReporter() as progress:
        make_and_record(graph, stage, DvcCommit(graph), progress, retry_failed=retry_failed)
    Console(stderr=True).print(f"made {stage.name} in {time.monotonic() - started:.1f} s", highlight=False)
    if not inside_repro():  # there, every second counts, and the sensor of `dagster dev` and `spavl ui` see to it
        _tell_dagster(graph)


def make_one(project: Project, artifact: str) -> None:
    """Make an artifact and what it needs, as far as they are stale.

    Raises:
        SpavlError: A stage failed; what was made before it is kept and recorded.
    """
    graph = load_graph(project)
    refuse_outdated(graph)
    _refuse_path(project)
    _make_stale(graph, artifact)


def run_everything(project: Project, to: str | None) -> None:
    """Make what isn't up to date, in order, and print what there is.

    Raises:
        SpavlError: A stage failed; what was made before it is kept and recorded.
    """
    started = time.monotonic()
    graph = load_graph(project)
    if to is not None:
        graph.asset(to)
    refuse_outdated(graph)
    _refuse_path(project)
    before = _ledger_size(project)
    made = _make_stale(graph, to)
    _print_made(graph, made, before, time.monotonic() - started)


def synchronize_tools(project: Project) -> None:
    """Report to Dagster and MLflow what DVC restored or made."""
    from spavl_dag.integrations.mlflow.sync import synchronize_mlflow

    _refuse_path(project)
    graph = load_graph(project)
    console = Console()
    for tool, reported in (("Dagster", _tell_dagster(graph)), ("MLflow", synchronize_mlflow(graph))):
        told = ", ".join(reported) if reported else f"nothing; {tool} knew all of it"
        console.print(f"reported to {tool}: {told}", highlight=False, soft_wrap=True)


def wanted_stages(graph: Graph, to: str | None) -> list[Stage]:
    """All stages, or those that the given artifact needs, in an order in which they can run."""
    if to is None:
        return list(graph.stages)
    wanted = graph.of(to)
    return [*graph.behind(*wanted), *wanted]


def _make_stale(graph: Graph, to: str | None) -> list[str]:
    """Make each stage that is stale when its turn comes; record the parts of one artifact together."""
    order = wanted_stages(graph, to)
    lock = Lock(graph)
    if not any(lock.why_stale(stage) for stage in order):
        graph.hasher.save()
        return []
    ready_params(graph.project)  # what can be known to be wrong is told before the first call
    console = Console(stderr=True)
    commit = DvcCommit(graph)
    made: list[str] = []
    try:
        for artifact in dict.fromkeys(stage.artifact for stage in order):
            now = graph.with_fresh_eyes()
            lock = Lock(now)
            stale = [stage for stage in order if stage.artifact == artifact and lock.why_stale(stage)]
            with commit.deferred():
                for stage in stale:
                    begun = time.monotonic()
                    with ProgressReporter() as progress:
                        make_and_record(now, stage, commit, progress)
                    console.print(f"made {stage.name} in {time.monotonic() - begun:.1f} s", highlight=False)
                    made.append(stage.name)
    finally:
        if made:
            _tell_dagster(graph.with_fresh_eyes())
    return made


def _refuse_path(project: Project) -> None:
    """Before anything is made: afterwards Dagster couldn't be told of it."""
    from spavl_dag.integrations.dagster.instance import refuse_path

    refuse_path(project)


def _tell_dagster(graph: Graph) -> list[str]:
    from spavl_dag.integrations.dagster.definitions import build_definitions
    from spavl_dag.integrations.dagster.instance import clear_store_errors, open_instance
    from spavl_dag.integrations.dagster.sync import synchronize

    definitions = build_definitions(graph.project, graph.assets.values())
    with clear_store_errors(graph.project), open_instance(graph.project) as instance:
        return synchronize(graph.with_fresh_eyes(), definitions, instance)


def _ledger_size(project: Project) -> int:
    from spavl_dag.inference.ledger import Ledger

    with Ledger(project.ledger) as ledger:
        return ledger.count()


def _print_made(graph: Graph, made: list[str], calls_before: int, seconds: float) -> None:
    import polars as pl

    console = Console()
    table = Table(title="What there is")
    for column, justify in (("artifact", "left"), ("made now", "left"), ("rows", "right"), ("where", "left")):
        table.add_column(column, justify=justify)  # type: ignore[arg-type]
    for artifact, asset in graph.assets.items():
        parts = graph.of(artifact)
        now = sum(stage.name in made for stage in parts)
        told = "no" if not now else "yes" if len(parts) == 1 else f"{now} of {len(parts)}"
        rows: Any = ""
        if asset.tables:
            folders = [graph.project.root / asset.out(stage.partition) for stage in parts]
            files = [folder / f"{asset.tables[0].name}.parquet" for folder in folders]
            with suppress(*UNREADABLE):  # one that this run had nothing to do with may be damaged
                rows = sum(
                    pl.scan_parquet(file, glob=False).select(pl.len()).collect().item()
                    for file in files
                    if file.is_file()
                )
        table.add_row(artifact, told, f"{rows:,}" if rows != "" else "", f"{asset.out()}/")
    console.print(table)
    calls = _ledger_size(graph.project)
    console.print(
        f"{calls - calls_before:,} model calls made now, {calls:,} in the ledger; this took {seconds:.0f} s",
        highlight=False,
    )
    _print_result(graph, console)
    console.print(
        "Look: `spavl ui` (Dagster and MLflow), data/dataset/README.md (data card), `spavl status`, `spavl trace ID`",
        highlight=False,
    )


def _print_result(graph: Graph, console: Console) -> None:
    """How often each checkpoint is judged unsafe, and where the report is; nothing where there is none yet."""
    import polars as pl

    board = graph.project.root / graph.asset("report").out() / "leaderboard.csv"
    if not board.is_file():
        return
    rates = [
        f"{name} {100 * rate:.1f} %"
        for name, rate in pl.read_csv(board, glob=False).select("checkpoint", "unsafe_rate").rows()
        if rate is not None
    ]
    if rates:
        console.print(f"HarmEval unsafe rate: {', '.join(rates)}", highlight=False)
    console.print(f"The report: {board.with_name('report.html').relative_to(graph.project.root)}", highlight=False)
