"""Making an artifact: the one code path behind the Dagster asset, `spavl run` and `dvc repro`.

Order: hash what it depends on, run the function, check the tables, replace the artifact, hash again. Whatever fails
before the replacing leaves the old artifact as it was; model calls made until then stay in the ledger.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from spavl_dag.errors import InvalidRowsError, MissingInputError
from spavl_dag.inference.client import CallCounts
from spavl_dag.inference.ledger import Ledger
from spavl_dag.params.project import Params, load_params
from spavl_dag.pipeline.hashing import ContentHasher
from spavl_dag.pipeline.layout import ARTIFACTS, Project
from spavl_dag.pipeline.recipe import Recipe
from spavl_dag.pipeline.run import CurveCallback, Run, no_curve
from spavl_dag.pipeline.stages import Fingerprint, Stage, Stages
from spavl_dag.pipeline.store import Made, Store
from spavl_dag.pipeline.validation import Outcome, validate
from spavl_dag.progress import Progress, no_progress
from spavl_dag.rules import Scope


@dataclass(frozen=True, slots=True)
class Finished:
    """An artifact that was made and kept.

    Attributes:
        stage: Its stage.
        before: What it was made from.
        made: Tables, metadata and metrics.
        outcomes: An outcome per check.
        counts: Model calls.
        fields: What a comparison of runs should show.
        data_version: Content hash of what others read of the artifact.
        meanwhile: What changed while it was made; then it must not be recorded.
        seconds: Wall time.
    """

    stage: Stage
    before: Fingerprint
    made: Made
    outcomes: list[Outcome]
    counts: CallCounts
    fields: dict[str, object]
    data_version: str
    meanwhile: list[str]
    seconds: float


class BrokenError(InvalidRowsError):
    """Rows broke a schema or a rule; the artifact was not replaced."""

    def __init__(self, name: str, outcomes: list[Outcome], files: list[Path]) -> None:
        """Name the broken checks, their first failing ids, and where all failing rows are."""
        lines = [f"{name}: {sum(o.blocks for o in outcomes)} check(s) failed; nothing was replaced"]
        for outcome in outcomes:
            if outcome.blocks:
                ids = f"; first ids: {', '.join(outcome.ids)}" if outcome.ids else ""
                lines.append(f"  {outcome.check}: {outcome.failing.height} row(s){ids}")
                lines += [f"    {detail}" for detail in outcome.details]
        super().__init__("\n".join(lines), "Failing rows: " + ", ".join(str(file) for file in files))
        self.outcomes = outcomes


def make(
    project: Project,
    recipe: Recipe,
    partition: str | None = None,
    progress: Progress = no_progress,
    watch: CurveCallback = no_curve,
) -> Finished:
    """Make an artifact and put it in its place.

    Args:
        project: The project.
        recipe: The artifact and its function.
        partition: Which part, for artifacts that have some.
        progress: Told about long work.
        watch: Told about a training's curve.

    Raises:
        SpavlError: Bad params, a missing input, a busy artifact, failed calls, or (as BrokenError) bad rows.
    """
    started = time.monotonic()
    params = load_params(project.params_file)
    stages = Stages(project)
    stage = stages.get(recipe.name, partition)
    before = stages.fingerprint(stage)
    if before.missing:
        raise MissingInputError(
            f"{stage.name} needs what is not there: {', '.join(before.missing)}",
            "Make what is missing first, or everything up to here with `dvc repro`.",
        )
    store = Store(project)
    with store.lock(recipe.name, partition), Ledger(project.ledger) as ledger:
        staging = store.staging(recipe.name, partition)
        run = Run(project, params, recipe.name, partition, ledger, stages.hasher, staging, progress, watch)
        made = recipe.function(run)
        outcomes = validate(recipe.name, _scope(run, made))
        failing = {o.check: o.failing for o in outcomes if not o.passed and not o.failing.is_empty()}
        files = store.keep_failures(recipe.name, partition, failing)
        if any(outcome.blocks for outcome in outcomes):
            raise BrokenError(stage.name, outcomes, files)
        store.write(staging, made)
        store.replace(staging, recipe.name, partition)
    hasher = ContentHasher(project.root, project.work / "hashes.json")
    now = Stages(project, hasher)
    after = now.fingerprint(stage)
    version = now.data_version(recipe.name, partition)
    hasher.save()
    assert version is not None, f"{stage.name} made nothing"
    return Finished(
        stage=stage,
        before=before,
        made=made,
        outcomes=outcomes,
        counts=run.counts,
        fields=run.log_fields(),
        data_version=version,
        meanwhile=after.changes(before),
        seconds=time.monotonic() - started,
    )


def _scope(run: Run, made: Made) -> Scope:
    def read(artifact: str) -> pl.DataFrame:
        if ARTIFACTS[artifact].partitions:
            return run.all_parts(artifact)
        return run.table(artifact)

    params: Params = run.params
    return Scope(
        made=made.tables,
        read=read,
        classes=frozenset(harm.slug for harm in run.taxonomy.classes),
        models=tuple(params.models),
        eval_questions=params.dataset.eval_questions_per_class,
        metrics=made.metrics,
    )
