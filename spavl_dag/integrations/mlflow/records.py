"""From what was made to what MLflow holds of it: a run per making, and one per checkpoint with its evaluation.

What a checkpoint, an evaluation and the report are is read from tables and documents, so that it is the same whether
they were made just now or pulled from another machine (`sync`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import polars as pl

from spavl_dag.evaluation.headlines import HEADLINES
from spavl_dag.evaluation.metrics import judge_name
from spavl_dag.evaluation.schemas import ALL_VARIANTS
from spavl_dag.integrations.dvc.command import inside_repro
from spavl_dag.integrations.dvc.lock import Lock
from spavl_dag.integrations.mlflow.checkpoints import CheckpointRecord, TrainingData
from spavl_dag.integrations.mlflow.choices import answering_params, checkpoint_params
from spavl_dag.integrations.mlflow.client import tracking_uri, ui_address
from spavl_dag.integrations.mlflow.evaluations import EvaluationRecord, ReportRecord, TableArtifact
from spavl_dag.integrations.mlflow.experiments import GENERATION
from spavl_dag.integrations.mlflow.live import LiveCurve
from spavl_dag.integrations.mlflow.numbers import CurveRow
from spavl_dag.integrations.mlflow.outbox import Record, deliver, deliver_later
from spavl_dag.integrations.mlflow.runs import Current, RunRecord
from spavl_dag.pipeline.graph import Graph, Stage
from spavl_dag.pipeline.make import Content, Finished
from spavl_dag.pipeline.revision import head_commit
from spavl_dag.pipeline.run import CurveCallback, no_curve
from spavl_dag.report.numbers import Scores, finite, gate_result

CHECKPOINTS, SCORES, REPORT = "checkpoints", "eval_scores", "report"
"""The artifacts that are no run of their own in the experiment `generation`."""

_REPORT_FILES = ("report.html", "report.md")
_FIRST = ("name", "value", "ci_low", "ci_high", "n", "failed", "difference", "diff_low", "diff_high", "p_value")


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
    record = _record(graph, finished, lineage(graph, finished.stage, finished.data_version, dagster_run))
    if record is None:
        return None
    uri = tracking_uri(graph.project, graph.params.runtime.mlflow_uri)
    if inside_repro():
        deliver_later(graph.project, uri, record)
        return None
    return deliver(graph.project, uri, record)


def curve_callback(graph: Graph, stage: Stage) -> CurveCallback:
    """Curves of a training to MLflow while it runs; the checkpoint's record finishes that run."""
    if stage.artifact != CHECKPOINTS:
        return no_curve
    opened: dict[str, LiveCurve] = {}
    uri = tracking_uri(graph.project, graph.params.runtime.mlflow_uri)

    def callback(training: str, rows: Sequence[Mapping[str, float]]) -> None:
        if training not in opened:
            key = str(stage.partition)
            record = CheckpointRecord(
                key=key,
                label=_label(graph, key),
                data_version=None,
                params=checkpoint_params(graph.params, key, None),
                tags=lineage(graph, stage, None),
                training=training,
            )
            opened[training] = LiveCurve(record, lambda record: deliver(graph.project, uri, record))
        opened[training].add(rows)

    return callback


def run_url(graph: Graph, run_id: str) -> str:
    """Address of a run's page in the MLflow UI, where it is expected to be."""
    return f"{ui_address(graph.params.runtime.mlflow_uri)}/#/runs/{run_id}"


def lineage(graph: Graph, stage: Stage, data_version: str | None, dagster_run: str | None = None) -> dict[str, str]:
    """Tags of an MLflow run that lead back to what it is about, and that MLflow's UI shows as its source."""
    commit = head_commit(graph.project.root)
    tags = {
        "dvc.md5": data_version,
        "dagster.run_id": dagster_run,
        "git.commit": commit,
        "mlflow.source.name": stage.cmd,
        "mlflow.source.type": "LOCAL",
        "mlflow.source.git.commit": commit.partition("+")[0],
    }
    return {name: value for name, value in tags.items() if value}


def current_subjects(graph: Graph) -> Current:
    """What params name now."""
    return Current(list(graph.params.experiments), [_run_name(stage) for stage in graph.stages])


