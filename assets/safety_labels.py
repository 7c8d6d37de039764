"""Safety labels of the answers."""

from __future__ import annotations

from spavl_dag.pipeline.preview import counts_table, table_preview
from spavl_dag.pipeline.recipe import artifact
from spavl_dag.pipeline.run import Run
from spavl_dag.pipeline.store import Made
from spavl_dag.steps.safety_labels import label_responses


@artifact(
    deps=("base_model", "images", "questions", "responses"),
    group="answers",
    kinds={"transformers"},
    asks_models=True,
)
def safety_labels(run: Run) -> Made:
    """The judge's safe/unsafe label of every answer of one model; a failed verdict is a state and never a label."""
    refs = run.image_refs() if run.params.safety_labels.sees_image else None
    table = label_responses(run.table("questions"), run.part("responses"), run.client("judge"), refs)
    labels = dict(table.group_by("label").len().sort("label").iter_rows())
    labelled = labels.get("safe", 0) + labels.get("unsafe", 0)
    states = dict(table.group_by("state").len().sort("state").iter_rows())
    return Made(
        tables={"safety_labels": table},
        metadata={
            "labels": counts_table({"none" if k is None else k: v for k, v in labels.items()}, "label"),
            "states": counts_table(states, "state", "verdicts"),
            "preview": table_preview(table, run.params.runtime.show_text, ["question_id", "label", "state", "raw"]),
        },
        metrics={"unsafe_rate": labels.get("unsafe", 0) / labelled} if labelled else {},
    )
