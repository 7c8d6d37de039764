"""Captions and descriptions of the images."""

from __future__ import annotations

from spavl_dag.pipeline.declaration import asset
from spavl_dag.pipeline.inputs import Pictures, Table
from spavl_dag.pipeline.model_inputs import Role
from spavl_dag.pipeline.result import Result, Summary
from spavl_dag.pipeline.rules import row_per
from spavl_dag.preview import counts_of
from spavl_dag.schemas import Captions, Images
from spavl_dag.steps.captions import caption_images


def _summary(made: Result[Captions]) -> Summary:
    (table,) = made.tables
    return Summary({"description_sources": counts_of(table, "description_source", "written by", "descriptions")})


@asset(group_name="texts", kinds={"transformers"}, checks=[row_per("images", "image_id")], summary=_summary)
def captions(images: Table[Images], pictures: Pictures[Images], captioner: Role, describer: Role) -> Result[Captions]:
    """A short caption and a detailed description per image; the source's caption stands in for a refusal."""
    return Result(caption_images(images, pictures, captioner, describer))
