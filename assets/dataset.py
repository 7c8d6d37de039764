"""The preference dataset."""

from __future__ import annotations

from spavl_dag.integrations.huggingface.export import write_dataset_files
from spavl_dag.params.project import BASE_MODEL
from spavl_dag.pipeline.preview import Markdown, bar_chart, table_preview
from spavl_dag.pipeline.recipe import artifact
from spavl_dag.pipeline.run import Run
from spavl_dag.pipeline.store import Made
from spavl_dag.report.data_card import CardFacts, data_card
from spavl_dag.report.statistics import CardTables, dataset_statistics, flat_metrics
from spavl_dag.steps.dataset import build_dataset, left_out


@artifact(
    deps=("images", "questions", "safety_labels", "safety_groups", "pairs", "preferences"),
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
    statistics = dataset_statistics(
        CardTables(
            dataset=rows,
            images=run.table("images"),
            questions=run.table("questions"),
            missing_questions=run.table("questions", "missing"),
            labels=labels,
            groups=run.table("safety_groups"),
            missing_pairs=run.table("pairs", "missing"),
            verdicts=run.table("preferences", "verdicts"),
            preferences=run.table("preferences"),
            undecided=run.table("preferences", "undecided"),
            left_out=left_out(run.table("questions"), run.table("images"), rows, run.params.dataset, run.params.seed),
        )
    )
    params = run.params
    facts = CardFacts(
        image_source=params.images.source,
        models={key: entry.label or key for key, entry in params.models.items()},
        simulated={
            key
            for key, entry in params.models.items()
            if entry.model == BASE_MODEL and params.base_model.source == "pictograms"
        },
        judge=params.roles.judge.model,
        judge_sees_image=params.safety_labels.sees_image,
        criteria=params.preferences.asked,
        near_duplicate_distance=params.images.near_duplicate_distance,
    )
    card = data_card(statistics, run.taxonomy, facts)
    write_dataset_files(rows, card, run.project.out("images"), run.staging)
    return Made(
        tables={"dataset": rows},
        documents={"statistics.json": statistics},
        metadata={
            "splits": bar_chart(statistics["splits"], "Rows per split", "rows"),
            "card": Markdown(card),
            "preview": table_preview(
                rows, run.params.runtime.show_text, ["row_id", "split", "class_id", "chosen", "rejected"]
            ),
        },
        metrics=flat_metrics(statistics),
    )
