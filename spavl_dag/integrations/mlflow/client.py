"""MLflow's store: where it is, how to talk to it, and its experiments."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING

from spavl_dag.pipeline.layout import Project

if TYPE_CHECKING:
    from mlflow import MlflowClient


def tracking_uri(project: Project, configured: str | None) -> str:
    """Where runs go: what params say, else SQLite in the project."""
    return configured or f"sqlite:///{project.root / 'mlflow.db'}"


def ui_address(configured: str | None) -> str:
    """Where people look at runs: the tracking server itself, else where `spavl ui` starts one."""
    return configured.rstrip("/") if configured and configured.startswith("http") else "http://127.0.0.1:5000"


def open_client(uri: str) -> MlflowClient:
    """A client that gives up soon: a stage shouldn't wait minutes for a comparison view."""
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "5")
    from mlflow import MlflowClient

    logging.getLogger("mlflow").setLevel(logging.WARNING)  # a new store tells of each of its tables
    return MlflowClient(tracking_uri=uri)


def experiment_id(client: MlflowClient, project: Project, name: str) -> str:
    """The experiment of that name, made (or taken out of MLflow's bin) when it isn't there."""
    experiment = client.get_experiment_by_name(name)
    if experiment is None:
        # A server knows where it keeps artifacts; it could not show what lies in a folder of this machine.
        place = None if client.tracking_uri.startswith("http") else (project.root / "mlartifacts").as_uri()
        # Without this tag MLflow's UI opens on an empty page about traces instead of the runs.
        kind = {"mlflow.experimentKind": "custom_model_development"}
        return str(client.create_experiment(name, artifact_location=place, tags=kind))
    if experiment.lifecycle_stage == "deleted":
        client.restore_experiment(experiment.experiment_id)
    return str(experiment.experiment_id)
