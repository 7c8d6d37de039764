"""The reward model."""

from __future__ import annotations

from spavl_dag.pipeline.recipe import artifact
from spavl_dag.pipeline.run import Run
from spavl_dag.pipeline.store import Made
from spavl_dag.training.making import make_reward_model


@artifact(deps=("base_model", "images", "dataset"), group="alignment", kinds={"pytorch"}, asks_models=True)
def reward_model(run: Run) -> Made:
    """A scalar head on the model, trained on preferences; accuracy, margin and calibration on held-out pairs."""
    return make_reward_model(run)
