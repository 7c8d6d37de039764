"""From what was made to what MLflow holds of it: a run per generation, and one per checkpoint with its evaluation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from spavl_dag.integrations.dvc.command import inside_repro
from spavl_dag.integrations.mlflow.checkpoints import (
    CheckpointRecord,
    EvaluationRecord,
    LiveCurves,
    Score,
    TrainingData,
    checkpoint_params,
)
from spavl_dag.integrations.mlflow.client import tracking_uri, ui_address
from spavl_dag.integrations.mlflow.outbox import Record, deliver, deliver_later
from spavl_dag.integrations.mlflow.runs import RunRecord
from spavl_dag.pipeline.graph import Graph, Stage
from spavl_dag.pipeline.make import Finished
from spavl_dag.pipeline.revision import head_commit
from spavl_dag.pipeline.run import CurveCallback, no_curve

EXPERIMENT = "generation"
"""MLflow experiment of everything that is no checkpoint."""


def log_finished(graph: Graph, finished: Finished, dagster_run: str | None = None) -> str | None:
    """Log what was made.

    Inside `dvc repro` that is left to a process of its own, so that the next stage doesn't wait for MLflow.

    Args:
        graph: The project's artifacts.
        finished: What was made.
        dagster_run: The Dagster run that made it, if one did.

    Returns:
        The MLflow run's id; None when there is nothing to log, or it is logged later.
    """
    record = _record(graph, finished, _origin(graph, finished, dagster_run))
    if record is None:
        return None
    uri = tracking_uri(graph.project, graph.params.runtime.mlflow_uri)
    if inside_repro():
        deliver_later(graph.project, uri, record)
        return None
    return deliver(graph.project, uri, record)


def curve_callback(graph: Graph, stage: Stage) -> CurveCallback:
    """Curves of a training to MLflow while it runs; the checkpoint's record finishes that run."""
    if stage.artifact != "checkpoints":
        return no_curve
    opened: dict[str, LiveCurves] = {}
    key = str(stage.partition)

    def callback(training: str, rows: Sequence[Mapping[str, float]]) -> None:
        if training not in opened:
            uri = tracking_uri(graph.project, graph.params.runtime.mlflow_uri)
            opened[training] = LiveCurves(graph.project, uri, key, _label(graph, key), training)
        opened[training].add(rows)

    return callback


def run_url(graph: Graph, run_id: str) -> str:
    """Address of a run's page in the MLflow UI, where it is expected to be."""
    return f"{ui_address(graph.params.runtime.mlflow_uri)}/#/runs/{run_id}"


def _record(graph: Graph, finished: Finished, tags: Mapping[str, str]) -> Record | None:
    match finished.stage.artifact:
        case "checkpoints":
            return _checkpoint(graph, finished, tags)
        case "eval_scores":
            return _evaluation(graph, finished, tags)
        case _:
            return _generation(graph, finished, tags)


def _checkpoint(graph: Graph, finished: Finished, tags: Mapping[str, str]) -> CheckpointRecord:
    key = str(finished.stage.partition)
    entry, training = graph.params.experiments[key], finished.training
    data = None
    if training:
        place = graph.asset("dataset").out()
        data = TrainingData("dataset", str(finished.before.deps[place]), training.rows, place)
    return CheckpointRecord(
        key=key,
        label=_label(graph, key),
        data_version=finished.data_version,
        params=checkpoint_params(entry, training.rows if training else 0),
        data=data,
        curves=training.curve if training else (),
        metrics={"seconds": finished.seconds},
        tags=tags,
        training=training.key if training else None,
        path=finished.asset.out(key),
    )


def _evaluation(graph: Graph, finished: Finished, tags: Mapping[str, str]) -> EvaluationRecord:
    key, tables = str(finished.stage.partition), finished.content.tables
    broken = tables["gate"].filter(passed=False)
    failed = [f"{condition}: {metric}" for condition, metric in broken.select("condition", "metric").iter_rows()]
    is_baseline = key == graph.params.evaluation.baseline
    return EvaluationRecord(
        key=key,
        label=_label(graph, key),
        data_version=str(graph.data_version(graph.get("checkpoints", key))),
        scores={
            row["name"]: Score(row["value"], row["ci_low"], row["ci_high"], row["n"])
            for row in tables["eval_scores"].iter_rows(named=True)
        },
        gate="baseline" if is_baseline else "failed" if failed else "passed",
        gate_failed=failed,
        tags=tags,
    )


def _generation(graph: Graph, finished: Finished, tags: Mapping[str, str]) -> RunRecord | None:
    counts, measured = finished.counts, finished.content.summary.metrics
    if not (counts.asked or measured):
        return None
    metrics = {
        "rows": float(sum(table.height for table in finished.content.tables.values())),
        "seconds": finished.seconds,
        **measured,
    }
    if counts.asked:
        metrics |= {
            "calls_made": counts.made,
            "calls_saved": counts.saved,
            "calls_failed": counts.failed,
            "prompt_tokens": counts.prompt_tokens,
            "completion_tokens": counts.completion_tokens,
            "cost_usd": counts.cost_usd,
        }
    stage = finished.stage
    return RunRecord(
        experiment=EXPERIMENT,
        name=stage.name.replace("@", "/"),
        params={"artifact": stage.artifact, "partition": stage.partition, **_choices(graph, stage)},
        metrics=metrics,
        tags=tags,
    )


def _choices(graph: Graph, stage: Stage) -> dict[str, Any]:
    """What may differ between the answering models."""
    if graph.asset(stage.artifact).partitions != "models":
        return {}
    entry = graph.params.models[str(stage.partition)]
    decoding = {f"decoding.{name}": value for name, value in entry.decoding.model_dump().items()}
    return entry.model_dump(exclude={"decoding"}) | decoding


def _label(graph: Graph, key: str) -> str:
    return graph.params.experiments[key].label or key


def _origin(graph: Graph, finished: Finished, dagster_run: str | None) -> dict[str, str]:
    """Tags of an MLflow run that lead back to what it is about."""
    tags = {"dvc.md5": finished.data_version, "git.commit": head_commit(graph.project.root)}
    return tags | ({"dagster.run_id": dagster_run} if dagster_run else {})
