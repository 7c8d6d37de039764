"""What MLflow is told of artifacts that it never saw made: the same as of those that it did."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest

from tests.conftest import Project

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

pytestmark = pytest.mark.slow

SYNC = """
from pathlib import Path
from spavl_dag.integrations.mlflow.sync import synchronize_mlflow
from spavl_dag.pipeline.load import load_graph
from spavl_dag.pipeline.layout import Project
print(*synchronize_mlflow(load_graph(Project(Path.cwd()))))
"""
KEYS = ("base", "dpo", "ppo")
ALL = [*(f"checkpoints@{key}" for key in KEYS), *(f"eval_scores@{key}" for key in KEYS), "report"]
OF_THE_MAKING = {"spavl.training"}
"""Tags that nothing on disk tells of."""


def synchronize(project: Project) -> list[str]:
    return project.run("python", "-c", SYNC).stdout.split()


def runs(project: Project) -> dict[str, Run]:
    """Runs of the checkpoints by name."""
    client = client_of(project)
    experiment = client.get_experiment_by_name("alignment")
    assert experiment is not None
    return {str(run.info.run_name): run for run in client.search_runs([experiment.experiment_id])}


def client_of(project: Project) -> MlflowClient:
    from mlflow import MlflowClient

    return MlflowClient(f"sqlite:///{project.root / 'mlflow.db'}")


def told(project: Project) -> Mapping[str, Any]:
    """What a reader of MLflow learns of each checkpoint, whenever and wherever it was logged."""
    client = client_of(project)
    return {
        name: {
            "params": run.data.params,
            "tags": {tag: value for tag, value in run.data.tags.items() if tag not in OF_THE_MAKING},
            "metrics": {metric: value for metric, value in run.data.metrics.items() if metric != "seconds"},
            "curve": [(point.step, point.value) for point in client.get_metric_history(run.info.run_id, "loss")],
            "status": run.info.status,
            "data": [(given.dataset.name, given.dataset.digest) for given in getattr(run.inputs, "dataset_inputs", [])],
            "files": {
                file.relative_to(folder).as_posix(): file.read_bytes()
                for folder in [Path(run.info.artifact_uri.removeprefix("file://"))]
                for file in sorted(folder.rglob("*"))
                if file.is_file()
            },
        }
        for name, run in runs(project).items()
    }


def test_a_lost_store_is_filled_again_with_the_same_and_only_once(made_project: Project) -> None:
    assert synchronize(made_project) == []
    before = told(made_project)
    (made_project.root / "mlflow.db").unlink()
    shutil.rmtree(made_project.root / "mlartifacts")
    assert synchronize(made_project) == ALL
    assert told(made_project) == before
    assert synchronize(made_project) == []
    assert told(made_project) == before


def test_a_run_says_where_it_comes_from_and_shows_few_numbers(made_project: Project) -> None:
    found = runs(made_project)
    commit = made_project.run("git", "rev-parse", "HEAD").stdout.strip()
    labels = {key: made_project.params["experiments"][key].get("label", key) for key in KEYS}
    for key, label in labels.items():
        run = found[label]
        assert run.data.tags["mlflow.source.name"] == f"spavl run checkpoints --partition {key}"
        assert run.data.tags["mlflow.source.git.commit"] == commit
        assert run.data.tags["evaluation.seed"] == str(made_project.params["seed"])
        assert len(run.data.metrics) < 60
        assert not [name for name in run.data.metrics if name.startswith(("ci_", "n/"))]
    assert found[labels["dpo"]].data.params["seed"] == str(made_project.params["seed"])
    scores = pl.read_parquet(made_project.root / "eval" / "eval_scores" / "dpo" / "eval_scores.parquet")
    pooled = {row["name"]: row["value"] for row in scores.filter(variant="all").iter_rows(named=True)}
    logged = found[labels["dpo"]].data.metrics
    assert {name: logged[name] for name, value in pooled.items() if value is not None} == pytest.approx(
        {name: value for name, value in pooled.items() if value is not None}
    )
    rows = client_of(made_project).get_metric_history(found[labels["dpo"]].info.run_id, "unsafe rate")
    assert [round(row.value, 4) for row in rows] == [round(pooled["harm_eval/unsafe_rate/judge:base_model"], 4)]


def test_what_was_removed_or_is_not_up_to_date_is_not_logged(made_project: Project) -> None:
    label = made_project.params["experiments"]["ppo"].get("label", "ppo")
    made_project.change_params(lambda params: params["experiments"].pop("ppo"))
    (made_project.root / "models" / "checkpoints" / "dpo" / "curve.parquet").unlink()
    assert synchronize(made_project) == []
    removed = [name for name, run in runs(made_project).items() if run.data.tags["spavl.state"] == "removed"]
    assert removed == [f"{label} (removed)"]


def test_an_outage_is_no_failure_and_leaves_nothing_behind(made_project: Project) -> None:
    made_project.change_params(lambda params: params["runtime"].update(mlflow_uri="http://127.0.0.1:9"))
    done = made_project.run("python", "-c", SYNC)
    assert done.stdout.split() == []
    assert "can't be reached" in done.stderr
    assert not list((made_project.root / ".spavl" / "mlflow_outbox").glob("*.json"))
