"""What may differ between runs, from params.yaml: the params of MLflow's runs, under one short name each."""

from __future__ import annotations

from typing import Any

from spavl_dag.params.sections import Params
from spavl_dag.params.training import TrainedExperiment


def checkpoint_params(params: Params, key: str, pairs: int | None) -> dict[str, Any]:
    """An experiment's choices; what isn't chosen is left out.

    Args:
        params: Checked params.
        key: The experiment's.
        pairs: Rows that were trained on, after selection; None where that isn't known yet.
    """
    experiment = params.experiments[key]
    chosen: dict[str, Any] = {"method": experiment.method, "model": experiment.model, "revision": experiment.revision}
    if isinstance(experiment, TrainedExperiment):
        tuning = experiment.tuning
        lora = tuning.lora.model_dump() if tuning.lora else {}
        chosen |= {
            "seed": params.seed_of(experiment),  # a model as it is has none, and what a run says once can't be changed
            "tuning": tuning.mode,
            "train_projector": tuning.train_projector,
            **{f"lora_{name}": value for name, value in lora.items()},
            **experiment.data.model_dump(exclude_defaults=True),
            **experiment.optimizer.model_dump(),
            **experiment.hyperparameters.model_dump(exclude_unset=True),
        }
    chosen["pairs"] = pairs
    return {
        name: ", ".join(map(str, value)) if isinstance(value, list) else value
        for name, value in chosen.items()
        if value is not None
    }


def answering_params(params: Params, key: str) -> dict[str, Any]:
    """An answering model's choices.

    Args:
        params: Checked params.
        key: The model's.
    """
    entry = params.models[key]
    decoding = {f"decoding.{name}": value for name, value in entry.decoding.model_dump().items()}
    return entry.model_dump(exclude={"decoding"}) | decoding
