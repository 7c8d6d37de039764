"""MLflow's view of checkpoints: one run for each, from its training's first step to its last evaluation.

A run belongs to a checkpoint's key and data version. Whatever is logged of that pair lands in the same run: the
training while it goes on, the checkpoint once it is made (and once more), its evaluation (`evaluations`).
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from spavl_dag.integrations.mlflow.client import trouble, use_client
from spavl_dag.integrations.mlflow.experiments import ALIGNMENT, open_experiment
from spavl_dag.integrations.mlflow.numbers import CurveRow, log_curves, log_latest
from spavl_dag.integrations.mlflow.runs import CHECKPOINT, VERSION, describe, make_current, runs_about
from spavl_dag.integrations.mlflow.views import View, view_url
from spavl_dag.pipeline.layout import Project

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

_LOG = logging.getLogger(__name__)

TRAINING = "spavl.training"
"""Run tag: key of the training."""


@dataclass(frozen=True, slots=True)
class TrainingData:
    """What a checkpoint was trained on.

    Attributes:
        name: Name of the artifact.
        md5: Its data version.
        rows: Rows that were trained on, after selection.
        path: Where it lies, relative to the project.
    """

    name: str
    md5: str
    rows: int
    path: str


@dataclass(frozen=True, slots=True)
class CheckpointRecord:
    """A checkpoint that was made, or how far its training is.

    Attributes:
        key: Key of `experiments` in params.yaml.
        label: How it is named where it is shown.
        data_version: DVC's md5 of the checkpoint; None while it is trained.
        params: What may differ between checkpoints.
        data: What it was trained on; None for a model as it is, and while it is trained.
        curves: Training curves in the order of their steps: all of them, or what may be new.
        seconds: How long it took until now; None when that isn't known.
        tags: Lineage: Dagster run, git commit, source.
        training: Key of the training; one that goes on after a kill finds its run again. None when it isn't known.
        path: Where the weights lie, relative to the project.
    """

    key: str
    label: str
    data_version: str | None
    params: Mapping[str, Any] = field(default_factory=dict)
    data: TrainingData | None = None
    curves: Sequence[CurveRow] = ()
    seconds: float | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    training: str | None = None
    path: str = ""

    def log(self, client: MlflowClient, project: Project, when: int) -> str:
        """Log it as it was at `when` (milliseconds since 1970)."""
        started = when - int(1000 * (self.seconds or 0.0))
        experiment = open_experiment(client, project, ALIGNMENT)
        run = find_run(client, experiment, self.key, self.data_version, self.training)
        if run is None:
            run = client.create_run(experiment, started, tags={CHECKPOINT: self.key}, run_name=self.label)
        run_id = str(run.info.run_id)
        known = {VERSION: self.data_version, TRAINING: self.training}
        describe(client, run, self.params, {**self.tags, **{tag: value for tag, value in known.items() if value}})
        log_curves(client, run, self.curves, started, when)
        if self.data_version is None:
            client.update_run(run_id, "RUNNING", self.label)
            return run_id
        client.update_run(run_id, name=self.label)
        if self.data:
            _log_data(client, run_id, self.data)
        model_id = _log_model(client, run, self)
        if run.info.status != "FINISHED":  # logging again doesn't make the training any longer
            log_latest(client, run, {} if self.seconds is None else {"seconds": self.seconds}, when, model_id)
            client.set_terminated(run_id, end_time=when)
        make_current(client, experiment, CHECKPOINT, self.key, run_id)
        return run_id


def find_run(
    client: MlflowClient, experiment: str, key: str, data_version: str | None, training: str | None = None
) -> Run | None:
    """The run of a data version, else the one of a training that has no data version yet."""
    runs = runs_about(client, experiment, CHECKPOINT, key)
    made = [run for run in runs if data_version and run.data.tags.get(VERSION) == data_version]
    going = [
        run for run in runs if training and run.data.tags.get(TRAINING) == training and VERSION not in run.data.tags
    ]
    return next(iter(made + going), None)


def run_of_made(client: MlflowClient, project: Project, checkpoint: CheckpointRecord, when: int) -> Run:
    """The run of a checkpoint that was made; where there is none, one that says what is known here."""
    experiment = open_experiment(client, project, ALIGNMENT)
    found = find_run(client, experiment, checkpoint.key, checkpoint.data_version)
    # MLflow's store may be lost, or the checkpoint may have come from a DVC remote.
    return found or client.get_run(checkpoint.log(client, project, when))


def model_of(run: Run) -> str | None:
    """Id of the logged model that a run made."""
    return next((str(model.model_id) for model in run.outputs.model_outputs), None) if run.outputs else None


def find_view(uri: str, ui: str, view: View = "leaderboard") -> str | None:
    """Address of a view in the UI, or None where no checkpoint was logged yet or MLflow doesn't answer.

    Args:
        uri: MLflow's tracking address.
        ui: Address of the UI, such as "http://127.0.0.1:5000".
        view: Which one.
    """
    try:
        experiment = use_client(uri, lambda client: client.get_experiment_by_name(ALIGNMENT))
    except Exception as error:  # an address to look at isn't worth a failure, whatever MLflow raises
        _LOG.warning("%s", trouble(uri, error))
        return None
    return view_url(ui, experiment.experiment_id, view) if experiment else None


def _log_data(client: MlflowClient, run_id: str, data: TrainingData) -> None:
    from mlflow.entities import Dataset, DatasetInput, InputTag

    dataset = Dataset(
        data.name,
        data.md5,
        source_type="local",
        source=json.dumps({"uri": data.path}),
        profile=json.dumps({"num_rows": data.rows}),
    )
    client.log_inputs(run_id, [DatasetInput(dataset, [InputTag("mlflow.data.context", "train")])])


def _log_model(client: MlflowClient, run: Run, record: CheckpointRecord) -> str:
    """The checkpoint as a model of MLflow by reference: no weights are copied, tags say where they lie."""
    from mlflow.entities import LoggedModelOutput, LoggedModelStatus

    known = model_of(run)
    if known:
        return known
    model = client.create_logged_model(
        run.info.experiment_id,
        name=record.key,
        source_run_id=run.info.run_id,
        tags={"path": record.path, VERSION: str(record.data_version)},
        params={name: str(value) for name, value in record.params.items() if value is not None},
        model_type="checkpoint",
    )
    client.finalize_logged_model(model.model_id, LoggedModelStatus.READY)
    client.log_outputs(run.info.run_id, [LoggedModelOutput(model.model_id, 0)])
    return str(model.model_id)
