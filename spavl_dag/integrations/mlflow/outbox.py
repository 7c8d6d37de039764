"""How records reach MLflow: each is put into an outbox first, which is emptied in order whenever MLflow answers.

So an outage of MLflow never fails a stage, a process that is killed loses no record, and none overtakes another.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from filelock import FileLock
from pydantic import TypeAdapter

from spavl_dag.integrations.mlflow.checkpoints import CheckpointRecord
from spavl_dag.integrations.mlflow.client import trouble, use_client
from spavl_dag.integrations.mlflow.evaluations import EvaluationRecord, ReportRecord
from spavl_dag.integrations.mlflow.runs import RunRecord
from spavl_dag.pipeline.layout import Project

if TYPE_CHECKING:
    from dataclasses import Field

    from mlflow import MlflowClient

_LOG = logging.getLogger(__name__)

_URI = "SPAVL_MLFLOW_URI"


class Record(Protocol):
    """Something to log: a dataclass that JSON can hold. Logging it twice must do no harm."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]

    def log(self, client: MlflowClient, project: Project, when: int) -> str:
        """Log it as of `when` (milliseconds since 1970); gives the MLflow run's id."""
        ...


_KINDS: dict[str, type[Record]] = {
    kind.__name__: kind for kind in (RunRecord, CheckpointRecord, EvaluationRecord, ReportRecord)
}
"""What the outbox may hold, by the name in its files."""


def deliver(project: Project, uri: str, record: Record) -> str | None:
    """Log a record, after those that wait in the outbox.

    Returns:
        The MLflow run's id, or None when the record stays in the outbox (or MLflow refused it).
    """
    outbox = project.work / "mlflow_outbox"
    outbox.mkdir(parents=True, exist_ok=True)
    with FileLock(outbox / ".lock"):  # two processes would log the same record twice
        with FileLock(outbox / ".lock.put"):
            own = _put(outbox, record)
        return _empty(outbox, project, uri).get(own)


def deliver_later(project: Project, uri: str, record: Record) -> None:
    """Put a record into the outbox, which a process of its own then empties."""
    outbox = project.work / "mlflow_outbox"
    outbox.mkdir(parents=True, exist_ok=True)
    with FileLock(outbox / ".lock.put"):
        _put(outbox, record)
    command = [sys.executable, "-m", "spavl_dag.integrations.mlflow.outbox", str(project.root)]
    subprocess.Popen(
        command,
        cwd=project.root,
        env={**os.environ, _URI: uri},  # an address may hold a password, which `ps` must not show
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def empty_outbox(project: Project, uri: str) -> None:
    """Log what waits in the outbox, after another process that is at it."""
    outbox = project.work / "mlflow_outbox"
    if not outbox.is_dir():
        return
    with FileLock(outbox / ".lock"):
        if any(outbox.glob("*.json")):
            _empty(outbox, project, uri)


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
        for file in sorted(outbox.glob("*.json")):
            run_id = use_client(uri, partial(_log, file, project))
            if run_id is not None:
                logged[file.name] = run_id
                file.unlink()
    except Exception as error:  # whatever MLflow or its store raises: the stage's result must not depend on it
        _LOG.warning("%s; records kept in %s", trouble(uri, error), outbox)
        _LOG.debug("how it failed", exc_info=True)
    return logged


def _log(file: Path, project: Project, client: MlflowClient) -> str | None:
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
    content = json.loads(file.read_text(encoding="utf-8"))
    return TypeAdapter(_KINDS[content["kind"]]).validate_python(content["record"]), int(content["when"])


def _set_aside(file: Path, error: Exception) -> None:
    refused = file.parent / "refused"
    refused.mkdir(exist_ok=True)
    file.replace(refused / file.name)
    _LOG.warning("%s can't be logged to MLflow (%s); set aside in %s", file.name, error, refused)


def _main() -> None:
    """What `deliver_later` starts: empty the outbox, and again if something came meanwhile."""
    empty_outbox(Project(Path(sys.argv[1])), os.environ[_URI])


if __name__ == "__main__":
    _main()
