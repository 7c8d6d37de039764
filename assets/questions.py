"""Three texts per image."""

from __future__ import annotations

from spavl_dag.names import QUESTION_TYPES
from spavl_dag.pipeline.preview import counts_table, table_preview
from spavl_dag.pipeline.recipe import artifact
from spavl_dag.pipeline.run import Run
from spavl_dag.pipeline.store import Made
from spavl_dag.steps.questions import ask_questions


@artifact(deps=("base_model", "images", "captions"), group="texts", kinds={"transformers"}, asks_models=True)
def questions(run: Run) -> Made:
    """Easy question, hard question and hard statement per image; what is lacking is in `missing` with a reason."""
    tables = ask_questions(
        run.table("images"),
        run.table("captions"),
        run.image_refs(),
        run.taxonomy,
        {kind: run.client(kind) for kind in QUESTION_TYPES},
        run.params.questions.max_chars,
    )
    kinds = dict(tables["questions"].group_by("question_type").len().sort("question_type").iter_rows())
    reasons = dict(tables["missing"].group_by("reason").len().sort("reason").iter_rows())
    wanted = sum(table.height for table in tables.values())
    return Made(
        tables=tables,
        metadata={
            "missing_rate": tables["missing"].height / wanted if wanted else 0.0,
            "types": counts_table(kinds, "type", "questions"),
            "missing_reasons": counts_table(reasons, "reason", "texts"),
            "preview": table_preview(
                tables["questions"], run.params.runtime.show_text, ["question_id", "class_id", "question"]
            ),
        },
    )
