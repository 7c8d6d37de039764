"""Numbers of runs: curves, of which no point is logged twice, and single numbers, of which the latest counts."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Run

_BATCH = 1000  # metrics per request; more are refused

CurveRow = Mapping[str, float | None]
"""A point of training curves: "step", and metrics by name."""


def log_curves(client: MlflowClient, run: Run, rows: Sequence[CurveRow], started: int, ended: int) -> None:
    """Log the points of curves that a run doesn't have yet.

    Args:
        client: The client.
        run: The run.
        rows: In the order of their steps. A value that isn't finite can't be drawn and is left out.
        started: When the first step was done, in milliseconds since 1970; the points are spread from here …
        ended: … to here.
    """
    names = {name for row in rows for name in row}
    known = {
        name: {point.step for point in client.get_metric_history(run.info.run_id, name)}
        for name in names
        if name in run.data.metrics
    }
    log_metrics(client, run.info.run_id, _points(rows, known, started, ended))


def log_latest(
    client: MlflowClient, run: Run, numbers: Mapping[str, float | None], when: int, model_id: str | None = None
) -> None:
    """Log the numbers that a run doesn't show yet; one that is no longer known becomes NaN, for MLflow deletes none.

    Args:
        client: The client.
        run: The run, as it is now.
        numbers: By name.
        when: In milliseconds since 1970.
        model_id: The logged model whose numbers they are as well.
    """
    from mlflow.entities import Metric

    changed = []
    for name, value in numbers.items():
        known = run.data.metrics.get(name, math.nan)
        new = value if value is not None and math.isfinite(value) else math.nan
        if new != known and not (math.isnan(new) and math.isnan(known)):
            changed.append(Metric(name, new, when, 0, model_id=model_id))
    log_metrics(client, run.info.run_id, changed)


def log_metrics(client: MlflowClient, run_id: str, metrics: Iterable[Metric]) -> None:
    """Log metrics, in as many requests as it takes."""
    points = list(metrics)
    for start in range(0, len(points), _BATCH):
        client.log_batch(run_id, metrics=points[start : start + _BATCH])


def _points(rows: Sequence[CurveRow], known: Mapping[str, set[int]], started: int, ended: int) -> Iterator[Metric]:
    from mlflow.entities import Metric

    last = max((row["step"] or 0 for row in rows), default=0) or 1
    for row in rows:
        step = int(row["step"] or 0)
        when = started + int((ended - started) * step / last)
        for name, value in row.items():
            if name != "step" and value is not None and math.isfinite(value) and step not in known.get(name, ()):
                yield Metric(name, value, when, step)
