"""The preference dataset."""

from __future__ import annotations

from spavl_dag.integrations.huggingface.export import write_dataset_files
from spavl_dag.pipeline.preview import Markdown, bar_chart, table_preview
from spavl_dag.pipeline.recipe import artifact
from spavl_dag.pipeline.run import Run
from spavl_dag.pipeline.store import Made
from spavl_dag.report.data_card import CardTables, data_card, dataset_statistics, flat_metrics
from spavl_dag.steps.dataset import build_dataset


@artifact(
    deps=("images", "questions", "safety_labels", "safety_groups", "preferences"),
    group="dataset",
    kinds={"huggingface", "polars"},
)
def dataset(run: Run) -> Made:
    """The dataset: splits by image, Hugging Face files, trainer JSON, statistics and data card."""
    labels = run.all_parts("safety_labels")
    rows = build_dataset(
        run.table("preferences"),
        run.table("preferences", "verdicts"),
        run.table("safety_groups"),
        run.table("questions"),
        run.table("images"),
        labels,
        run.taxonomy,
        run.params.dataset,
        run.params.seed,
    )
    converted = write_dataset_files(rows, run.image_refs(), run.staging)
    statistics = dataset_statistics(
        CardTables(
            dataset=rows,
            images=run.table("images"),
            questions=run.table("questions"),
            missing_questions=run.table("questions", "missing"),
            labels=labels,
            groups=run.table("safety_groups"),
            verdicts=run.table("preferences", "verdicts"),
            preferences=run.table("preferences"),
            undecided=run.table("preferences", "undecided"),
            converted_images=converted,
        )
    )
    card = data_card(statistics, run.taxonomy, run.params)
    (run.staging / "README.md").write_text(card, encoding="utf-8")
    return Made(
        tables={"dataset": rows},
        documents={"statistics.json": statistics},
        metadata={
            "splits": bar_chart(statistics["splits"], "Rows per split", "rows"),
            "card": Markdown(card.split("---\n", 2)[2]),
            "preview": table_preview(
                rows, run.params.runtime.show_text, ["row_id", "split", "class_id", "chosen", "rejected"]
            ),
        },
        metrics=flat_metrics(statistics),
    )
