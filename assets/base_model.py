"""The model that is aligned, and that plays every role by default."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from spavl_dag.extras import require_extra
from spavl_dag.params.models import BaseModelParams
from spavl_dag.params.sections import Params as ProjectParams
from spavl_dag.pipeline.declaration import Check, Checked, asset
from spavl_dag.pipeline.inputs import Files, Params, Seed
from spavl_dag.pipeline.kept import KeptTrainings
from spavl_dag.pipeline.result import Result, Summary
from spavl_dag.pipeline.rules import below
from spavl_dag.pipeline.weights import REFERENCE_FILE
from spavl_dag.preview import counts_table
from spavl_dag.progress import Progress

PROMPTS = "prompts/pictograms"
"""The drawn world's model is trained on the very templates it is asked with."""

EXPECTED = {"caption_accuracy": 0.95, "name_accuracy": 0.95, "judge_accuracy": 0.97, "annotator_accuracy": 0.97}
"""What that model should reach on cards and wordings held out from its training."""


def _files(params: ProjectParams) -> Sequence[str]:
    """The templates it learns, or the local weights it refers to."""
    if params.base_model.source == "pictograms":
        return [PROMPTS]
    named = params.base_model.reference
    local = named is not None and named.model.startswith((".", "/"))
    return ["${base_model.reference.model}"] if local else []


def _summary(made: Result[()]) -> Summary:
    if REFERENCE_FILE in made.documents:
        return Summary(metadata=dict(made.documents[REFERENCE_FILE]))
    scores = made.documents["scores.json"]
    shown = counts_table({name: f"{value:.3f}" for name, value in scores.items()}, "measure", "value")
    told = "a tiny LLaVA trained here; its answers are those of simulated respondents"
    return Summary({"model": told, "held_out_scores": shown}, scores)


def _too_low(made: Checked) -> Any:
    return below(made.metrics, {name: bound for name, bound in EXPECTED.items() if name in made.metrics})


@asset(
    group_name="models",
    kinds={"pytorch", "transformers"},
    folder="models",
    checks=[Check("plays_its_roles", "The pictogram model does what its roles ask of it.", _too_low, "warn")],
    summary=_summary,
)
def base_model(
    settings: Annotated[BaseModelParams, Params("base_model")],
    seed: Seed,
    files: Annotated[list[Path], Files("params/base_model_files", _files)],
    trainings: KeptTrainings,
    progress: Progress,
) -> Result[()]:
    """The VLM to be aligned: a tiny LLaVA trained here from scratch on drawn cards, or a reference to a real one."""
    if settings.source == "reference" and settings.reference is not None:
        return Result(
            documents={REFERENCE_FILE: trainings.reference(settings.reference.model, settings.reference.revision)}
        )
    require_extra("transformers")
    from spavl_dag.demo.train import VERSION, train_base_model

    (prompts,) = files
    decisive = {
        "version": VERSION,
        "recipe": settings.recipe.model_dump(mode="json"),
        "seed": seed,
        "prompts": trainings.content(prompts),
    }
    measured = trainings.get(
        "base_model",
        decisive,
        lambda folder: train_base_model(
            folder,
            settings.recipe,
            seed,
            progress=progress,
            prompts_dir=prompts,
        ),
    )
    # Times differ from run to run, so they stay out of the artifact and its hash.
    scores = {name: value for name, value in measured.items() if not name.startswith("seconds")}
    seconds = {name: value for name, value in measured.items() if name.startswith("seconds")}
    return Result(documents={"scores.json": scores}, metrics=seconds)
