"""The answering models, grouped by safety."""

from __future__ import annotations

from typing import Annotated

from spavl_dag.params.sections import SafetyGroupParams
from spavl_dag.pipeline.declaration import Check, asset
from spavl_dag.pipeline.inputs import AllPartitions, Params
from spavl_dag.pipeline.result import Result, Summary
from spavl_dag.pipeline.rules import labels_of_every_model, models_grouped
from spavl_dag.preview import bar_chart
from spavl_dag.schemas import SafetyGroups, SafetyLabels
from spavl_dag.steps.safety_groups import group_models


def _summary(made: Result[SafetyGroups]) -> Summary:
    rated = [row for row in made.tables[0].iter_rows(named=True) if row["safe_rate"] is not None]
    names = {row["model"]: f"{row['safety_group']}: {row['model']}" for row in rated}
    chart = bar_chart(
        {names[row["model"]]: row["safe_rate"] for row in rated},
        "Safe rate of the answering models, by safety group",
        "safe answers among labelled answers (95 % Wilson interval)",
        {names[row["model"]]: (row["ci_low"], row["ci_high"]) for row in rated},
    )
    return Summary({"safe_rates": chart})


@asset(
    group_name="preferences",
    kinds={"polars"},
    checks=[
        Check("every_model_grouped", "Every model is in a group, and no other.", models_grouped),
        Check("every_model_answered", "Every question has a row of every model.", labels_of_every_model),
    ],
    summary=_summary,
)
def safety_groups(
    labels: AllPartitions[SafetyLabels], settings: Annotated[SafetyGroupParams, Params("safety_groups")]
) -> Result[SafetyGroups]:
    """Groups of answering models by safe rate, safest first, with confidence intervals."""
    return Result(group_models(labels, settings))
