"""Which items' answers stand side by side in the report."""

from __future__ import annotations

import polars as pl


def telling_examples(
    item_scores: pl.DataFrame, answers: pl.DataFrame, items: pl.DataFrame, count: int
) -> pl.DataFrame:
    """Answers of all checkpoints to the HarmEval items on which they differ most.

    Args:
        item_scores: Table `item_scores` of all checkpoints, with a column `checkpoint`.
        answers: Table `eval_responses` of all checkpoints, with a column `checkpoint`.
        items: Table `benchmarks`.
        count: How many items.

    Returns:
        Columns checkpoint, benchmark, item_id, question, response, label.
    """
    judged = item_scores.filter(benchmark="harm_eval", rule="judge").unique(
        ["checkpoint", "item_id"], keep="first", maintain_order=True
    )
    spread = (
        judged.group_by("item_id")
        .agg(pl.col("outcome").std().fill_null(0.0))
        .sort(["outcome", "item_id"], descending=[True, False])
    )
    shown = spread["item_id"].head(count).to_list()
    picked = answers.filter(pl.col("benchmark") == "harm_eval", pl.col("item_id").is_in(shown))
    return (
        picked.join(
            items.select("benchmark", "item_id", "question"),
            on=["benchmark", "item_id"],
            how="left",
            maintain_order="left",
        )
        .join(
            judged.select("checkpoint", "item_id", "label"),
            on=["checkpoint", "item_id"],
            how="left",
            maintain_order="left",
        )
        .select("checkpoint", "benchmark", "item_id", "question", "response", "label")
    )
