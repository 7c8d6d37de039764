"""Answers of the checkpoints."""

from __future__ import annotations

from spavl_dag.evaluation.responses import answer_items
from spavl_dag.pipeline.preview import counts_table, table_preview
from spavl_dag.pipeline.recipe import artifact
from spavl_dag.pipeline.run import Run
from spavl_dag.pipeline.store import Made


@artifact(
    deps=("base_model", "benchmarks", "checkpoints"), group="evaluation", kinds={"transformers"}, asks_models=True
)
def eval_responses(run: Run) -> Made:
    """One checkpoint's greedy answer to every benchmark item, or the reason why there is none."""
    items = run.table("benchmarks")
    settings = run.params.evaluation.benchmarks
    table = answer_items(
        items,
        run.image_refs("benchmarks"),
        {name: run.checkpoint_client(entry.prompt, entry.max_new_tokens) for name, entry in settings.items()},
    )
    states = dict(table.group_by("state").len().sort("state").iter_rows())
    return Made(
        tables={"eval_responses": table},
        metadata={
            "states": counts_table(states, "state", "answers"),
            "preview": table_preview(
                table, run.params.runtime.show_text, ["benchmark", "item_id", "state", "finish_reason", "response"]
            ),
        },
    )
