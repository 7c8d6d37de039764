"""Preferences between the answers of a pair."""

from __future__ import annotations

from spavl_dag.pipeline.preview import bar_chart, table_preview
from spavl_dag.pipeline.recipe import artifact
from spavl_dag.pipeline.run import Run
from spavl_dag.pipeline.store import Made
from spavl_dag.steps.preferences import prefer


@artifact(
    deps=("base_model", "images", "questions", "pairs"),
    group="preferences",
    kinds={"transformers"},
    asks_models=True,
)
def preferences(run: Run) -> Made:
    """Pairs on which the annotator's verdicts agree in both orders; the others are in `undecided` with the reason."""
    annotators = {name: run.client(f"annotator_{name}") for name in run.params.preferences.asked}
    tables = prefer(run.table("pairs"), run.table("questions"), run.image_refs(), annotators)
    decided, undecided = tables["preferences"].height, tables["undecided"]
    outcomes = {"preference": decided, **dict(undecided.group_by("reason").len().sort("reason").iter_rows())}
    total = decided + undecided.height
    metrics = {f"{name}_rate": count / total for name, count in outcomes.items()} if total else {}
    return Made(
        tables=tables,
        metadata={
            "outcomes": bar_chart(outcomes, "What became of the pairs", "pairs"),
            "preview": table_preview(
                tables["preferences"],
                run.params.runtime.show_text,
                ["pair_id", "chosen_model", "rejected_model", "chosen", "rejected"],
            ),
        },
        metrics=metrics,
    )
