"""One MLflow run per checkpoint, whatever is logged of it and however often."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from spavl_dag.integrations.mlflow.checkpoints import (
    CheckpointRecord,
    CurveRow,
    EvaluationRecord,
    LiveCurves,
    Score,
    TrainingData,
    checkpoint_params,
    find_view,
)
from spavl_dag.integrations.mlflow.outbox import deliver
from spavl_dag.params.training import read_experiment
from spavl_dag.pipeline.layout import Project

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Dataset, Run

DOWN = "http://127.0.0.1:9"  # nobody answers there
UNSAFE = "harm_eval/unsafe_rate/judge:base_model"

CHECKPOINT = CheckpointRecord(
    key="dpo",
    label="DPO",
    data_version="1" * 32 + ".dir",
    params={"method": "dpo", "beta": 0.1, "pairs": 300, "revision": None},
    data=TrainingData("dataset", "d" * 32, 300, "data/dataset/dataset.parquet"),
    curves=[{"step": step, "loss": 1 / step, "dpo/reward_margin": step / 10} for step in range(1, 1201)],
    metrics={"seconds": 12.0, "train_rows": 300},
    tags={"dagster.run_id": "a1", "git.commit": "c0ffee"},
)
EVALUATION = EvaluationRecord(
    key="dpo",
    label="DPO",
    data_version=CHECKPOINT.data_version,
    scores={UNSAFE: Score(0.123456, 0.05, 0.2, 106), "pope/accuracy": Score(0.9, 0.8, 0.95, 159)},
    gate="failed",
    gate_failed=["capability: pope/accuracy", "over_refusal: xstest/over_refusal"],
    tags={"dvc.md5": "e" * 32, "dagster.run_id": "b2"},
)


def runs(client: MlflowClient) -> list[Run]:
    experiment = client.get_experiment_by_name("alignment")
    assert experiment is not None
    return list(client.search_runs([experiment.experiment_id]))


def logged(layout: Project, uri: str, record: CheckpointRecord) -> str:
    """Log a checkpoint, which must work."""
    run_id = deliver(layout, uri, record)
    assert run_id is not None
    return run_id


def datasets(run: Run) -> list[Dataset]:
    assert run.inputs is not None
    return [given.dataset for given in run.inputs.dataset_inputs]


def models(run: Run) -> list[str]:
    assert run.outputs is not None
    return [model.model_id for model in run.outputs.model_outputs]


def steps(client: MlflowClient, run_id: str, metric: str) -> list[int]:
    return sorted(point.step for point in client.get_metric_history(run_id, metric))


def test_a_checkpoint_is_a_run_with_params_dataset_curves_and_lineage(
    layout: Project, uri: str, client: MlflowClient
) -> None:
    run_id = logged(layout, uri, CHECKPOINT)
    run = client.get_run(run_id)
    assert (run.info.run_name, run.info.status) == ("DPO", "FINISHED")
    assert run.data.params == {"method": "dpo", "beta": "0.1", "pairs": "300"}
    assert (
        run.data.tags.items()
        >= {
            "spavl.checkpoint": "dpo",
            "spavl.superseded": "false",
            "dvc.md5": CHECKPOINT.data_version,
            "dagster.run_id": "a1",
            "git.commit": "c0ffee",
        }.items()
    )
    (dataset,) = datasets(run)
    assert (dataset.name, dataset.digest, dataset.profile) == ("dataset", "d" * 32, '{"num_rows": 300}')
    assert steps(client, run_id, "loss") == list(range(1, 1201))
    assert steps(client, run_id, "dpo/reward_margin") == list(range(1, 1201))
    assert run.data.metrics["loss"] == 1 / 1200
    assert run.info.end_time - run.info.start_time == 12_000


def test_the_model_is_logged_by_reference(layout: Project, uri: str, client: MlflowClient) -> None:
    deliver(layout, uri, CHECKPOINT)
    deliver(layout, uri, EVALUATION)
    (run,) = runs(client)
    model = client.get_logged_model(models(run)[0])
    assert (model.name, model.status, model.source_run_id) == ("dpo", "READY", run.info.run_id)
    assert model.tags.items() >= {"path": "models/checkpoints/dpo", "dvc.md5": CHECKPOINT.data_version}.items()
    assert {metric.key for metric in model.metrics or []} >= {UNSAFE, "unsafe rate", "train_rows"}
    assert not (layout.root / "mlartifacts").exists()


def test_logging_again_makes_no_second_run_and_no_second_point(layout: Project, uri: str, client: MlflowClient) -> None:
    first = deliver(layout, uri, CHECKPOINT)
    (once,) = runs(client)
    deliver(layout, uri, EVALUATION)
    again = deliver(layout, uri, replace(CHECKPOINT, label="Direct", tags={"dagster.run_id": "a3"}))
    deliver(layout, uri, EVALUATION)
    (run,) = runs(client)
    assert first == again == run.info.run_id
    assert (run.info.start_time, run.info.end_time) == (once.info.start_time, once.info.end_time)
    assert (run.info.run_name, run.data.tags["dagster.run_id"]) == ("Direct", "a3")
    for metric in ("loss", "train_rows", UNSAFE, "unsafe rate"):
        history = [(point.step, point.value) for point in client.get_metric_history(run.info.run_id, metric)]
        assert len(history) == len(set(history)) == (1200 if metric == "loss" else 1)
    assert len(datasets(run)) == len(models(run)) == 1
    assert len(client.search_logged_models([run.info.experiment_id])) == 1


def test_what_a_killed_process_left_half_logged_is_completed(layout: Project, uri: str, client: MlflowClient) -> None:
    run_id = logged(layout, uri, replace(CHECKPOINT, curves=CHECKPOINT.curves[:7], data=None, params={}))
    assert run_id == deliver(layout, uri, CHECKPOINT)
    assert steps(client, run_id, "loss") == list(range(1, 1201))
    run = client.get_run(run_id)
    assert run.data.params["beta"] == "0.1"
    assert len(datasets(run)) == 1


def test_an_evaluation_lands_in_the_checkpoints_run(layout: Project, uri: str, client: MlflowClient) -> None:
    made = deliver(layout, uri, CHECKPOINT)
    assert deliver(layout, uri, EVALUATION) == made
    (run,) = runs(client)
    expected = {UNSAFE: 0.123456, "unsafe rate": 0.1235, "POPE acc": 0.9, f"ci_low/{UNSAFE}": 0.05, f"n/{UNSAFE}": 106}
    assert run.data.metrics.items() >= expected.items()
    assert (
        run.data.tags.items()
        >= {
            "gate": "failed",
            "gate.failed": "capability: pope/accuracy, over_refusal: xstest/over_refusal",
            "leaderboard": f"unsafe rate = {UNSAFE}; POPE acc = pope/accuracy",
            "evaluation.dagster.run_id": "b2",
            "dagster.run_id": "a1",
        }.items()
    )


def test_the_latest_evaluation_counts(layout: Project, uri: str, client: MlflowClient) -> None:
    deliver(layout, uri, CHECKPOINT)
    deliver(layout, uri, EVALUATION)
    scores = {UNSAFE: Score(0.02, 0.0, 0.1, 106), "pope/accuracy": Score(None, None, None, 0)}
    deliver(layout, uri, replace(EVALUATION, scores=scores, gate="passed", gate_failed=[]))
    (run,) = runs(client)
    assert run.data.metrics[UNSAFE] == run.data.metrics["unsafe rate"] == 0.02
    assert math.isnan(run.data.metrics["pope/accuracy"])  # nothing could be scored: the old number isn't true any more
    assert (run.data.tags["gate"], run.data.tags["gate.failed"]) == ("passed", "")
    deliver(layout, uri, replace(EVALUATION, scores={"pope/accuracy": Score(0.8)}))
    (run,) = runs(client)
    assert math.isnan(run.data.metrics["unsafe rate"])  # the leaderboard shows the latest evaluation only
    assert run.data.metrics["POPE acc"] == 0.8


def test_a_lost_store_gets_a_run_with_the_evaluation(layout: Project, uri: str, client: MlflowClient) -> None:
    run_id = deliver(layout, uri, EVALUATION)
    assert run_id is not None
    (run,) = runs(client)
    assert (run.info.run_id, run.info.run_name, run.data.metrics[UNSAFE]) == (run_id, "DPO", 0.123456)
    assert deliver(layout, uri, CHECKPOINT) == run_id
    assert client.get_run(run_id).data.params["beta"] == "0.1"


def test_a_new_data_version_supersedes_the_older_run_until_it_comes_back(
    layout: Project, uri: str, client: MlflowClient
) -> None:
    def newest() -> set[str]:
        return {run.info.run_id for run in runs(client) if run.data.tags["spavl.superseded"] == "false"}

    old = deliver(layout, uri, CHECKPOINT)
    other = deliver(layout, uri, replace(CHECKPOINT, key="sft", label="SFT"))
    new = deliver(layout, uri, replace(CHECKPOINT, data_version="2" * 32, curves=[]))
    assert (len({old, new, other}), newest()) == (3, {new, other})
    assert deliver(layout, uri, CHECKPOINT) == old
    assert newest() == {old, other}


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_values_that_are_not_finite_leave_a_gap_and_a_tag(
    layout: Project, uri: str, client: MlflowClient, bad: float
) -> None:
    curves: list[CurveRow] = [
        {"step": 1, "loss": 2.0, "kl": None},
        {"step": 2, "loss": bad, "kl": 0.1},
        {"step": 3, "loss": 1.0},
    ]
    run_id = logged(layout, uri, replace(CHECKPOINT, curves=curves, metrics={"final": bad}))
    run = client.get_run(run_id)
    assert steps(client, run_id, "loss") == [1, 3]
    assert steps(client, run_id, "kl") == [2]
    assert "final" not in run.data.metrics
    assert run.data.tags["curves.not_finite"] == "loss"


def test_what_waits_in_the_outbox_is_logged_in_order_to_one_run(
    layout: Project, uri: str, client: MlflowClient
) -> None:
    assert deliver(layout, DOWN, CHECKPOINT) is None
    assert deliver(layout, DOWN, EVALUATION) is None
    assert deliver(layout, DOWN, replace(EVALUATION, scores={UNSAFE: Score(0.01)}, gate="passed")) is None
    base = deliver(layout, uri, CheckpointRecord("base", "base", "b" * 32, {"method": "none"}))
    by_name = {run.info.run_name: run for run in runs(client)}
    assert by_name.keys() == {"DPO", "base"}
    assert by_name["base"].info.run_id == base
    dpo = by_name["DPO"]
    assert (dpo.data.metrics[UNSAFE], dpo.data.tags["gate"]) == (0.01, "passed")
    assert steps(client, dpo.info.run_id, "loss") == list(range(1, 1201))
    assert len(datasets(dpo)) == 1


def test_live_curves_go_on_in_the_same_run_after_a_kill(layout: Project, uri: str, client: MlflowClient) -> None:
    rows = CHECKPOINT.curves
    LiveCurves(layout, uri, "dpo", "DPO", "t1").add(rows[:20])
    (run,) = runs(client)
    assert (run.info.status, steps(client, run.info.run_id, "loss")) == ("RUNNING", list(range(1, 21)))
    resumed = LiveCurves(layout, uri, "dpo", "DPO", "t1")  # from the checkpoint at step 10
    resumed.add(rows[10:25])
    resumed.add(rows[25:30])
    assert deliver(layout, uri, replace(CHECKPOINT, training="t1", curves=rows[:40])) == run.info.run_id
    assert steps(client, run.info.run_id, "loss") == list(range(1, 41))
    assert [run.info.status for run in runs(client)] == ["FINISHED"]


def test_a_training_that_was_given_up_is_superseded(layout: Project, uri: str, client: MlflowClient) -> None:
    LiveCurves(layout, uri, "dpo", "DPO", "t1").add(CHECKPOINT.curves[:5])
    made = deliver(layout, uri, replace(CHECKPOINT, training="t2"))
    (left,) = [run for run in runs(client) if run.info.run_id != made]
    assert (left.info.status, left.data.tags["spavl.superseded"]) == ("KILLED", "true")


def test_live_curves_never_fail_a_training(layout: Project, caplog: pytest.LogCaptureFixture) -> None:
    live = LiveCurves(layout, DOWN, "dpo", "DPO", "t1")
    live.add(CHECKPOINT.curves[:5])
    live.add(CHECKPOINT.curves[5:9])
    assert caplog.text.count("can't be reached") == 1


def test_the_leaderboards_address_needs_a_checkpoint_and_a_server(layout: Project, uri: str) -> None:
    assert find_view(DOWN, "http://ui") is None
    assert find_view(uri, "http://ui") is None
    deliver(layout, uri, CHECKPOINT)
    address = find_view(uri, "http://ui")
    assert address is not None
    assert address.endswith("viewStateShareKey=leaderboard")


def test_an_experiments_choices_have_one_short_name_each() -> None:
    entry: dict[str, Any] = {
        "method": "dpo",
        "model": "base_model",
        "tuning": {"mode": "lora", "lora": {"rank": 8, "alpha": 16}, "train_projector": True},
        "data": {"pairs": 300, "question_types": ["easy_question", "hard_question"]},
        "optimizer": {
            "learning_rate": 5e-4,
            "schedule": "cosine",
            "warmup_steps": 0.1,
            "batch_size": 16,
            "epochs": 2,
            "max_length": 256,
        },
        "hyperparameters": {"beta": 0.1},
    }
    params = checkpoint_params(read_experiment(entry), pairs=250)
    assert (
        params.items()
        >= {
            "method": "dpo",
            "tuning": "lora",
            "lora_rank": 8,
            "train_projector": True,
            "pairs": 250,
            "question_types": "easy_question, hard_question",
            "learning_rate": 5e-4,
            "beta": 0.1,
        }.items()
    )
    base = checkpoint_params(read_experiment({"method": "none", "model": "base_model"}), pairs=0)
    assert base == {"method": "none", "model": "base_model", "pairs": 0}
