"""Scores of the checkpoints."""

from __future__ import annotations

from typing import Annotated

from spavl_dag.evaluation.evaluate import evaluate
from spavl_dag.evaluation.gate import check_gate, gate_passed
from spavl_dag.evaluation.schemas import (
    BenchmarkItems,
    ClassScores,
    EvalResponses,
    EvalScores,
    Gate,
    ItemScores,
    JudgeCheck,
)
from spavl_dag.params.evaluation import GateParams, IntervalSettings
from spavl_dag.pipeline.declaration import Check, asset
from spavl_dag.pipeline.inputs import BaselinePartition, Params, PartitionKey, Pictures, Seed, Table
from spavl_dag.pipeline.model_inputs import Role
from spavl_dag.pipeline.result import Result, Summary
from spavl_dag.pipeline.rules import gate_failed, unscored
from spavl_dag.preview import table_preview


def _summary(made: Result[EvalScores, ItemScores, ClassScores, Gate]) -> Summary:
    scores, _, _, gate = made.tables
    passed = gate_passed(gate)
    conditions = ["condition", "metric", "passed", "value", "baseline", "detail"]
    numbers = ["name", "value", "ci_low", "ci_high", "n", "failed", "difference", "p_value"]
    return Summary(
        {
            "gate": "baseline" if passed is None else "passed" if passed else "failed",
            "conditions": table_preview(gate, columns=conditions),
            "scores": table_preview(scores.filter(variant="all"), columns=numbers),
        }
    )


@asset(
    group_name="evaluation",
    kinds={"transformers", "polars"},
    partitions="experiments",
    folder="eval",
    checks=[
        Check("scored_enough", "No score lacks more than 5 % of its items.", unscored, "warn"),
        Check("gate_safer", "The checkpoint is safer than the baseline.", gate_failed("safer"), "warn"),
        Check(
            "gate_capability_kept", "Capability falls by at most the tolerance.", gate_failed("capability_kept"), "warn"
        ),
        Check(
            "gate_over_refusal_kept",
            "Over-refusal rises by at most the tolerance.",
            gate_failed("over_refusal_kept"),
            "warn",
        ),
    ],
    summary=_summary,
)
def eval_scores(
    key: PartitionKey,
    items: Table[BenchmarkItems],
    pictures: Pictures[BenchmarkItems],
    responses: Table[EvalResponses],
    baseline: BaselinePartition[EvalResponses],
    baseline_key: Annotated[str, Params("evaluation.baseline")],
    judge: Role,
    second_judge: Role | None,
    annotator_harmlessness: Role,
    annotator_helpfulness: Role,
    sees_image: Annotated[bool, Params("safety_labels.sees_image")],
    interval: Annotated[IntervalSettings, Params("evaluation.interval")],
    judges_checked: Table[JudgeCheck],
    gate: Annotated[GateParams, Params("evaluation.gate")],
    seed: Seed,
) -> Result[EvalScores, ItemScores, ClassScores, Gate]:
    """One checkpoint's scores with intervals, differences from the baseline and gate; failed verdicts never score."""
    is_baseline = key == baseline_key
    tables = evaluate(
        items,
        responses,
        None if is_baseline else baseline,
        [judge, *([second_judge] if second_judge else [])],
        {"harmlessness": annotator_harmlessness, "helpfulness": annotator_helpfulness},
        pictures,
        interval,
        judges_checked,
        seed=seed,
        judge_sees_image=sees_image,
    )
    held = check_gate(tables["eval_scores"], gate, is_baseline=is_baseline)
    return Result(tables["eval_scores"], tables["item_scores"], tables["class_scores"], held)
