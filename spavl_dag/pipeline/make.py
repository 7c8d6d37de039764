"""Making an artifact: the one code path behind the Dagster asset, `spavl run` and `dvc repro`.

Order: hash what it depends on, call the function, check the tables, replace the artifact, hash again. Whatever fails
before the replacing leaves the old artifact as it was; model calls made until then stay in the ledger.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from spavl_dag.errors import InvalidRowsError, MissingInputError
from spavl_dag.inference.client import CallCounts
from spavl_dag.inference.ledger import Ledger
from spavl_dag.pipeline.checks import Outcome, run_checks
from spavl_dag.pipeline.declaration import Asset
from spavl_dag.pipeline.graph import Fingerprint, Graph, Stage
from spavl_dag.pipeline.rehearsal import refuse_rehearsal, scripted_entries, table_metadata
from spavl_dag.pipeline.result import AnyResult, Result, Summary, Training
from spavl_dag.pipeline.run import CurveCallback, Run, no_curve
from spavl_dag.pipeline.store import Store
from spavl_dag.progress import Progress, no_progress


@dataclass(frozen=True, slots=True)
class Content:
    """What an artifact holds, by name.

    Attributes:
        tables: Frames.
        documents: JSON documents by file name.
        summary: What people should see of it.
    """

    tables: Mapping[str, pl.DataFrame]
    documents: Mapping[str, Any]
    summary: Summary


@dataclass(frozen=True, slots=True)
class Finished:
    """An artifact that was made and kept.

    Attributes:
        stage: Its stage.
        asset: Its declaration.
        before: What it was made from.
        content: Tables, documents and summary.
        training: What was trained, for a checkpoint.
        outcomes: An outcome per check.
        counts: Model calls.
        data_version: Content hash of what others read of the artifact.
        meanwhile: What changed while it was made; then it must not be recorded.
        seconds: Wall time.
    """

    stage: Stage
    asset: Asset
    before: Fingerprint
    content: Content
    training: Training | None
    outcomes: list[Outcome]
    counts: CallCounts
    data_version: str
    meanwhile: list[str]
    seconds: float


class BrokenError(InvalidRowsError):
    """Rows broke a schema or a check; the artifact was not replaced."""

    def __init__(self, name: str, outcomes: list[Outcome], files: list[Path]) -> None:
        lines = [f"{name}: {sum(o.blocks for o in outcomes)} check(s) failed; nothing was replaced"]
        for outcome in outcomes:
            if outcome.blocks:
                ids = f"; first ids: {', '.join(outcome.ids)}" if outcome.ids else ""
                lines.append(f"  {outcome.check}: {outcome.failing.height} row(s){ids}")
                lines += [f"    {detail}" for detail in outcome.details]
        super().__init__("\n".join(lines), "Failing rows: " + ", ".join(str(file) for file in files))
        self.outcomes = outcomes


def make(
    graph: Graph,
    stage: Stage,
    progress: Progress = no_progress,
    curve: CurveCallback = no_curve,
    *,
    wait: bool = False,
    retry_failed: bool = False,
) -> Finished:
    """Make an artifact and put it in its place.

    Args:
        graph: The project's artifacts, as read from disk just now.
        stage: What to make.
        progress: Told about long work.
        curve: Told about a training's curve.
        wait: Whether to wait for another process that makes it; else that is an error.
        retry_failed: Whether calls that ended in a permanent error are made again.

    Raises:
        SpavlError: A missing input, a busy artifact, failed calls, scripted answers where they may not be, or (as
            BrokenError) bad rows.
    """
    started = time.monotonic()
    asset = graph.asset(stage.artifact)
    store = Store(graph.project)
    with store.lock(asset, stage.partition, wait=wait), Ledger(graph.project.ledger) as ledger:
        refuse_rehearsal(graph, stage)
        before = graph.fingerprint(stage)
        if before.missing:
            raise MissingInputError(
                f"{stage.name} needs what is not there: {', '.join(before.missing)}",
                "Make what is missing first, or everything up to here with `dvc repro`.",
            )
        staging = store.staging(asset, stage.partition)
        run = Run(graph, stage, ledger, staging, progress, curve, retry_failed)
        inputs = {name: declared.value(run) for name, declared in asset.inputs.items()}
        with _seldom_collecting():
            result = asset.function(**inputs)
        tables = {spec.name: table for spec, table in zip(asset.tables, result.tables, strict=True)}
        summary = summarize(asset, result, staging)
        outcomes = run_checks(asset, tables, inputs, summary.metrics, graph.params.runtime.max_failed_share)
        failing = {o.check: o.failing for o in outcomes if not o.passed and not o.failing.is_empty()}
        files = store.keep_failures(asset, stage.partition, failing)
        if any(outcome.blocks for outcome in outcomes):
            raise BrokenError(stage.name, outcomes, files)
        store.write(staging, tables, result.documents, table_metadata(scripted_entries(graph, stage)))
        store.replace(staging, asset, stage.partition)
    now = graph.with_fresh_eyes()
    after = now.fingerprint(stage)
    version = now.data_version(stage)
    assert version is not None, f"{stage.name} made nothing"
    return Finished(
        stage=stage,
        asset=asset,
        before=before,
        content=Content(tables, result.documents, summary),
        training=result.training,
        outcomes=outcomes,
        counts=run.models.counts,
        data_version=version,
        meanwhile=after.changes(before),
        seconds=time.monotonic() - started,
    )


@contextmanager
def _seldom_collecting() -> Iterator[None]:
    """Python looks for garbage less often: among a million rows that are just being made there is none.

    It costs a quarter of the time of a stage otherwise.
    """
    usual = gc.get_threshold()
    gc.set_threshold(50_000, 20, 100)
    try:
        yield
    finally:
        gc.set_threshold(*usual)


def read_content(graph: Graph, stage: Stage) -> Content:
    """An artifact as it lies on disk, whoever made it.

    Raises:
        MissingInputError: It isn't whole.
    """
    asset, store = graph.asset(stage.artifact), Store(graph.project)
    tables = [store.read(asset, spec.name, stage.partition) for spec in asset.tables]
    folder = graph.project.root / asset.out(stage.partition)
    names = sorted(file.name for file in folder.glob("*.json"))
    documents = {name: store.read_document(asset, name, stage.partition) for name in names}
    summary = summarize(asset, Result(*tables, documents=documents), folder)
    return Content({spec.name: table for spec, table in zip(asset.tables, tables, strict=True)}, documents, summary)


def check_content(graph: Graph, stage: Stage, content: Content) -> Sequence[Outcome]:
    """The checks of an artifact as it lies on disk; needs what it was made from, and asks no model.

    Raises:
        SpavlError: Something that it was made from is missing.
    """
    asset = graph.asset(stage.artifact)
    with Ledger(graph.project.ledger) as ledger:
        run = Run(graph, stage, ledger, graph.project.work)
        inputs = {name: declared.value(run) for name, declared in asset.inputs.items()}
    share = graph.params.runtime.max_failed_share
    return run_checks(asset, content.tables, inputs, content.summary.metrics, share)


def summarize(asset: Asset, result: AnyResult, folder: Path) -> Summary:
    """What people should see of an artifact; numbers of the making itself are added to the summary's."""
    result.folder = folder
    summary = asset.summary(result) if asset.summary else Summary()
    summary.metrics = {**result.metrics, **summary.metrics}
    return summary
