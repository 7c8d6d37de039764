from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from spavl_dag.params.training import DpoParams
from spavl_dag.training.job import Job, training_key

PARAMS: dict[str, Any] = {
    "method": "dpo",
    "label": "a name",
    "model": "base_model",
    "tuning": {"tuning": "full", "lora": None, "train_projector": True},
    "data": {"pairs": 10},
    "optimizer": {
        "learning_rate": 1e-3,
        "schedule": "cosine",
        "warmup_steps": 2,
        "batch_size": 8,
        "epochs": 1,
        "max_length": 64,
    },
    "settings": {"beta": 0.1},
}
INPUTS = {"model": "aa", "rows": "bb"}


def key(**changes: Any) -> str:
    said: dict[str, Any] = {"inputs": INPUTS, "template": "{{ question }}", "system": None, "seed": 1, **changes}
    return training_key(said.pop("method", "dpo"), said.pop("params", PARAMS), **said)


def test_a_job_survives_being_written() -> None:
    job = Job(
        method="dpo",
        params=PARAMS,
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
        runtime={"per_device_batch": 4},
    )
    again = Job.from_json(job.to_json())
    assert again == job
    assert isinstance(again.rows, Path)
    assert again.experiment.settings_of(DpoParams).beta == 0.1
    assert again.training_runtime.checkpoint_every == 50
    assert replace(job, seed=8).to_json() != job.to_json()


def test_the_key_changes_with_all_that_decides_the_weights() -> None:
    different = [
        key(),
        key(method="sft"),
        key(params=PARAMS | {"settings": {"beta": 0.2}}),
        key(inputs=INPUTS | {"rows": "cc"}),
        key(inputs=INPUTS | {"reward_model": "dd"}),
        key(template="answer {{ question }}"),
        key(system=""),
        key(seed=2),
    ]
    assert len(set(different)) == len(different)


def test_the_key_leaves_out_names_and_how_rows_were_selected() -> None:
    assert key(params=PARAMS | {"label": None, "data": {"pairs": 11}}) == key()
    assert key(inputs={"rows": "bb", "model": "aa"}) == key()
