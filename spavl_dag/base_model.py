"""The base model: trained on drawn cards, or referred to."""

from __future__ import annotations

from pathlib import Path

from spavl_dag.params.pictograms import PictogramModelParams
from spavl_dag.params.project import HubReference
from spavl_dag.pipeline.preview import counts_table
from spavl_dag.pipeline.run import REFERENCE_FILE
from spavl_dag.pipeline.store import Made
from spavl_dag.progress import Progress

PROMPTS = "prompts/pictograms"
"""The model is trained on the very templates it is asked with."""


def train_pictogram_model(
    target: Path, recipe: PictogramModelParams, seed: int, root: Path, progress: Progress
) -> Made:
    """Train the tiny LLaVA that plays every role.

    Args:
        target: Folder of the checkpoint.
        recipe: How to train it.
        seed: The project's seed.
        root: The project, for its prompt templates.
        progress: Told about training steps.
    """
    from spavl_dag.demo.train import train_base_model

    measured = train_base_model(target, recipe, seed, progress, prompts_dir=root / PROMPTS)
    # Times differ from run to run, so they stay out of the artifact and its hash.
    scores = {name: value for name, value in measured.items() if not name.startswith("seconds")}
    shown = {name: f"{value:.3f}" for name, value in scores.items()}
    return Made(
        documents={"scores.json": scores},
        metadata={
            "model": "a tiny LLaVA trained here; its answers are those of simulated respondents",
            "held_out_scores": counts_table(shown, "measure", "value"),
        },
        metrics=measured,
    )


def refer_to_base_model(reference: HubReference) -> Made:
    """Note which existing model is the base model; its weights stay where they are."""
    return Made(
        documents={REFERENCE_FILE: reference.model_dump()},
        metadata={"model": reference.model, "revision": reference.revision or "main"},
    )
