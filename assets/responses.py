"""Answers of the answering models."""

from __future__ import annotations

from spavl_dag.pipeline.preview import counts_table, table_preview
from spavl_dag.pipeline.recipe import artifact
from spavl_dag.pipeline.run import Run
from spavl_dag.pipeline.store import Made
from spavl_dag.steps.responses import answer_questions


@artifact(deps=("base_model", "images", "questions"), group="answers", kinds={"transformers"}, asks_models=True)
def responses(run: Run) -> Made:
    """One model's answer to every question, or the reason why there is none."""
    table = answer_questions(run.table("questions"), run.image_refs(), run.key, run.answering_client())
    states = dict(table.group_by("state").len().sort("state").iter_rows())
    return Made(
        tables={"responses": table},
        metadata={
            "model": run.params.models[run.key].label or run.key,
            "states": counts_table(states, "state", "answers"),
            "preview": table_preview(
                table, run.params.runtime.show_text, ["question_id", "state", "finish_reason", "response"]
            ),
        },
        metrics={"answered_rate": states.get("ok", 0) / table.height if table.height else 0.0},
    )
