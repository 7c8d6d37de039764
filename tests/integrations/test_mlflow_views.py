"""What the leaderboard shows, and that MLflow's UI shows it without a click."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from spavl_dag.evaluation.headlines import HEADLINES
from spavl_dag.integrations.mlflow.checkpoints import CheckpointRecord, find_view
from spavl_dag.integrations.mlflow.evaluations import EvaluationRecord, ReportRecord, TableArtifact
from spavl_dag.integrations.mlflow.outbox import deliver
from spavl_dag.integrations.mlflow.runs import Current, RunRecord
from spavl_dag.integrations.mlflow.views import saved_views, view_url
from spavl_dag.pipeline.layout import Project
from tests.integrations.test_ui import free_port, wait_for

if TYPE_CHECKING:
    from mlflow import MlflowClient

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


def test_views_are_what_mlflows_ui_reads() -> None:
    views = saved_views()
    assert views == saved_views()
    assert list(views) == ["mlflow.sharedViewState.leaderboard", "mlflow.sharedViewState.data_scale"]
    for value in views.values():
        assert len(value) <= 20_000  # MLflow's limit for a tag of an experiment
        envelope = json.loads(value)
        assert {"name", "createdAt", "state"} == envelope.keys()
        state = json.loads(envelope["state"])
        assert set(state["selectedColumns"]) < set(state["columnOrder"])
        assert {f"metrics.`{headline.label}`" for headline in HEADLINES} < set(state["selectedColumns"])


def test_an_address_names_the_experiment_and_the_view() -> None:
    assert view_url("http://127.0.0.1:5000/", "7") == (
        "http://127.0.0.1:5000/#/experiments/7/runs?workflowType=machine_learning&viewStateShareKey=leaderboard"
    )
    assert view_url("http://h", "7", "data_scale").endswith("&viewStateShareKey=data_scale&compareRunsMode=CHART")
    assert view_url("", "7", None) == "#/experiments/7/runs?workflowType=machine_learning"


def test_experiments_say_what_they_are_and_keep_what_somebody_wrote(
    layout: Project, uri: str, client: MlflowClient
) -> None:
    deliver(layout, uri, CheckpointRecord("base", "base", "b" * 32))
    deliver(layout, uri, RunRecord("generation", "captions"))
    for name in ("alignment", "generation"):
        found = client.get_experiment_by_name(name)
        assert found is not None
        assert found.tags["mlflow.experimentKind"] == "custom_model_development"
        link = f"](#/experiments/{found.experiment_id}/runs?workflowType=machine_learning"
        assert link in found.tags["mlflow.note.content"].partition("\n")[0]
    client.set_experiment_tag("1", "mlflow.note.content", "mine")
    client.set_experiment_tag("1", "mlflow.sharedViewState.leaderboard", "of an older version")
    deliver(layout, uri, CheckpointRecord("base", "base", "c" * 32))
    tags = client.get_experiment("1").tags
    assert tags["mlflow.note.content"] == "mine"
    assert tags["mlflow.sharedViewState.leaderboard"] == saved_views()["mlflow.sharedViewState.leaderboard"]


def test_a_server_says_itself_where_artifacts_go(layout: Project, uri: str, client: MlflowClient) -> None:
    deliver(layout, uri, RunRecord("generation", "captions"))
    found = client.get_experiment_by_name("generation")
    assert found is not None
    assert found.artifact_location == (layout.root / "mlartifacts").as_uri()


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_the_ui_shows_a_row_per_checkpoint_and_the_columns_that_matter(
    layout: Project, uri: str, tmp_path: Path
) -> None:
    table = TableArtifact(["name", "value"], [["harm_eval/unsafe_rate/judge:m", 0.0731]])
    headlines = {"unsafe rate": "harm_eval/unsafe_rate/judge:m", "POPE acc": "pope/accuracy"}
    for key, pairs, rate in (("base", 0, 0.62), ("dpo", 1000, 0.0731), ("dpo_100", 100, 0.4125), ("ppo", 9, 0.3517)):
        version = key.ljust(32, "0")
        deliver(layout, uri, CheckpointRecord(key, f"the {key}", version, {"method": "dpo", "pairs": pairs}))
        scores = {"harm_eval/unsafe_rate/judge:m": rate, "pope/accuracy": 0.91}
        deliver(
            layout,
            uri,
            EvaluationRecord(key, f"the {key}", version, scores, headlines, {"eval_scores": table}, gate="passed"),
        )
    deliver(layout, uri, CheckpointRecord("dpo_100", "the dpo_100", "f" * 32))  # its old run is superseded
    current = Current(["base", "dpo", "dpo_100"], [])
    run = deliver(layout, uri, ReportRecord("base", "the base", "base".ljust(32, "0"), {"report.html": "it"}, current))
    port = free_port()
    server = subprocess.Popen(
        [
            *(sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)),
            *("--backend-store-uri", uri, "--workers", "1"),
        ],
        cwd=tmp_path,
        env={**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        wait_for(f"http://127.0.0.1:{port}/health", server)
        address = find_view(uri, f"http://127.0.0.1:{port}")
        assert address is not None
        table = rendered(address, ">the base<")
        charts = rendered(view_url(f"http://127.0.0.1:{port}", "1", "data_scale"), "pairs vs. unsafe rate")
        plain = rendered(f"http://127.0.0.1:{port}/#/experiments/1", ">Leaderboard</a>")
        runs = rendered(view_url(f"http://127.0.0.1:{port}", "1", None), "the ppo (removed)")
        files = rendered(f"http://127.0.0.1:{port}/#/experiments/1/runs/{run}/artifacts", ">report<")
    finally:
        server.terminate()
        server.wait(timeout=30)
    assert {name: table.count(f">{name}<") for name in ("the base", "the dpo", "the dpo_100")} == {
        "the base": 1,
        "the dpo": 1,
        "the dpo_100": 1,
    }
    columns = set(re.findall(r'col-id="([^"]+)"', table))
    assert {"tags.`gate`", "params.`method`", "params.`pairs`", "metrics.`unsafe rate`"} <= columns
    assert "0.0731" in table
    assert "0.4125" not in table
    assert "the ppo" not in table
    assert "pairs vs. unsafe rate" in charts
    assert "#/experiments/1/runs?workflowType=machine_learning&amp;viewStateShareKey=leaderboard" in plain
    assert {"the ppo (removed)", "the dpo_100 (superseded)"} <= set(re.findall(r"the [a-z0-9_]+ \(\w+\)", runs))
    assert "eval_scores.json" in files


def rendered(address: str, expected: str) -> str:
    """The page's elements once its scripts have run, and something expected is among them."""
    assert CHROMIUM is not None
    options = ("--headless", "--no-sandbox", "--disable-gpu", "--window-size=1400,850", "--virtual-time-budget=60000")
    content = ""
    # Chromium's clock runs ahead while it waits for nothing, which a busy machine can look like: then once more.
    for _ in range(4):
        done = subprocess.run([CHROMIUM, *options, "--dump-dom", address], capture_output=True, text=True, timeout=180)
        content = done.stdout
        if expected in content:
            break
    return content
