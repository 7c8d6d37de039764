"""What checkpoints are measured with."""

from __future__ import annotations

from spavl_dag.evaluation.collecting import collect_benchmarks
from spavl_dag.pipeline.preview import counts_table, table_preview
from spavl_dag.pipeline.recipe import artifact
from spavl_dag.pipeline.run import Run
from spavl_dag.pipeline.store import Made


@artifact(deps=("images", "dataset"), group="evaluation", kinds={"polars"})
def benchmarks(run: Run) -> Made:
    """The items of every benchmark with their images: HarmEval and HelpEval, and those of others in their formats."""
    evaluation = run.params.evaluation
    table = collect_benchmarks(
        evaluation.benchmarks,
        run.table("dataset"),
        run.image_refs(),
        run.project.root / evaluation.folder,
        run.staging,
        run.taxonomy,
        run.params.seed,
    )
    counts = dict(table.group_by("benchmark").len().sort("benchmark").iter_rows())
    return Made(
        tables={"benchmarks": table},
        metadata={
            "items": counts_table(counts, "benchmark", "items"),
            "preview": table_preview(
                table, run.params.runtime.show_text, ["benchmark", "item_id", "variant", "category", "question"]
            ),
        },
    )
