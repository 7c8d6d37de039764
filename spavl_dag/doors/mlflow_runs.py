"""MLflow runs, for comparing what was made. An outage of MLflow never fails a stage.

A run that can't be logged is kept in an outbox under `.spavl/` and logged with the next one.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import time
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spavl_dag.project.layout import Project

if TYPE_CHECKING:
    from mlflow import MlflowClient

_LOG = logging.getLogger(__name__)
_PARAM_LIMIT = 500  # MLflow's comparison view is for reading; longer values are found through the lineage tags


@dataclass(frozen=True, slots=True)
class RunRecord:
    """One MLflow run.

    Attributes:
        experiment: Experiment name.
        name: Run name, such as "responses/m01".
        params: What may differ between runs of the experiment.
        metrics: Numbers; "seconds" is how long it took until now.
        tags: Lineage: Dagster run, data version, git commit.
    """

    experiment: str
    name: str
    params: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)


def tracking_uri(project: Project, configured: str | None) -> str:
    """Where runs go: what params say, else SQLite in the project."""
    return configured or f"sqlite:///{project.root / 'mlflow.db'}"


def log_run(project: Project, uri: str, record: RunRecord) -> str | None:
    """Log a run, and those that wait in the outbox.

    Returns:
        The MLflow run's id, or None when it had to be put into the outbox.
    """
    outbox = project.work / "mlflow_outbox"
    try:
        client = _client(uri)
        for file in sorted(outbox.glob("*.json")):
            _log(client, project, RunRecord(**json.loads(file.read_text(encoding="utf-8"))))
            file.unlink()
        return _log(client, project, record)
    except Exception as error:  # whatever MLflow or its store raises: the stage's result must not depend on it
        _LOG.warning("MLflow at %s can't be reached (%s); run kept in %s", uri, type(error).__name__, outbox)
        outbox.mkdir(parents=True, exist_ok=True)
        content = json.dumps(asdict(record), default=str, sort_keys=True)
        (outbox / f"{record.name.replace('/', '_')}-{uuid.uuid4().hex[:8]}.json").write_text(content, encoding="utf-8")
        return None


def git_commit(root: Path) -> str:
    """The checked-out commit, with "+changes" when the work tree differs; "" outside git."""

    def git(*arguments: str) -> str | None:
        try:
            done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=False)
        except OSError:
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    commit = git("rev-parse", "HEAD")
    if commit is None:
        return ""
    return f"{commit}+changes" if git("status", "--porcelain", "--untracked-files=no") else commit


def _client(uri: str) -> MlflowClient:
    # MLflow retries for minutes by default; a stage shouldn't wait that long for a comparison view.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "5")
    from mlflow import MlflowClient

    logging.getLogger("mlflow").setLevel(logging.WARNING)  # a new store tells of each of its tables
    return MlflowClient(tracking_uri=uri)


def _log(client: MlflowClient, project: Project, record: RunRecord) -> str:
    from mlflow.entities import Metric, Param, RunTag

    experiment = client.get_experiment_by_name(record.experiment)
    if experiment is None:
        place = (project.root / "mlartifacts").as_uri()
        # Without this tag MLflow's UI opens on an empty page about traces instead of the runs.
        kind = {"mlflow.experimentKind": "custom_model_development"}
        experiment_id = client.create_experiment(record.experiment, artifact_location=place, tags=kind)
    else:
        experiment_id = experiment.experiment_id
    now = int(time.time() * 1000)
    started = now - int(1000 * record.metrics.get("seconds", 0.0))
    run = client.create_run(experiment_id, started, tags=dict(record.tags), run_name=record.name)
    client.log_batch(
        run.info.run_id,
        metrics=[Metric(key, float(value), now, 0) for key, value in record.metrics.items()],
        params=[Param(key, str(value)[:_PARAM_LIMIT]) for key, value in record.params.items() if value is not None],
        tags=[RunTag("spavl.artifact", record.name)],
    )
    client.set_terminated(run.info.run_id)
    return str(run.info.run_id)
