"""What is made, stale or missing, and which calls failed: one answer for `dvc status`, Dagster and `spavl status`."""

from __future__ import annotations

import contextlib
from collections import Counter
from dataclasses import dataclass
from typing import Literal

import polars as pl

from spavl_dag.integrations.dvc.lock import Lock
from spavl_dag.pipeline.graph import Graph, Stage
from spavl_dag.pipeline.store import UNREADABLE

State = Literal["made", "stale", "blocked", "missing"]
_FAILED_TABLES = ("missing", "quarantine", "undecided", "rejected")


@dataclass(frozen=True, slots=True)
class ArtifactStatus:
    """State of one stage.

    Attributes:
        stage: Its name, as in DVC.
        state: "made" (up to date), "stale", "blocked" (up to date itself, behind something that isn't), "missing".
        reasons: Why it is stale.
        failed: Rows without a result, by state.
    """

    stage: str
    state: State
    reasons: tuple[str, ...]
    failed: dict[str, int]


def project_status(graph: Graph) -> list[ArtifactStatus]:
    """The state of all stages, in the order in which they run."""
    lock = Lock(graph)
    behind: dict[str, bool] = {}
    found = []
    for stage in graph.stages:
        reasons = tuple(lock.why_stale(stage))
        missing = not all((graph.project.root / out).exists() for out in stage.outs)
        blocked = any(behind[other.name] for other in graph.upstream(stage))
        state: State = "missing" if missing else "stale" if reasons else "blocked" if blocked else "made"
        behind[stage.name] = state != "made"
        failed = {} if missing else _failed_rows(graph, stage)
        found.append(ArtifactStatus(stage.name, state, () if missing else reasons, failed))
    graph.hasher.save()
    return found


def _failed_rows(graph: Graph, stage: Stage) -> dict[str, int]:
    counts: Counter[str] = Counter()
    asset = graph.asset(stage.artifact)
    for table in asset.tables:
        file = graph.project.root / asset.out(stage.partition) / f"{table.name}.parquet"
        if not file.is_file():
            continue
        rows = pl.scan_parquet(file, glob=False)
        with contextlib.suppress(*UNREADABLE):  # a damaged file is told as modified
            if table.name in _FAILED_TABLES:
                counts[table.name] = rows.select(pl.len()).collect().item()
            elif table.name == asset.name and "state" in rows.collect_schema():
                states = rows.select("state").filter(pl.col("state") != "ok").collect()
                counts.update(states.to_series().to_list())
    return dict(+counts)
