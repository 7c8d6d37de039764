"""The report as an artifact: everything it shows, gathered from what the stages before it made."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import polars as pl

from spavl_dag.evaluation.metrics import judge_name
from spavl_dag.pipeline.run import Run
from spavl_dag.pipeline.store import Made
from spavl_dag.report.build import build_report
from spavl_dag.report.differences import differing_params
from spavl_dag.report.inputs import CheckpointInfo, ReportInputs, RewardModelInfo


def make_report(run: Run) -> Made:
    """Write the report's files into the staging folder."""
    inputs = gather(run)
    for name, content in build_report(inputs).items():
        (run.staging / name).write_bytes(content)
    return Made(
        metadata={
            "checkpoints": len(inputs.checkpoints),
            "report": str(run.project.out("report") / "report.html"),
            "scores": inputs.scores["value"].count(),
        }
    )


def gather(run: Run) -> ReportInputs:
    """Read what the report shows."""
    keys = run.params.keys("experiments")
    item_scores = _of_all(run, keys, "eval_scores", "item_scores")
    differing = differing_params(run.params.experiments)
    return ReportInputs(
        baseline=run.params.evaluation.baseline,
        checkpoints=[_checkpoint(run, key, choices) for key, choices in differing.items()],
        scores=_of_all(run, keys, "eval_scores"),
        gate=_of_all(run, keys, "eval_scores", "gate"),
        class_scores=_of_all(run, keys, "eval_scores", "class_scores"),
        curves=_of_all(run, keys, "checkpoints", "curve"),
        reward_model=_reward_model(run),
        dataset=run.store.read_document("dataset", "statistics.json"),
        examples=_examples(run, keys, item_scores),
        lineage=pl.DataFrame(
            list(_lineage(run)), schema={"stage": pl.String, "md5": pl.String, "commit": pl.String}, orient="row"
        ),
        judge=judge_name(run.params.roles.judge.model),
        class_names={harm.slug: harm.name for harm in run.taxonomy.classes},
        confidence=run.params.evaluation.interval.confidence,
        show_text=run.params.report.show_text,
    )


def _checkpoint(run: Run, key: str, choices: Mapping[str, Any]) -> CheckpointInfo:
    entry = run.params.experiments[key]
    rows: int | None = None
    if entry.method != "none":
        rows = run.store.read_document("checkpoints", "training.json", key)["rows"]
    version = run.version_of("checkpoints", key)
    return CheckpointInfo(
        key=key,
        label=entry.label or key,
        method=entry.method,
        params=choices,
        rows=rows,
        md5=version,
        run_id=run.mlflow_run(key, version),
    )


def _of_all(run: Run, keys: Sequence[str], artifact: str, table: str | None = None) -> pl.DataFrame:
    parts = [run.store.read(artifact, table, key).select(pl.lit(key).alias("checkpoint"), pl.all()) for key in keys]
    return pl.concat(parts)


def _reward_model(run: Run) -> RewardModelInfo:
    metrics = run.store.read_document("reward_model", "metrics.json")
    return RewardModelInfo(metrics, run.table("reward_model", "calibration"))


def _examples(run: Run, keys: Sequence[str], item_scores: pl.DataFrame) -> pl.DataFrame:
    """Answers of all checkpoints to the HarmEval items on which they differ most."""
    judged = item_scores.filter((pl.col("benchmark") == "harm_eval") & (pl.col("rule") == "judge")).unique(
        ["checkpoint", "item_id"], keep="first", maintain_order=True
    )
    spread = (
        judged.group_by("item_id")
        .agg(pl.col("outcome").std().fill_null(0.0))
        .sort(["outcome", "item_id"], descending=[True, False])
    )
    shown = spread["item_id"].head(run.params.report.examples).to_list()
    answers = _of_all(run, keys, "eval_responses").filter(
        (pl.col("benchmark") == "harm_eval") & pl.col("item_id").is_in(shown)
    )
    questions = run.table("benchmarks").select("benchmark", "item_id", "question")
    labels = judged.select("checkpoint", "item_id", "label")
    return (
        answers.join(questions, on=["benchmark", "item_id"], how="left", maintain_order="left")
        .join(labels, on=["checkpoint", "item_id"], how="left", maintain_order="left")
        .select("checkpoint", "benchmark", "item_id", "question", "response", "label")
    )


def _lineage(run: Run) -> Iterator[tuple[str, str | None, str]]:
    commit = run.commit()
    for stage, md5 in run.versions_before().items():
        yield stage, md5, commit
