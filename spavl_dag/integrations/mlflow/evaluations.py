"""What is logged to the run of a checkpoint once it is made: its evaluation, and to the baseline's run the report."""

from __future__ import annotations

import errno
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from spavl_dag.evaluation.headlines import HEADLINES
from spavl_dag.integrations.mlflow.checkpoints import CheckpointRecord, model_of, run_of_made
from spavl_dag.integrations.mlflow.numbers import log_latest
from spavl_dag.integrations.mlflow.runs import VERSION, Current, describe
from spavl_dag.integrations.mlflow.views import GATE
from spavl_dag.pipeline.layout import Project

if TYPE_CHECKING:
    from mlflow import MlflowClient

_LOG = logging.getLogger(__name__)

GATE_FAILED = "gate.failed"
"""Run tag: conditions of the gate that don't hold."""

EVALUATED = f"evaluation.{VERSION}"
"""Run tag: data version of the checkpoint's evaluation."""

REPORTED = f"report.{VERSION}"
"""Run tag: data version of the report that the run of the baseline holds."""

_TABLES = "mlflow.loggedArtifacts"  # MLflow's UI shows the artifacts that it names as tables
_MAY_PASS = (None, errno.ENOSPC, errno.EDQUOT)  # None: something with a network


@dataclass(frozen=True, slots=True)
class TableArtifact:
    """A table as MLflow keeps them.

    Attributes:
        columns: Names.
        data: Rows.
    """

    columns: Sequence[str]
    data: Sequence[Sequence[Any]]


@dataclass(frozen=True, slots=True)
class EvaluationRecord:
    """A checkpoint's evaluation.

    Attributes:
        key: Key of `experiments` in params.yaml.
        label: How the checkpoint is named where it is shown.
        data_version: DVC's md5 of the checkpoint that was evaluated.
        scores: The pooled ones by full metric name, such as "harm_eval/unsafe_rate/judge:base_model"; None where
            nothing could be scored.
        headlines: Which of them each column of the leaderboard shows.
        tables: All scores with all that is known of them, and the gate, by name.
        gate: What the gate says: passed, failed, incomplete, unchecked or baseline.
        gate_failed: The conditions that don't hold.
        tags: Lineage of the evaluation: Dagster run, data version, git commit; kept as `evaluation.<name>`.
    """

    key: str
    label: str
    data_version: str
    scores: Mapping[str, float | None]
    headlines: Mapping[str, str]
    tables: Mapping[str, TableArtifact]
    gate: str
    gate_failed: Sequence[str] = ()
    tags: Mapping[str, str] = field(default_factory=dict)

    def log(self, client: MlflowClient, project: Project, when: int) -> str:
        """Log it to the checkpoint's run, as of `when` (milliseconds since 1970)."""
        checkpoint = CheckpointRecord(self.key, self.label, self.data_version)
        run = run_of_made(client, project, checkpoint, when)
        run_id = str(run.info.run_id)
        for name, table in self.tables.items():
            _log_text(client, run_id, f"{name}.json", json.dumps(asdict(table)))
        columns = {headline.label: self.headlines.get(headline.label) for headline in HEADLINES}
        tags = _prefixed("evaluation", self.tags) | {
            GATE: self.gate,
            "leaderboard": "; ".join(f"{title} = {name}" for title, name in columns.items() if name),
            _TABLES: json.dumps([{"path": f"{name}.json", "type": "table"} for name in self.tables]),
        }
        if self.gate_failed or GATE_FAILED in run.data.tags:
            tags[GATE_FAILED] = ", ".join(self.gate_failed)
        shown = {title: _rounded(self.scores.get(name or "")) for title, name in columns.items()}
        log_latest(client, run, {**self.scores, **shown}, when, model_of(run))
        describe(client, run, {}, tags)
        return run_id


@dataclass(frozen=True, slots=True)
class ReportRecord:
    """The report on all checkpoints; it lies in the run of the baseline, with which all are compared.

    Attributes:
        key: Key of the baseline.
        label: How it is named where it is shown.
        data_version: DVC's md5 of the baseline's checkpoint.
        files: The report's texts by file name.
        current: What params name.
        tags: Lineage of the report; kept as `report.<name>`.
    """

    key: str
    label: str
    data_version: str
    files: Mapping[str, str]
    current: Current
    tags: Mapping[str, str] = field(default_factory=dict)

    def log(self, client: MlflowClient, project: Project, when: int) -> str:
        """Log it to the baseline's run, as of `when` (milliseconds since 1970)."""
        checkpoint = CheckpointRecord(self.key, self.label, self.data_version)
        run = run_of_made(client, project, checkpoint, when)
        run_id = str(run.info.run_id)
        for name, text in self.files.items():
            _log_text(client, run_id, f"report/{name}", text)
        describe(client, run, {}, _prefixed("report", self.tags))
        self.current.mark_others(client)
        return run_id


def _log_text(client: MlflowClient, run_id: str, name: str, text: str) -> None:
    """Log an artifact, unless its place can't be reached from here at all, which waiting wouldn't mend.

    Such a place is a folder of another machine, named when the experiment was made there.
    """
    try:
        client.log_text(run_id, text, name)
    except OSError as error:
        if error.errno in _MAY_PASS:
            raise
        _LOG.warning("%s can't be kept as an artifact in MLflow (%s)", name, error)


def _prefixed(prefix: str, tags: Mapping[str, str]) -> dict[str, str]:
    """Tags of something that has no run of its own; MLflow's own tags are about the run's."""
    return {f"{prefix}.{name}": value for name, value in tags.items() if not name.startswith("mlflow.")}


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
