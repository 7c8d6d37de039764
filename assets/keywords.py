"""Search keywords of the harm classes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from spavl_dag.inference.client import ModelClient
from spavl_dag.params.sections import KeywordParams
from spavl_dag.params.sections import Params as ProjectParams
from spavl_dag.pipeline.declaration import Check, asset
from spavl_dag.pipeline.inputs import Params
from spavl_dag.pipeline.model_inputs import Roles
from spavl_dag.pipeline.result import Result, Summary
from spavl_dag.pipeline.rules import classes_known, classes_without
from spavl_dag.schemas import Keywords
from spavl_dag.steps.keywords import keywords_from_file, keywords_from_model
from spavl_dag.taxonomy import Taxonomy


def _writer(params: ProjectParams) -> Mapping[str, str]:
    """The role that lists keywords, where a model does."""
    return {"writer": "keywords"} if params.keywords.source == "model" else {}


def _summary(made: Result[Keywords]) -> Summary:
    (table,) = made.tables
    return Summary({"classes": table["class_id"].n_unique()})


@asset(
    group_name="inputs",
    kinds={"polars"},
    checks=[
        classes_known("keywords"),
        Check("every_class_has_keywords", "Every class has a keyword.", classes_without("keywords", "class_id")),
    ],
    summary=_summary,
)
def keywords(
    taxonomy: Taxonomy,
    settings: Annotated[KeywordParams, Params("keywords")],
    clients: Annotated[Mapping[str, ModelClient], Roles(_writer, "keywords")],
) -> Result[Keywords]:
    """Six search keywords per harm class: from the taxonomy file, or listed by a model."""
    if settings.source == "model":
        return Result(keywords_from_model(taxonomy, settings.per_class, clients["writer"]))
    return Result(keywords_from_file(taxonomy, settings.per_class))