def checkpoint_record(
    graph: Graph,
    stage: Stage,
    data_version: str,
    deps: Mapping[str, str | None],
    content: Content,
    tags: Mapping[str, str],
    *,
    seconds: float | None = None,
    training: str | None = None,
) -> CheckpointRecord:
    """A checkpoint, as it lies on disk.

    Args:
        graph: The project's artifacts.
        stage: The checkpoint's.
        data_version: Its data version.
        deps: Hashes of what it was made from.
        content: Its tables and documents.
        tags: Lineage.
        seconds: How long it took, where that is known.
        training: Key of its training, where that is known.
    """
    key = str(stage.partition)
    trained = content.documents.get("training.json")
    place = graph.asset("dataset").out()
    rows = int(trained["rows"]) if trained else 0
    return CheckpointRecord(
        key=key,
        label=_label(graph, key),
        data_version=data_version,
        params=checkpoint_params(graph.params, key, rows),
        data=TrainingData("dataset", str(deps[place]), rows, place) if trained else None,
        curves=_curves(content),
        seconds=seconds,
        tags=tags,
        training=training,
        path=graph.asset(CHECKPOINTS).out(key),
    )


def evaluation_record(graph: Graph, stage: Stage, content: Content, tags: Mapping[str, str]) -> EvaluationRecord:
    """A checkpoint's evaluation, as it lies on disk."""
    key = str(stage.partition)
    scores, gate = (content.tables[name].with_columns(checkpoint=pl.lit(key)) for name in (SCORES, "gate"))
    result = gate_result(gate, key, graph.params.evaluation.baseline)
    found = Scores(scores, judge_name(graph.params.roles.judge.model))
    headlines = {headline.label: score.name for headline in HEADLINES if (score := found.get(key, headline))}
    pooled = {score.name: score.value for score in found.of(key) if score.variant == ALL_VARIANTS}
    return EvaluationRecord(
        key=key,
        label=_label(graph, key),
        data_version=str(evaluated_version(graph, key)),
        scores=pooled,
        headlines=headlines,
        tables={
            SCORES: _table(content.tables[SCORES].select(*_FIRST, pl.exclude(_FIRST))),
            "gate": _table(content.tables["gate"]),
        },
        gate=result.state,
        gate_failed=result.failed,
        tags={**tags, "seed": str(graph.params.seed_of(graph.params.experiments[key]))},
    )


def report_record(graph: Graph, tags: Mapping[str, str]) -> ReportRecord:
    """The report, as it lies on disk."""
    folder, baseline = graph.project.root / graph.asset(REPORT).out(), graph.params.evaluation.baseline
    return ReportRecord(
        key=baseline,
        label=_label(graph, baseline),
        data_version=str(graph.data_version(graph.get(CHECKPOINTS, baseline))),
        files={name: (folder / name).read_text(encoding="utf-8") for name in _REPORT_FILES},
        current=current_subjects(graph),
        tags=tags,
    )


def evaluated_version(graph: Graph, key: str) -> str | None:
    """Data version of the checkpoint that gave the answers that were scored; there may be a newer one by now."""
    answered = Lock(graph).recorded(graph.get("eval_responses", key))
    checkpoint = graph.get(CHECKPOINTS, key)
    recorded = answered.fingerprint.deps.get(checkpoint.main_out) if answered else None
    return recorded or graph.data_version(checkpoint)


def _record(graph: Graph, finished: Finished, tags: Mapping[str, str]) -> Record | None:
    stage, content = finished.stage, finished.content
    match stage.artifact:
        case "checkpoints":
            return checkpoint_record(
                graph,
                stage,
                finished.data_version,
                finished.before.deps,
                content,
                tags,
                seconds=finished.seconds,
                training=finished.training.key if finished.training else None,
            )
        case "eval_scores":
            return evaluation_record(graph, stage, content, tags)
        case "report":
            return report_record(graph, tags)
        case _:
            return _generation(graph, finished, tags)


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
    by_model = graph.asset(stage.artifact).partitions == "models"
    choices = answering_params(graph.params, str(stage.partition)) if by_model else {}
    named = {"artifact": stage.artifact, "partition": stage.partition, "seed": graph.params.seed}
    if counts.asked:
        named["engines"] = ", ".join(sorted(counts.engines))
    return RunRecord(
        experiment=GENERATION,
        name=_run_name(stage),
        params=named | choices,
        metrics=metrics,
        tags=tags,
        curves=_curves(finished.content),
    )


def _curves(content: Content) -> list[CurveRow]:
    """Rows of the table `curve`, a row per step with a column per metric."""
    if "curve" not in content.tables:
        return []
    rows: dict[int, dict[str, float]] = {}
    for step, metric, value in content.tables["curve"].select("step", "metric", "value").sort("step").iter_rows():
        rows.setdefault(step, {"step": step})[metric] = value
    return list(rows.values())


def _table(rows: pl.DataFrame) -> TableArtifact:
    return TableArtifact(rows.columns, [[finite(value) for value in row] for row in rows.iter_rows()])


def _run_name(stage: Stage) -> str:
    return stage.name.replace("@", "/")


def _label(graph: Graph, key: str) -> str:
    return graph.params.experiments[key].label or key
