"""The report as an artifact: everything it shows, gathered from what the stages before it made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from spavl_dag.evaluation.metrics import judge_name
from spavl_dag.params.project import BASE_MODEL
from spavl_dag.pipeline.run import Run
from spavl_dag.pipeline.store import Made
from spavl_dag.report.build import build_report
from spavl_dag.report.differences import differing_params
from spavl_dag.report.examples import choose_examples
from spavl_dag.report.inputs import CheckpointInfo, ReportInputs, RewardModelInfo

EXAMPLES = 8
"""Items whose answers stand side by side; those on which checkpoints differ most from the baseline come first."""


def make_report(run: Run) -> Made:
    """Write the report's files into the staging folder."""
    inputs = gather(run)
    for name, content in build_report(inputs).items():
        (run.staging / name).parent.mkdir(parents=True, exist_ok=True)
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
    params = run.params
    drawn = params.base_model.source == "pictograms"
    differing = differing_params(params.experiments)
    return ReportInputs(
        baseline=run.params.evaluation.baseline,
        checkpoints=[_checkpoint(run, key, choices) for key, choices in differing.items()],
        scores=_of_all(run, keys, "eval_scores"),
        gate=_of_all(run, keys, "eval_scores", "gate"),
        class_scores=_of_all(run, keys, "eval_scores", "class_scores"),
        curves=_of_all(run, keys, "checkpoints", "curve"),
        reward_model=_reward_model(run),
        dataset=run.store.read_document("dataset", "statistics.json"),
        examples=choose_examples(item_scores, _of_all(run, keys, "eval_responses"), run.table("benchmarks"), EXAMPLES),
        lineage=pl.DataFrame(
            list(run.versions_before().items()), schema={"stage": pl.String, "md5": pl.String}, orient="row"
        ),
        judge=judge_name(run.params.roles.judge.model),
        class_names={harm.slug: harm.name for harm in run.taxonomy.classes},
        confidence=run.params.evaluation.confidence,
        simulated=drawn and any(entry.model == BASE_MODEL for entry in params.models.values()),
        drawn_benchmarks={
            name
            for name, benchmark in params.evaluation.benchmarks.items()
            if (params.images.source if benchmark.source == "dataset" else benchmark.source) == "pictograms"
        },
        judge_is_base_model=params.roles.judge.model
        in {entry.model for entry in params.experiments.values() if entry.method != "none"},
        show_text=params.runtime.show_text,
    )


def _checkpoint(run: Run, key: str, choices: Mapping[str, Any]) -> CheckpointInfo:
    entry = run.params.experiments[key]
    rows: int | None = None
    if entry.method != "none":
        rows = run.store.read_document("checkpoints", "training.json", key)["rows"]
    return CheckpointInfo(
        key=key,
        label=entry.label or key,
        method=entry.method,
        params=choices,
        rows=rows,
        md5=run.version_of("checkpoints", key),
    )


def _of_all(run: Run, keys: Sequence[str], artifact: str, table: str | None = None) -> pl.DataFrame:
    parts = [run.store.read(artifact, table, key).select(pl.lit(key).alias("checkpoint"), pl.all()) for key in keys]
    return pl.concat(parts)


def _reward_model(run: Run) -> RewardModelInfo:
    metrics = run.store.read_document("reward_model", "metrics.json")
    return RewardModelInfo(metrics, run.table("reward_model", "calibration"))
