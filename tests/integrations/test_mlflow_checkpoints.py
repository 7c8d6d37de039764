"""One MLflow run per checkpoint, whatever is logged of it and however often."""

from __future__ import annotations

import json
import math
import shutil
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from spavl_dag.integrations.mlflow.checkpoints import CheckpointRecord, TrainingData, find_view
from spavl_dag.integrations.mlflow.evaluations import EvaluationRecord, ReportRecord, TableArtifact
from spavl_dag.integrations.mlflow.live import LiveCurve
from spavl_dag.integrations.mlflow.numbers import CurveRow
from spavl_dag.integrations.mlflow.outbox import deliver
from spavl_dag.integrations.mlflow.runs import Current, RunRecord
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
    seconds=12.0,
    path="models/checkpoints/dpo",
    tags={"dagster.run_id": "a1", "git.commit": "c0ffee", "mlflow.source.name": "spavl run checkpoints"},
)
TABLE = TableArtifact(
    ["name", "value", "ci_low", "n"], [[UNSAFE, 0.123456, 0.05, 106], ["pope/accuracy", None, None, 0]]
)
EVALUATION = EvaluationRecord(
    key="dpo",
    label="DPO",
    data_version="1" * 32 + ".dir",
    scores={UNSAFE: 0.123456, "pope/accuracy": 0.9, "pope/yes_rate": 0.5},
    headlines={"unsafe rate": UNSAFE, "POPE acc": "pope/accuracy"},
    tables={"eval_scores": TABLE},
    gate="failed",
    gate_failed=["capability kept: pope/accuracy", "over refusal kept: xstest/over_refusal"],
    tags={"dvc.md5": "e" * 32, "dagster.run_id": "b2", "mlflow.source.name": "spavl run eval_scores"},
)
REPORT = ReportRecord(
    key="dpo",
    label="DPO",
    data_version="1" * 32 + ".dir",
    files={"report.html": "<p>whole \u2013 report</p>", "report.md": "whole"},
    current=Current(["dpo"], ["captions"]),
    tags={"dvc.md5": "f" * 32},
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


def artifact(run: Run, name: str) -> str:
    return Path(run.info.artifact_uri.removeprefix("file://"), name).read_text(encoding="utf-8")


def states(client: MlflowClient) -> dict[str, str]:
    """State of each run by its name."""
    return {str(run.info.run_name): run.data.tags.get("spavl.state", "") for run in runs(client)}


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
            "spavl.state": "current",
            "dvc.md5": "1" * 32 + ".dir",
            "dagster.run_id": "a1",
            "git.commit": "c0ffee",
            "mlflow.source.name": "spavl run checkpoints",
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
    assert model.tags.items() >= {"path": "models/checkpoints/dpo", "dvc.md5": "1" * 32 + ".dir"}.items()
    assert {metric.key for metric in model.metrics or []} >= {UNSAFE, "unsafe rate", "seconds"}
    assert not list((layout.root / "mlartifacts").rglob("*.safetensors"))


def test_logging_again_makes_no_second_run_and_no_second_point(layout: Project, uri: str, client: MlflowClient) -> None:
    first = deliver(layout, uri, CHECKPOINT)
    (once,) = runs(client)
    deliver(layout, uri, EVALUATION)
    again = deliver(layout, uri, replace(CHECKPOINT, label="Direct", tags={"dagster.run_id": "a3"}, seconds=0.3))
    deliver(layout, uri, EVALUATION)
    (run,) = runs(client)
    assert first == again == run.info.run_id
    assert (run.info.start_time, run.info.end_time) == (once.info.start_time, once.info.end_time)
    assert (run.info.run_name, run.data.tags["dagster.run_id"]) == ("Direct", "a3")
    for metric in ("loss", "seconds", UNSAFE, "unsafe rate"):
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
    assert run.data.metrics.items() >= {UNSAFE: 0.123456, "unsafe rate": 0.1235, "POPE acc": 0.9}.items()
    assert (
        run.data.tags.items()
        >= {
            "gate": "failed",
            "gate.failed": "capability kept: pope/accuracy, over refusal kept: xstest/over_refusal",
            "leaderboard": f"unsafe rate = {UNSAFE}; POPE acc = pope/accuracy",
            "evaluation.dagster.run_id": "b2",
            "dagster.run_id": "a1",
            "mlflow.source.name": "spavl run checkpoints",
        }.items()
    )


def test_intervals_and_counts_are_in_a_table_and_no_metrics(
    layout: Project, uri: str, client: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    deliver(layout, uri, CHECKPOINT)
    deliver(layout, uri, EVALUATION)
    deliver(layout, uri, EVALUATION)  # MLflow's own log_table would add the rows once more
    (run,) = runs(client)
    assert json.loads(artifact(run, "eval_scores.json")) == {"columns": TABLE.columns, "data": TABLE.data}
    assert json.loads(run.data.tags["mlflow.loggedArtifacts"]) == [{"path": "eval_scores.json", "type": "table"}]
    assert not [name for name in run.data.metrics if name.startswith(("ci_", "n/"))]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)  # load_table asks there, whatever the client
    read = client.load_table(str(run.info.experiment_id), "eval_scores.json", run_ids=[run.info.run_id])
    assert list(read["name"]) == [UNSAFE, "pope/accuracy"]


def test_the_report_lies_in_the_baselines_run(layout: Project, uri: str, client: MlflowClient) -> None:
    made = deliver(layout, uri, CHECKPOINT)
    deliver(layout, uri, replace(REPORT, files={"report.html": "an older one"}))
    assert deliver(layout, uri, REPORT) == made
    (run,) = runs(client)
    assert artifact(run, "report/report.html") == "<p>whole \u2013 report</p>"
    assert (run.data.tags["report.dvc.md5"], run.data.tags["dvc.md5"]) == ("f" * 32, "1" * 32 + ".dir")


def test_a_report_waits_with_its_text_for_the_file_may_be_another_by_then(
    layout: Project, uri: str, client: MlflowClient
) -> None:
    deliver(layout, DOWN, CHECKPOINT)
    deliver(layout, DOWN, REPORT)
    deliver(layout, uri, EVALUATION)
    (run,) = runs(client)
    assert artifact(run, "report/report.html") == REPORT.files["report.html"]


def test_what_params_no_longer_name_leaves_the_leaderboard_until_it_is_named_again(
    layout: Project, uri: str, client: MlflowClient
) -> None:
    deliver(layout, uri, CHECKPOINT)
    deliver(layout, uri, replace(CHECKPOINT, key="dpo_100", label="DPO 100"))
    deliver(layout, uri, replace(CHECKPOINT, key="dpo_100", label="DPO 100", data_version="3" * 32))
    deliver(layout, uri, RunRecord("generation", "captions"))
    deliver(layout, uri, RunRecord("generation", "responses/m09"))
    deliver(layout, uri, REPORT)
    assert states(client) == {
        "DPO": "current",
        "DPO 100 (removed)": "removed",
        "DPO 100 (superseded)": "superseded",
    }
    generation = client.get_experiment_by_name("generation")
    assert generation is not None
    assert {run.info.run_name for run in client.search_runs([generation.experiment_id])} == {
        "captions",
        "responses/m09 (removed)",
    }
    deliver(layout, uri, replace(CHECKPOINT, key="dpo_100", label="DPO 100", data_version="3" * 32))
    assert states(client)["DPO 100"] == "current"


def test_artifacts_of_a_copied_project_lie_in_the_copy(layout: Project, uri: str, tmp_path: Path) -> None:
    from mlflow import MlflowClient

    deliver(layout, uri, CHECKPOINT)
    copy = Project(tmp_path / "my_copy")
    copy.root.mkdir()
    shutil.copy(layout.root / "mlflow.db", copy.root / "mlflow.db")
    there = f"sqlite:///{copy.root / 'mlflow.db'}"
    deliver(copy, there, EVALUATION)
    (run,) = runs(MlflowClient(there))
    assert json.loads(artifact(run, "eval_scores.json"))["columns"] == TABLE.columns
    assert run.info.artifact_uri.startswith((copy.root / "mlartifacts").as_uri())
    assert not (layout.root / "mlartifacts").exists()


def test_artifacts_that_can_go_nowhere_hold_up_no_numbers(
    layout: Project, uri: str, client: MlflowClient, caplog: pytest.LogCaptureFixture
) -> None:
    (layout.root / "file").touch()
    client.create_experiment("alignment", artifact_location=(layout.root / "file" / "artifacts").as_uri())
    deliver(layout, uri, CHECKPOINT)
    assert deliver(layout, uri, EVALUATION) is not None
    (run,) = runs(client)
    assert run.data.metrics["unsafe rate"] == 0.1235
    assert "eval_scores.json can't be kept" in caplog.text


def test_the_latest_evaluation_counts(layout: Project, uri: str, client: MlflowClient) -> None:
    deliver(layout, uri, CHECKPOINT)
    deliver(layout, uri, EVALUATION)
    scores = {UNSAFE: 0.02, "pope/accuracy": None}
    deliver(layout, uri, replace(EVALUATION, scores=scores, gate="passed", gate_failed=[]))
    (run,) = runs(client)
    assert run.data.metrics[UNSAFE] == run.data.metrics["unsafe rate"] == 0.02
    assert math.isnan(run.data.metrics["pope/accuracy"])  # nothing could be scored: the old number isn't true any more
    assert (run.data.tags["gate"], run.data.tags["gate.failed"]) == ("passed", "")
    only = {"POPE acc": "pope/accuracy"}
    deliver(layout, uri, replace(EVALUATION, scores={"pope/accuracy": 0.8}, headlines=only))
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
        return {run.info.run_id for run in runs(client) if run.data.tags["spavl.state"] == "current"}

    old = deliver(layout, uri, CHECKPOINT)
    other = deliver(layout, uri, replace(CHECKPOINT, key="sft", label="SFT"))
    new = deliver(layout, uri, replace(CHECKPOINT, data_version="2" * 32, curves=[]))
    assert (len({old, new, other}), newest()) == (3, {new, other})
    assert states(client).keys() == {"DPO", "DPO (superseded)", "SFT"}
    assert deliver(layout, uri, CHECKPOINT) == old
    assert newest() == {old, other}
    assert states(client).keys() == {"DPO", "DPO (superseded)", "SFT"}


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_values_that_are_not_finite_leave_a_gap(layout: Project, uri: str, client: MlflowClient, bad: float) -> None:
    curves: list[CurveRow] = [
        {"step": 1, "loss": 2.0, "kl": None},
        {"step": 2, "loss": bad, "kl": 0.1},
        {"step": 3, "loss": 1.0},
    ]
    run_id = logged(layout, uri, replace(CHECKPOINT, curves=curves))
    assert steps(client, run_id, "loss") == [1, 3]
    assert steps(client, run_id, "kl") == [2]


def test_what_waits_in_the_outbox_is_logged_in_order_to_one_run(
    layout: Project, uri: str, client: MlflowClient
) -> None:
    assert deliver(layout, DOWN, CHECKPOINT) is None
    assert deliver(layout, DOWN, EVALUATION) is None
    assert deliver(layout, DOWN, replace(EVALUATION, scores={UNSAFE: 0.01}, gate="passed")) is None
    base = deliver(layout, uri, CheckpointRecord("base", "base", "b" * 32, {"method": "none"}))
    by_name = {run.info.run_name: run for run in runs(client)}
    assert by_name.keys() == {"DPO", "base"}
    assert by_name["base"].info.run_id == base
    dpo = by_name["DPO"]
    assert (dpo.data.metrics[UNSAFE], dpo.data.tags["gate"]) == (0.01, "passed")
    assert steps(client, dpo.info.run_id, "loss") == list(range(1, 1201))
    assert len(datasets(dpo)) == 1


def live(layout: Project, uri: str, training: str = "t1") -> LiveCurve:
    """What a training tells while it runs."""
    record = CheckpointRecord("dpo", "DPO", None, {"method": "dpo", "beta": 0.1}, training=training)
    return LiveCurve(record, lambda record: deliver(layout, uri, record), longest=0.0)


def test_a_curve_goes_on_in_the_same_run_after_a_kill(layout: Project, uri: str, client: MlflowClient) -> None:
    rows = CHECKPOINT.curves
    live(layout, uri).add(rows[:20])
    (run,) = runs(client)
    assert (run.info.status, run.data.params["beta"]) == ("RUNNING", "0.1")
    assert steps(client, run.info.run_id, "loss") == list(range(1, 21))
    resumed = live(layout, uri)  # from the checkpoint at step 10
    resumed.add(rows[10:25])
    resumed.add(rows[25:30])
    assert steps(client, run.info.run_id, "loss") == list(range(1, 31))
    assert deliver(layout, uri, replace(CHECKPOINT, training="t1", curves=rows[:40])) == run.info.run_id
    assert steps(client, run.info.run_id, "loss") == list(range(1, 41))
    (run,) = runs(client)
    assert (run.info.status, run.data.params["pairs"]) == ("FINISHED", "300")


def test_a_training_that_was_given_up_is_superseded_until_it_goes_on(
    layout: Project, uri: str, client: MlflowClient
) -> None:
    live(layout, uri).add(CHECKPOINT.curves[:5])
    made = deliver(layout, uri, replace(CHECKPOINT, training="t2"))
    (left,) = [run for run in runs(client) if run.info.run_id != made]
    assert (left.info.status, left.info.run_name, left.data.tags["spavl.state"]) == (
        "KILLED",
        "DPO (superseded)",
        "superseded",
    )
    live(layout, uri).add(CHECKPOINT.curves[5:9])
    again = client.get_run(left.info.run_id)
    assert (again.info.status, again.info.run_name) == ("RUNNING", "DPO")


def test_a_curve_never_fails_a_training_and_an_outage_loses_nothing_of_it(
    layout: Project, uri: str, client: MlflowClient, caplog: pytest.LogCaptureFixture
) -> None:
    rows = CHECKPOINT.curves
    curve = live(layout, DOWN)
    curve.add(rows[:5])
    curve.add(rows[5:9])
    assert caplog.text.count("can't be reached") == 1
    run_id = logged(layout, uri, replace(CHECKPOINT, training="t1", curves=rows[:9]))
    assert steps(client, run_id, "loss") == list(range(1, 10))
    assert len(runs(client)) == 1


def test_a_slow_server_is_told_less_often() -> None:
    told: list[int] = []

    def deliver_slowly(record: CheckpointRecord) -> str:
        time.sleep(0.01)
        told.append(len(record.curves))
        return "run"

    curve = LiveCurve(CheckpointRecord("dpo", "DPO", None), deliver_slowly)
    for row in CHECKPOINT.curves[:10]:
        curve.add([row])
    assert told == [1]
    time.sleep(0.4)
    curve.add(CHECKPOINT.curves[10:11])
    assert told == [1, 10]


def test_the_leaderboards_address_needs_a_checkpoint_and_a_server(layout: Project, uri: str) -> None:
    assert find_view(DOWN, "http://ui") is None
    assert find_view(uri, "http://ui") is None
    deliver(layout, uri, CHECKPOINT)
    address = find_view(uri, "http://ui")
    assert address is not None
    assert address.endswith("viewStateShareKey=leaderboard")
