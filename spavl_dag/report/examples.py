"""Which answers a report shows side by side."""

from __future__ import annotations

import polars as pl

BENCHMARK = "harm_eval"


def choose_examples(
    item_scores: pl.DataFrame, responses: pl.DataFrame, items: pl.DataFrame, count: int
) -> pl.DataFrame:
    """Answers of all checkpoints to the HarmEval items on whose labels they differ most.

    Args:
        item_scores: Table `item_scores` of all checkpoints, with a column `checkpoint`.
        responses: Table `eval_responses` of all checkpoints, with a column `checkpoint`.
        items: Table `benchmarks`.
        count: Number of items.

    Returns:
        Columns checkpoint, benchmark, item_id, question, response, label.
    """
    judged = item_scores.filter((pl.col("benchmark") == BENCHMARK) & (pl.col("rule") == "judge")).unique(
        ["checkpoint", "item_id"], keep="first", maintain_order=True
    )
    spread = (
        judged.group_by("item_id")
        .agg(pl.col("outcome").std().fill_null(0.0))
        .sort(["outcome", "item_id"], descending=[True, False])
    )
    shown = spread["item_id"].head(count).to_list()
    answers = responses.filter((pl.col("benchmark") == BENCHMARK) & pl.col("item_id").is_in(shown))
    questions = items.select("benchmark", "item_id", "question")
    labels = judged.select("checkpoint", "item_id", "label")
    return (
        answers.join(questions, on=["benchmark", "item_id"], how="left", maintain_order="left")
        .join(labels, on=["checkpoint", "item_id"], how="left", maintain_order="left")
        .select("checkpoint", "benchmark", "item_id", "question", "response", "label")
    )
