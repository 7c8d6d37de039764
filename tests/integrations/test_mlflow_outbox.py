"""Records wait for MLflow in order; one that can't be logged holds up nobody."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from spavl_dag.integrations.mlflow.outbox import deliver
from spavl_dag.integrations.mlflow.runs import RunRecord
from spavl_dag.pipeline.layout import Project

if TYPE_CHECKING:
    from mlflow import MlflowClient

DOWN = "http://127.0.0.1:9"  # nobody answers there


def waiting(layout: Project) -> list[str]:
    return sorted(file.name for file in (layout.work / "mlflow_outbox").glob("*.json"))


def names(client: MlflowClient) -> list[str]:
    """Names of the generation runs, the oldest first."""
    experiment = client.get_experiment_by_name("generation")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id], order_by=["start_time ASC"])
    return [str(run.info.run_name) for run in runs]


def record(name: str, **params: object) -> RunRecord:
    return RunRecord("generation", name, params=params, metrics={"rows": 3.0})


def test_a_run_is_logged_with_its_numbers_and_leaves_nothing_behind(
    layout: Project, uri: str, client: MlflowClient
) -> None:
    run_id = deliver(layout, uri, record("responses/m01", artifact="responses", partition=None))
    assert run_id is not None
    run = client.get_run(run_id)
    assert (run.data.params, run.data.metrics) == ({"artifact": "responses"}, {"rows": 3.0})
    assert run.data.tags["spavl.artifact"] == "responses/m01"
    assert run.info.status == "FINISHED"
    assert waiting(layout) == []


def test_records_wait_while_the_server_is_down_and_are_logged_in_order(
    layout: Project, uri: str, client: MlflowClient
) -> None:
    for number in range(3):
        assert deliver(layout, DOWN, record(f"run {number}")) is None
    assert waiting(layout) == [f"0000000{number}-RunRecord.json" for number in (1, 2, 3)]
    assert deliver(layout, uri, record("run 3")) is not None
    assert names(client) == ["run 0", "run 1", "run 2", "run 3"]
    assert waiting(layout) == []


def test_a_record_that_waited_keeps_its_time(layout: Project, uri: str, client: MlflowClient) -> None:
    deliver(layout, DOWN, record("late"))
    file = layout.work / "mlflow_outbox" / "00000001-RunRecord.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"when": 1_700_000_000_000}))
    deliver(layout, uri, record("now"))
    late = client.search_runs(["1"], "attributes.run_name = 'late'")[0]
    assert late.info.end_time == 1_700_000_000_000


@pytest.mark.parametrize(
    "content", ["{", "{}", '{"kind": "Nothing", "when": 1, "record": {}}', '{"kind": "RunRecord"}']
)
def test_a_file_that_cannot_be_read_is_set_aside(layout: Project, uri: str, content: str) -> None:
    outbox = layout.work / "mlflow_outbox"
    outbox.mkdir(parents=True)
    (outbox / "captions-1a2b.json").write_text(content)
    assert deliver(layout, uri, record("next")) is not None
    assert waiting(layout) == []
    assert [file.name for file in (outbox / "refused").iterdir()] == ["captions-1a2b.json"]


def test_files_of_the_version_before_are_read_or_set_aside(
    layout: Project, uri: str, client: MlflowClient, caplog: pytest.LogCaptureFixture
) -> None:
    outbox = layout.work / "mlflow_outbox"
    outbox.mkdir(parents=True)
    same = {"key": "dpo", "label": "DPO", "data_version": "1" * 32, "tags": {}}
    checkpoint = {"params": {"beta": 0.1}, "data": None, "curves": [{"step": 1, "loss": 0.5}], "training": None}
    score = {"value": 0.1, "ci_low": 0.0, "ci_high": 0.2, "n": 9}
    before = {
        "00000001-RunRecord": {"experiment": "generation", "name": "old", "params": {}, "metrics": {}, "tags": {}},
        "00000002-CheckpointRecord": same | checkpoint | {"metrics": {"seconds": 1.0}, "path": "models/dpo"},
        "00000003-EvaluationRecord": same | {"scores": {"pope/f1": score}, "gate": "passed", "gate_failed": []},
    }
    for name, content in before.items():
        kind = name.partition("-")[2]
        (outbox / f"{name}.json").write_text(json.dumps({"kind": kind, "when": 1_700_000_000_000, "record": content}))
    assert deliver(layout, uri, record("next")) is not None
    assert names(client) == ["old", "next"]
    (run,) = client.search_runs([client.get_experiment_by_name("alignment").experiment_id])
    assert (run.info.run_name, run.data.metrics, run.data.params["beta"]) == ("DPO", {"loss": 0.5}, "0.1")
    assert [file.name for file in (outbox / "refused").iterdir()] == ["00000003-EvaluationRecord.json"]
    assert "00000003-EvaluationRecord.json can't be logged" in caplog.text


def test_the_newest_run_of_an_artifact_counts(layout: Project, uri: str, client: MlflowClient) -> None:
    for rows in (1.0, 2.0):
        deliver(layout, uri, RunRecord("generation", "captions", metrics={"rows": rows}))
    deliver(layout, uri, record("questions"))
    found = {str(run.info.run_name): run for run in client.search_runs(["1"])}
    assert found.keys() == {"captions", "captions (superseded)", "questions"}
    assert found["captions"].data.metrics == {"rows": 2.0}
    assert {name: run.data.tags["spavl.state"] for name, run in found.items()} == {
        "captions": "current",
        "captions (superseded)": "superseded",
        "questions": "current",
    }


def test_what_a_kill_left_half_logged_is_completed_and_no_second_run(
    layout: Project, uri: str, client: MlflowClient
) -> None:
    deliver(
        layout, DOWN, RunRecord("generation", "reward_model", metrics={"rows": 3.0}, curves=[{"step": 1, "loss": 1.0}])
    )
    (file,) = (layout.work / "mlflow_outbox").glob("*.json")
    content = file.read_text()
    deliver(layout, uri, record("next"))
    file.write_text(content)  # as if the process had been killed before it could delete the file
    deliver(layout, uri, record("last"))
    assert sorted(names(client)) == ["last", "next", "reward_model"]
    (run,) = client.search_runs(["1"], "attributes.run_name = 'reward_model'")
    assert [point.step for point in client.get_metric_history(run.info.run_id, "loss")] == [1]


def test_a_record_that_mlflow_refuses_is_set_aside(layout: Project, uri: str, caplog: pytest.LogCaptureFixture) -> None:
    assert deliver(layout, uri, record("refused", **{"bad?name": 1})) is None
    assert "bad?name" in caplog.text
    assert deliver(layout, uri, record("fine")) is not None
    assert waiting(layout) == []


def test_an_experiment_in_mlflows_bin_is_taken_out_again(layout: Project, uri: str, client: MlflowClient) -> None:
    deliver(layout, uri, record("before"))
    client.delete_experiment("1")
    assert deliver(layout, uri, record("after")) is not None
    assert "after" in names(client)


def test_no_address_is_told_for_it_may_hold_a_password(layout: Project, caplog: pytest.LogCaptureFixture) -> None:
    assert deliver(layout, "http://somebody:secret@127.0.0.1:9", record("run")) is None
    assert "can't be reached" in caplog.text
    assert "secret" not in caplog.text
