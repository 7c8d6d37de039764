"""The answering models, grouped by safety."""

from __future__ import annotations

from spavl_dag.pipeline.preview import bar_chart, table_preview
from spavl_dag.pipeline.recipe import artifact
from spavl_dag.pipeline.run import Run
from spavl_dag.pipeline.store import Made
from spavl_dag.steps.safety_groups import group_models


@artifact(deps=("safety_labels",), group="preferences", kinds={"polars"})
def safety_groups(run: Run) -> Made:
    """Groups of answering models by safe rate, safest first, with confidence intervals."""
    table = group_models(run.all_parts("safety_labels"), run.params.safety_groups)
    rated = [row for row in table.iter_rows(named=True) if row["safe_rate"] is not None]
    names = {row["model"]: f"{row['safety_group']}: {row['model']}" for row in rated}
    chart = bar_chart(
        {names[row["model"]]: row["safe_rate"] for row in rated},
        "Safe rate of the answering models, by safety group",
        "safe answers among labelled answers (95 % Wilson interval)",
        {names[row["model"]]: (row["ci_low"], row["ci_high"]) for row in rated},
    )
    return Made(
        tables={"safety_groups": table},
        metadata={"safe_rates": chart, "preview": table_preview(table, run.params.runtime.show_text)},
    )
