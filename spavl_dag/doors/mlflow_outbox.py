"""How records reach MLflow: each is put into an outbox first, which is emptied in order whenever MLflow answers.

So an outage of MLflow never fails a stage, a process that is killed loses no record, and none overtakes another.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from filelock import FileLock
from pydantic import TypeAdapter

from spavl_dag.project.layout import Project

if TYPE_CHECKING:
    from dataclasses import Field

    from mlflow import MlflowClient

_LOG = logging.getLogger(__name__)


class Record(Protocol):
    """Something to log: a dataclass that JSON can hold. Logging it twice must do no harm."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]

    def log(self, client: MlflowClient, project: Project, when: int) -> str:
        """Log it as of `when` (milliseconds since 1970); gives the MLflow run's id."""
        ...


def deliver(project: Project, uri: str, record: Record) -> str | None:
    """Log a record, after those that wait in the outbox.

    Returns:
        The MLflow run's id, or None when the record stays in the outbox (or MLflow refused it).
    """
    outbox = project.work / "mlflow_outbox"
    outbox.mkdir(parents=True, exist_ok=True)
    with FileLock(outbox / ".lock"):  # two processes would log the same record twice
        own = _put(outbox, record)
        return _empty(outbox, project, uri).get(own)


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
        place = (project.root / "mlartifacts").as_uri()
        # Without this tag MLflow's UI opens on an empty page about traces instead of the runs.
        kind = {"mlflow.experimentKind": "custom_model_development"}
        return str(client.create_experiment(name, artifact_location=place, tags=kind))
    if experiment.lifecycle_stage == "deleted":
        client.restore_experiment(experiment.experiment_id)
    return str(experiment.experiment_id)


def _put(outbox: Path, record: Record) -> str:
    numbers = [file.name.partition("-")[0] for file in outbox.glob("*.json")]
    number = max((int(number) for number in numbers if number.isdecimal()), default=0) + 1
    kind = type(record).__name__
    content = {"kind": kind, "when": int(time.time() * 1000), "record": asdict(record)}
    name = f"{number:08d}-{kind}.json"
    unfinished = outbox / f"{name}.part"
    unfinished.write_text(json.dumps(content, default=str, sort_keys=True), encoding="utf-8")
    unfinished.replace(outbox / name)
    return name


def _empty(outbox: Path, project: Project, uri: str) -> Mapping[str, str]:
    """Log what the outbox holds, oldest first, until MLflow doesn't answer; gives run ids by file name."""
    logged: dict[str, str] = {}
    try:
        client = open_client(uri)
        for file in sorted(outbox.glob("*.json")):
            run_id = _log(file, client, project)
            if run_id is not None:
                logged[file.name] = run_id
                file.unlink()
    except Exception as error:  # whatever MLflow or its store raises: the stage's result must not depend on it
        # No address here: that of a database may hold a password.
        _LOG.warning("MLflow can't be reached (%s); records kept in %s", type(error).__name__, outbox)
        _LOG.debug("how it failed", exc_info=True)
    return logged


def _log(file: Path, client: MlflowClient, project: Project) -> str | None:
    """Log the record in a file; one that could never be logged is set aside, or it would hold up all others."""
    from mlflow.exceptions import MlflowException

    try:
        record, when = _read(file)
    except (ValueError, KeyError, TypeError) as error:
        _set_aside(file, error)
        return None
    try:
        return record.log(client, project, when)
    except MlflowException as error:
        if error.error_code != "INVALID_PARAMETER_VALUE":
            raise
        _set_aside(file, error)
        return None


def _read(file: Path) -> tuple[Record, int]:
    # Both write through this module, so they can only be imported late.
    from spavl_dag.doors.mlflow_checkpoints import CheckpointRecord, EvaluationRecord
    from spavl_dag.doors.mlflow_runs import RunRecord

    kinds: list[type[Record]] = [RunRecord, CheckpointRecord, EvaluationRecord]
    by_name = {kind.__name__: kind for kind in kinds}
    content = json.loads(file.read_text(encoding="utf-8"))
    return TypeAdapter(by_name[content["kind"]]).validate_python(content["record"]), int(content["when"])


def _set_aside(file: Path, error: Exception) -> None:
    refused = file.parent / "refused"
    refused.mkdir(exist_ok=True)
    file.replace(refused / file.name)
    _LOG.warning("%s can't be logged to MLflow (%s); set aside in %s", file.name, error, refused)
