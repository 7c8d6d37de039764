"""Pairs of answers."""

from __future__ import annotations

from spavl_dag.pipeline.preview import counts_table, table_preview
from spavl_dag.pipeline.recipe import artifact
from spavl_dag.pipeline.run import Run
from spavl_dag.pipeline.store import Made
from spavl_dag.steps.pairs import draw_pairs


@artifact(deps=("responses", "safety_groups"), group="preferences", kinds={"polars"})
def pairs(run: Run) -> Made:
    """Two answers per question, from models of different safety groups; questions without a pair are in `missing`."""
    tables = draw_pairs(run.all_parts("responses"), run.table("safety_groups"), run.params.pairs, run.params.seed)
    reasons = dict(tables["missing"].group_by("reason").len().sort("reason").iter_rows())
    return Made(
        tables=tables,
        metadata={
            "missing_reasons": counts_table(reasons, "reason", "questions"),
            "preview": table_preview(
                tables["pairs"],
                run.params.runtime.show_text,
                ["pair_id", "model_a", "group_a", "model_b", "group_b"],
            ),
        },
    )
