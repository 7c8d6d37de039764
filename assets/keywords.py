"""Search keywords of the harm classes."""

from __future__ import annotations

from spavl_dag.pipeline.preview import table_preview
from spavl_dag.pipeline.recipe import artifact
from spavl_dag.pipeline.run import Run
from spavl_dag.pipeline.store import Made
from spavl_dag.steps.keywords import keywords_from_file, keywords_from_model


@artifact(deps=("base_model",), group="inputs", kinds={"polars"}, asks_models=True)
def keywords(run: Run) -> Made:
    """Six search keywords per harm class: from the taxonomy file, or listed by a model."""
    settings = run.params.keywords
    if settings.source == "model":
        table = keywords_from_model(run.taxonomy, settings.per_class, run.client("keywords"))
    else:
        table = keywords_from_file(run.taxonomy, settings.per_class)
    return Made(
        tables={"keywords": table},
        metadata={
            "classes": table["class_id"].n_unique(),
            "preview": table_preview(table, run.params.runtime.show_text),
        },
    )
