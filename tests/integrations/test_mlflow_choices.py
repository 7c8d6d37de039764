"""Params of MLflow's runs: each choice under one short name."""

from __future__ import annotations

from spavl_dag.integrations.mlflow.choices import answering_params, checkpoint_params
from spavl_dag.params.load import load_params
from tests.conftest import CHECKOUT

PARAMS = load_params(CHECKOUT / "params.yaml")


def test_an_experiments_choices_have_one_short_name_each() -> None:
    params = checkpoint_params(PARAMS, "dpo", pairs=250)
    expected = {"method": "dpo", "pairs": 250, "seed": PARAMS.seed, "tuning": PARAMS.experiments["dpo"].tuning.mode}
    assert params.items() >= expected.items()
    assert {"beta", "learning_rate", "batch_size", "train_projector"} <= params.keys()
    assert not [name for name, value in params.items() if isinstance(value, list | dict) or value is None]


def test_pairs_are_not_told_before_they_are_counted() -> None:
    limited = next(
        key for key, entry in PARAMS.experiments.items() if getattr(getattr(entry, "data", None), "pairs", 0)
    )
    assert "pairs" not in checkpoint_params(PARAMS, limited, pairs=None)


def test_a_model_as_it_is_has_no_seed() -> None:
    base = checkpoint_params(PARAMS, PARAMS.evaluation.baseline, pairs=0)
    assert base == {"method": "none", "model": "base_model", "pairs": 0}


def test_an_answering_models_choices_are_flat() -> None:
    key = next(iter(PARAMS.models))
    assert answering_params(PARAMS, key)["decoding.temperature"] == PARAMS.models[key].decoding.temperature
