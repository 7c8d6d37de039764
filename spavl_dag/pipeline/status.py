"""What is made, stale or missing, and which calls failed: one answer for `dvc status`, Dagster and `spavl status`."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Literal

import polars as pl

from spavl_dag.pipeline.layout import Project
from spavl_dag.pipeline.stages import Stages

State = Literal["made", "stale", "waits", "missing"]
_STATE_COLUMN = {"responses": "state", "safety_labels": "state", "eval_responses": "state"}


@dataclass(frozen=True, slots=True)
class ArtifactStatus:
    """State of one stage.

    Attributes:
        stage: Its name, as in DVC.
        state: "made" (up to date), "stale", "waits" (up to date itself, behind something stale), "missing".
        reasons: Why it is stale.
        failed: Rows without a result, by state.
    """

    stage: str
    state: State
    reasons: tuple[str, ...]
    failed: dict[str, int]


def project_status(project: Project) -> list[ArtifactStatus]:
    """The state of all stages, in the order in which they run."""
    stages = Stages(project)
    behind: dict[str, bool] = {}
    found = []
    for stage in stages.all:
        reasons = tuple(stages.why_stale(stage))
        missing = not all((project.root / out).exists() for out in stage.outs)
        waits = any(behind[other.name] for other in stages.upstream(stage))
        state: State = "missing" if missing else "stale" if reasons else "waits" if waits else "made"
        behind[stage.name] = state != "made"
        failed = {} if missing else _failed_rows(project, stage.artifact, stage.partition)
        found.append(ArtifactStatus(stage.name, state, () if missing else reasons, failed))
    stages.hasher.save()
    return found


def _failed_rows(project: Project, artifact: str, partition: str | None) -> dict[str, int]:
    counts: Counter[str] = Counter()
    if column := _STATE_COLUMN.get(artifact):
        states = pl.scan_parquet(project.table(artifact, partition=partition)).select(column).collect()
        counts.update(states.filter(pl.col(column) != "ok").to_series().to_list())
    for table in ("missing", "quarantine", "undecided"):
        file = project.table(artifact, table, partition)
        if file.is_file():
            rows = pl.scan_parquet(file).select(pl.len()).collect().item()
            if rows:
                counts[table] = rows
    return dict(counts)
