"""The model that is aligned, and that plays every role by default."""

from __future__ import annotations

from spavl_dag.base_model import refer_to_base_model, train_pictogram_model
from spavl_dag.pipeline.recipe import artifact
from spavl_dag.pipeline.run import Run
from spavl_dag.pipeline.store import Made


@artifact(group="models", kinds={"pytorch", "transformers"})
def base_model(run: Run) -> Made:
    """The VLM to be aligned: a tiny LLaVA trained here from scratch on drawn cards, or a reference to a real one."""
    settings = run.params.base_model
    if settings.reference is not None and settings.source == "reference":
        return refer_to_base_model(settings.reference)
    return train_pictogram_model(run.staging, settings.recipe, run.params.seed, run.project.root, run.progress)
