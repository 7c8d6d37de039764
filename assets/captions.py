"""Captions and descriptions of the images."""

from __future__ import annotations

from spavl_dag.pipeline.preview import counts_table, table_preview
from spavl_dag.pipeline.recipe import artifact
from spavl_dag.pipeline.run import Run
from spavl_dag.pipeline.store import Made
from spavl_dag.steps.captions import caption_images


@artifact(deps=("base_model", "images"), group="texts", kinds={"transformers"}, asks_models=True)
def captions(run: Run) -> Made:
    """A short caption and a detailed description per image; the source's caption stands in for a refusal."""
    table = caption_images(run.table("images"), run.image_refs(), run.client("captioner"), run.client("describer"))
    sources = dict(table.group_by("description_source").len().sort("description_source").iter_rows())
    return Made(
        tables={"captions": table},
        metadata={
            "description_sources": counts_table(sources, "written by", "descriptions"),
            "preview": table_preview(
                table, run.params.runtime.show_text, ["image_id", "caption", "caption_state", "description"]
            ),
        },
    )
