"""Scores of the checkpoints."""

from __future__ import annotations

from spavl_dag.evaluation.evaluate import evaluate
from spavl_dag.evaluation.gate import check_gate, gate_passed
from spavl_dag.pipeline.preview import table_preview
from spavl_dag.pipeline.recipe import artifact
from spavl_dag.pipeline.run import Run
from spavl_dag.pipeline.store import Made


@artifact(
    deps=("base_model", "benchmarks", "eval_responses"),
    of_baseline=("eval_responses",),
    group="evaluation",
    kinds={"transformers", "polars"},
    asks_models=True,
)
def eval_scores(run: Run) -> Made:
    """One checkpoint's scores with intervals, differences from the baseline and gate; failed verdicts never score."""
    settings = run.params.evaluation
    is_baseline = run.key == settings.baseline
    items = run.table("benchmarks")
    judges = [run.client("judge"), *([run.client("second_judge")] if run.params.roles.second_judge else [])]
    tables = evaluate(
        items,
        run.part("eval_responses"),
        None if is_baseline else run.store.read("eval_responses", partition=settings.baseline),
        judges,
        {"harmlessness": run.client("annotator_harmlessness"), "helpfulness": run.client("annotator_helpfulness")},
        run.image_refs("benchmarks"),
        settings.interval,
        seed=run.params.seed,
        judge_sees_image=run.params.safety_labels.sees_image,
    )
    gate = check_gate(tables["eval_scores"], settings.gate, is_baseline=is_baseline)
    passed = gate_passed(gate)
    show = run.params.runtime.show_text
    return Made(
        tables={**tables, "gate": gate},
        metadata={
            "gate": "baseline" if passed is None else "passed" if passed else "failed",
            "conditions": table_preview(gate, show, ["condition", "metric", "passed", "value", "baseline", "detail"]),
            "scores": table_preview(
                tables["eval_scores"].filter(variant="all"),
                show,
                ["name", "value", "ci_low", "ci_high", "n", "failed", "difference", "p_value"],
            ),
        },
    )
