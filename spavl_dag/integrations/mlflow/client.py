"""MLflow's store: where it is, how to talk to it, and its experiments."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar, cast

from spavl_dag.integrations.mlflow.store import ensure_store, store_file, what_is_wrong
from spavl_dag.pipeline.layout import Project

if TYPE_CHECKING:
    from mlflow import MlflowClient

TOTAL_SECONDS = 30.0
"""How long one record may take with a server; MLflow's own timeout starts anew with each byte."""

_T = TypeVar("_T")


def tracking_uri(project: Project, configured: str | None) -> str:
    """Where runs go: what params say, else SQLite in the project."""
    return configured or f"sqlite:///{project.origin.root / 'mlflow.db'}"


def ui_address(configured: str | None) -> str:
    """Where people look at runs: the tracking server itself, else where `spavl ui` starts one."""
    return configured.rstrip("/") if configured and configured.startswith("http") else "http://127.0.0.1:5000"


def open_client(uri: str) -> MlflowClient:
    """A client that gives up soon: a stage shouldn't wait minutes for a comparison view.

    A SQLite store that isn't there is made.
    """
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "5")
    from mlflow import MlflowClient

    logging.getLogger("mlflow").setLevel(logging.WARNING)  # a new store tells of each of its tables
    logging.getLogger("sqlalchemy.pool").setLevel(logging.CRITICAL)  # tracebacks of what is told in one line anyway
    ensure_store(uri)
    return MlflowClient(tracking_uri=uri)


def use_client(uri: str, work: Callable[[MlflowClient], _T]) -> _T:
    """Do something with a client, for at most `TOTAL_SECONDS` if a server is behind it.

    Raises:
        TimeoutError: It took longer; what was asked last may still reach the server, nothing after it will.
        Exception: What `work` or the opening raises.
    """
    if store_file(uri):
        return work(open_client(uri))
    import mlflow  # noqa: F401 (seconds that are not the server's)

    done: list[_T] = []
    raised: list[BaseException] = []
    end = time.monotonic() + TOTAL_SECONDS

    def run() -> None:
        try:
            done.append(work(cast("MlflowClient", _UntilThen(open_client(uri), end))))
        except BaseException as error:
            raised.append(error)

    # A thread, because nothing else gets out of a read that always gets one more byte.
    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(TOTAL_SECONDS)
    if raised:
        raise raised[0]
    if not done:
        raise TimeoutError(f"no answer within {TOTAL_SECONDS:.0f} s")
    return done[0]


class _UntilThen:
    """A client that refuses any call after a time, so that a thread that was given up ends by itself."""

    def __init__(self, client: MlflowClient, end: float) -> None:
        self._client, self._end = client, end

    def __getattr__(self, name: str) -> Any:
        if time.monotonic() > self._end:
            raise TimeoutError
        return getattr(self._client, name)


def trouble(uri: str, error: Exception) -> str:
    """What to say of a failure: the store's file and its fix where it is one, and never a password."""
    file = store_file(uri)
    if file is None:
        # No address here: that of a database may hold a password.
        return f"MLflow can't be reached ({type(error).__name__})"
    cause: BaseException = error
    while deeper := getattr(cause, "orig", None) or cause.__cause__:
        cause = deeper
    reason = str(cause).strip().partition("\n")[0] or type(cause).__name__
    return f"MLflow's store {what_is_wrong(uri) or f'{file} can not be used ({reason})'}"


def experiment_id(client: MlflowClient, project: Project, name: str) -> str:
    """The experiment of that name, made (or taken out of MLflow's bin) when it isn't there."""
    experiment = client.get_experiment_by_name(name)
    if experiment is None:
        # A server knows where it keeps artifacts; it could not show what lies in a folder of this machine.
        place = None if client.tracking_uri.startswith("http") else (project.origin.root / "mlartifacts").as_uri()
        # Without this tag MLflow's UI opens on an empty page about traces instead of the runs.
        kind = {"mlflow.experimentKind": "custom_model_development"}
        return str(client.create_experiment(name, artifact_location=place, tags=kind))
    if experiment.lifecycle_stage == "deleted":
        client.restore_experiment(experiment.experiment_id)
    return str(experiment.experiment_id)
