from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from spavl_dag.params.training import (
    DpoExperiment,
    RewardModelParams,
    TrainedExperiment,
    TrainingRuntime,
    read_experiment,
)
from spavl_dag.training.job import Job, training_key

COMMON: dict[str, Any] = {
    "model": "base_model",
    "tuning": {"mode": "full", "train_projector": True},
    "data": {"pairs": 10},
    "optimizer": {
        "learning_rate": 1e-3,
        "schedule": "cosine",
        "warmup_steps": 2,
        "batch_size": 8,
        "epochs": 1,
        "max_length": 64,
    },
}
DPO = COMMON | {"method": "dpo", "label": "a name", "hyperparameters": {"beta": 0.1}}
INPUTS = {"model": "aa", "rows": "bb"}


def trained(**changes: Any) -> TrainedExperiment:
    entry = read_experiment(DPO | changes)
    assert isinstance(entry, TrainedExperiment)
    return entry


def key(**changes: Any) -> str:
    said: dict[str, Any] = {"inputs": INPUTS, "template": "{{ question }}", "system": None, "seed": 1, **changes}
    return training_key(said.pop("training", trained()), **said)


@pytest.mark.parametrize(
    ("training", "kind", "method"),
    [(trained(), DpoExperiment, "dpo"), (RewardModelParams.model_validate(COMMON), RewardModelParams, "reward")],
    ids=["dpo", "reward"],
)
def test_a_job_survives_being_written(training: Any, kind: type[Any], method: str) -> None:
    job = Job(
        training=training,
        model="models/base",
        revision=None,
        base_name="base_model",
        template="answer : {{ question }}\né",
        system="be kind",
        rows=Path("rows.parquet"),
        validation=None,
        reward_model=Path("models/reward"),
        work=Path("work"),
        seed=7,
        runtime=TrainingRuntime(per_device_batch=4),
    )
    again = Job.from_json(job.to_json())
    assert again == job
    assert type(again.training) is kind
    assert again.method == method
    assert isinstance(again.rows, Path)
    assert again.runtime.checkpoint_every == 50
    assert job.model_copy(update={"seed": 8}).to_json() != job.to_json()


def test_the_key_changes_with_all_that_decides_the_weights() -> None:
    different = [
        key(),
        key(training=trained(method="sft", hyperparameters={})),
        key(training=RewardModelParams.model_validate(COMMON)),
        key(training=trained(hyperparameters={"beta": 0.2})),
        key(training=trained(tuning={"mode": "full", "train_projector": False})),
        key(training=trained(optimizer=COMMON["optimizer"] | {"epochs": 2})),
        key(inputs=INPUTS | {"rows": "cc"}),
        key(inputs=INPUTS | {"reward_model": "dd"}),
        key(template="answer {{ question }}"),
        key(system=""),
        key(seed=2),
    ]
    assert len(set(different)) == len(different)


def test_the_key_leaves_out_names_and_how_rows_were_selected() -> None:
    assert key(training=trained(seed=1)) == key(), "an own seed counts as the project's would"
    assert key(training=trained(label=None, data={"pairs": 11})) == key()
    assert key(inputs={"rows": "bb", "model": "aa"}) == key()
