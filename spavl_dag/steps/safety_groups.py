"""The answering models in groups of like safety; group 1 is the safest (paper, Figure 1)."""

from __future__ import annotations

from typing import Any

import polars as pl

from spavl_dag.params.sections import SafetyGroupParams
from spavl_dag.schemas import SafetyGroups, frame
from spavl_dag.stats import wilson_interval


def group_models(labels: pl.DataFrame, params: SafetyGroupParams) -> pl.DataFrame:
    """Group models by the rate of safe answers among those that have a label.

    Args:
        labels: Table `safety_labels` of all models.
        params: Method and number of groups.

    Returns:
        Table `safety_groups`, a row per model, safest first, with 95 % Wilson intervals of the safe rate. A model
        without a single label counts as the least safe: nothing speaks for it.
    """
    counted = labels.group_by("model").agg(
        safe=(pl.col("label") == "safe").sum().cast(pl.Int64),
        labelled=pl.col("label").is_not_null().sum().cast(pl.Int64),
        unlabelled=pl.col("label").is_null().sum().cast(pl.Int64),
    )
    rows: list[dict[str, Any]] = []
    for row in counted.iter_rows(named=True):
        n = row["labelled"]
        low, high = wilson_interval(row["safe"], n) if n else (None, None)
        rows.append(row | {"safe_rate": row["safe"] / n if n else None, "ci_low": low, "ci_high": high})
    # Equal rates are ordered by name, so that the same labels always make the same groups.
    rows.sort(key=lambda row: (-(row["safe_rate"] if row["safe_rate"] is not None else -1.0), row["model"]))
    for place, row in enumerate(rows):
        row["safety_group"] = _group(place, len(rows), row, params)
    return frame(SafetyGroups, rows)


def _group(place: int, models: int, row: dict[str, Any], params: SafetyGroupParams) -> int:
    if params.method == "membership":
        return int((params.membership or {})[row["model"]])
    if params.method == "thresholds":
        rate = row["safe_rate"] if row["safe_rate"] is not None else -1.0
        return 1 + len([threshold for threshold in params.thresholds or [] if rate < threshold])
    return 1 + place * params.count // models
