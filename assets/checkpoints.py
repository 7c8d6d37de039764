"""The model after each experiment's training."""

from __future__ import annotations

from spavl_dag.pipeline.recipe import artifact
from spavl_dag.pipeline.run import Run
from spavl_dag.pipeline.store import Made
from spavl_dag.training.making import make_checkpoint


@artifact(
    deps=("base_model", "images", "dataset", "reward_model"),
    group="alignment",
    kinds={"pytorch", "trl"},
    asks_models=True,
)
def checkpoints(run: Run) -> Made:
    """One experiment's checkpoint: SFT, DPO, PPO, GRPO or RLOO, or for method none the model as it is."""
    return make_checkpoint(run)
