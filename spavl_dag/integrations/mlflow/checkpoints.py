"""MLflow's view of checkpoints: one run for each, from its training's first step to its last evaluation.

A run belongs to a checkpoint's key and data version. Whatever is logged of that pair lands in the same run: a training
that goes on, the checkpoint once more, an evaluation. A new data version makes a new run and supersedes the older ones.
"""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from spavl_dag.integrations.mlflow.client import experiment_id, trouble, use_client
from spavl_dag.integrations.mlflow.runs import PARAM_LIMIT
from spavl_dag.integrations.mlflow.views import (
    CHECKPOINT,
    GATE,
    HEADLINES,
    SUPERSEDED,
    View,
    headlines,
    saved_views,
    view_url,
)
from spavl_dag.params.training import Experiment, TrainedExperiment
from spavl_dag.pipeline.layout import Project

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Run

_LOG = logging.getLogger(__name__)

EXPERIMENT = "alignment"
"""Name of the MLflow experiment."""

VERSION = "dvc.md5"
"""Run tag: data version of the checkpoint."""

TRAINING = "spavl.training"
"""Run tag: key of the training that is logged as it goes, before the checkpoint has a data version."""

GATE_FAILED = "gate.failed"
"""Run tag: conditions of the gate that don't hold."""

_BATCH = 1000  # metrics per request; more are refused

CurveRow = Mapping[str, float | None]
"""A point of the training curves: "step", and metrics by name."""


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
    """A checkpoint that was made.

    Attributes:
        key: Key of `experiments` in params.yaml.
        label: How it is named where it is shown.
        data_version: DVC's md5 of the checkpoint.
        params: What may differ between checkpoints (`checkpoint_params`).
        data: What it was trained on; None for a model as it is.
        curves: Training curves in the order of their steps.
        metrics: Numbers at the end, none named as a curve is; "seconds" is how long it took until now.
        tags: Lineage: Dagster run, git commit.
        training: Key of the training, where it was logged as it went (`LiveCurves`).
        path: Where the weights lie, relative to the project.
    """

    key: str
    label: str
    data_version: str
    params: Mapping[str, Any] = field(default_factory=dict)
    data: TrainingData | None = None
    curves: Sequence[CurveRow] = ()
    metrics: Mapping[str, float | None] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    training: str | None = None
    path: str = ""

    def log(self, client: MlflowClient, project: Project, when: int) -> str:
        """Log it as made at `when` (milliseconds since 1970)."""
        started = when - int(1000 * (self.metrics.get("seconds") or 0.0))
        experiment = experiment_id(client, project, EXPERIMENT)
        run = _find(client, experiment, self.key, self.data_version, self.training)
        if run is None:
            run = client.create_run(experiment, started, tags={CHECKPOINT: self.key}, run_name=self.label)
        run_id = str(run.info.run_id)
        _describe(client, run, self.params, {**self.tags, VERSION: self.data_version, **_not_finite(self.curves)})
        client.update_run(run_id, name=self.label)
        known = _known_steps(client, run, {name for row in self.curves for name in row})
        _log_metrics(client, run_id, _curve_points(self.curves, known, started, when))
        if self.data:
            _log_data(client, run_id, self.data)
        model_id = _log_model(client, run, self)
        _log_metrics(client, run_id, _changed(run, self.metrics, when, model_id))
        if run.info.status != "FINISHED":  # logging again doesn't make the training any longer
            client.set_terminated(run_id, end_time=when)
        _supersede_others(client, experiment, self.key, run_id)
        _offer_views(client, experiment)
        return run_id


@dataclass(frozen=True, slots=True)
class Score:
    """A number of an evaluation; None where nothing could be scored.

    Attributes:
        value: The number.
        ci_low: Lower end of its confidence interval.
        ci_high: Upper end.
        n: Items it stands on.
    """

    value: float | None
    ci_low: float | None = None
    ci_high: float | None = None
    n: int | None = None


@dataclass(frozen=True, slots=True)
class EvaluationRecord:
    """A checkpoint's evaluation.

    Attributes:
        key: Key of `experiments` in params.yaml.
        label: How the checkpoint is named where it is shown.
        data_version: DVC's md5 of the checkpoint that was evaluated.
        scores: By full metric name, such as "harm_eval/unsafe_rate/judge:base_model".
        gate: Whether the checkpoint holds what it must; the baseline is what others are compared with.
        gate_failed: The conditions that don't hold.
        tags: Lineage of the evaluation: Dagster run, data version, git commit; kept as `evaluation.<name>`.
    """

    key: str
    label: str
    data_version: str
    scores: Mapping[str, Score]
    gate: Literal["passed", "failed", "baseline"]
    gate_failed: Sequence[str] = ()
    tags: Mapping[str, str] = field(default_factory=dict)

    def log(self, client: MlflowClient, project: Project, when: int) -> str:
        """Log it to the checkpoint's run, as of `when` (milliseconds since 1970)."""
        experiment = experiment_id(client, project, EXPERIMENT)
        run = _find(client, experiment, self.key, self.data_version)
        if run is None:  # MLflow's store was lost, or the checkpoint came from a DVC remote
            made = CheckpointRecord(self.key, self.label, self.data_version)
            run = client.get_run(made.log(client, project, when))
        shown = headlines(self.scores)
        tags = {f"evaluation.{name}": value for name, value in self.tags.items()} | {
            GATE: self.gate,
            "leaderboard": "; ".join(f"{title} = {name}" for title, name in shown.items()),
        }
        if self.gate_failed or GATE_FAILED in run.data.tags:
            tags[GATE_FAILED] = ", ".join(self.gate_failed)
        _describe(client, run, {}, tags)
        columns = {
            title: _rounded(self.scores[name].value) if (name := shown.get(title)) else None for title in HEADLINES
        }
        metrics = _flat(self.scores) | columns
        _log_metrics(client, run.info.run_id, _changed(run, metrics, when, _model_of(run)))
        return str(run.info.run_id)


def checkpoint_params(experiment: Experiment, pairs: int | None) -> dict[str, Any]:
    """An experiment's choices under one short name each, for MLflow's columns; what isn't chosen is left out.

    Args:
        experiment: The entry of params.yaml.
        pairs: Rows that were trained on, after selection.
    """
    chosen: dict[str, Any] = {"method": experiment.method, "model": experiment.model, "revision": experiment.revision}
    if isinstance(experiment, TrainedExperiment):
        tuning = experiment.tuning
        lora = tuning.lora.model_dump() if tuning.lora else {}
        chosen |= {
            "tuning": tuning.mode,
            "train_projector": tuning.train_projector,
            **{f"lora_{name}": value for name, value in lora.items()},
            **experiment.data.model_dump(exclude_defaults=True),
            **experiment.optimizer.model_dump(),
            **experiment.hyperparameters.model_dump(exclude_unset=True),
        }
    chosen["pairs"] = pairs
    return {
        name: ", ".join(map(str, value)) if isinstance(value, list) else value
        for name, value in chosen.items()
        if value is not None
    }


def find_view(uri: str, ui: str, view: View = "leaderboard") -> str | None:
    """Address of a view in the UI, or None where no checkpoint was logged yet or MLflow doesn't answer.

    Args:
        uri: MLflow's tracking address.
        ui: Address of the UI, such as "http://127.0.0.1:5000".
        view: Which one.
    """
    try:
        experiment = use_client(uri, lambda client: client.get_experiment_by_name(EXPERIMENT))
    except Exception as error:  # an address to look at isn't worth a failure, whatever MLflow raises
        _LOG.warning("%s", trouble(uri, error))
        return None
    return view_url(ui, experiment.experiment_id, view) if experiment else None


class LiveCurves:
    """Logs training curves as they come, to the run that `CheckpointRecord.training` finishes.

    An aid to watch a training by: the first failure ends it with a warning, and the checkpoint's record adds the rows
    that are missing.

    Args:
        project: The project.
        uri: MLflow's tracking address.
        key: Key of the checkpoint.
        label: How it is named where it is shown.
        training: Key of the training; one that goes on after a kill finds its run again.
    """

    def __init__(self, project: Project, uri: str, key: str, label: str, training: str) -> None:
        self._project, self._uri = project, uri
        self._key, self._label, self._training = key, label, training
        self._run_id = ""
        self._known: Mapping[str, set[int]] = {}
        self._given_up = False

    def add(self, rows: Sequence[CurveRow]) -> None:
        """Log rows that came since the last call; a step that the run has is not logged again."""
        if self._given_up:
            return
        now = int(time.time() * 1000)
        try:
            use_client(self._uri, lambda client: self._log(client, rows, now))
        except Exception as error:  # whatever MLflow or its store raises: training must not depend on it
            self._given_up = True
            _LOG.warning("%s; curves are logged when training is done", trouble(self._uri, error))

    def _log(self, client: MlflowClient, rows: Sequence[CurveRow], now: int) -> None:
        if not self._run_id:
            self._open(client, now)
        _log_metrics(client, self._run_id, _curve_points(rows, self._known, now, now))

    def _open(self, client: MlflowClient, now: int) -> None:
        experiment = experiment_id(client, self._project, EXPERIMENT)
        run = _find(client, experiment, self._key, None, self._training)
        if run is None:
            tags = {CHECKPOINT: self._key, TRAINING: self._training}
            run = client.create_run(experiment, now, tags=tags, run_name=self._label)
        self._run_id = str(run.info.run_id)
        self._known = _known_steps(client, run, run.data.metrics)


def _runs(client: MlflowClient, experiment: str, key: str) -> list[Run]:
    """All runs of a checkpoint's key, the newest first."""
    return list(client.search_runs([experiment], f"tags.`{CHECKPOINT}` = '{key}'"))


def _find(
    client: MlflowClient, experiment: str, key: str, data_version: str | None, training: str | None = None
) -> Run | None:
    """The run of a data version, else the one of a training that has no data version yet."""
    runs = _runs(client, experiment, key)
    made = [run for run in runs if data_version and run.data.tags.get(VERSION) == data_version]
    going = [
        run for run in runs if training and run.data.tags.get(TRAINING) == training and VERSION not in run.data.tags
    ]
    return next(iter(made + going), None)


def _describe(client: MlflowClient, run: Run, params: Mapping[str, Any], tags: Mapping[str, str]) -> None:
    from mlflow.entities import Param, RunTag

    # MLflow never changes a param; the same bytes were made by the same choices, so the first ones stay right.
    new = {name: value for name, value in params.items() if value is not None and name not in run.data.params}
    client.log_batch(
        run.info.run_id,
        params=[Param(name, str(value)[:PARAM_LIMIT]) for name, value in new.items()],
        tags=[RunTag(name, value) for name, value in tags.items()],
    )


def _known_steps(client: MlflowClient, run: Run, names: Iterable[str]) -> dict[str, set[int]]:
    """The steps of which the run has a value already, by metric."""
    return {
        name: {point.step for point in client.get_metric_history(run.info.run_id, name)}
        for name in names
        if name in run.data.metrics
    }


def _curve_points(
    rows: Sequence[CurveRow], known: Mapping[str, set[int]], started: int, ended: int
) -> Iterator[Metric]:
    """The points that aren't known yet, spread over the time between start and end.

    A value that isn't finite can't be drawn (MLflow would store infinity as 1.8e308), so it is left out.
    """
    from mlflow.entities import Metric

    last = max((row["step"] or 0 for row in rows), default=0) or 1
    for row in rows:
        step = int(row["step"] or 0)
        when = started + int((ended - started) * step / last)
        for name, value in row.items():
            if name != "step" and value is not None and math.isfinite(value) and step not in known.get(name, ()):
                yield Metric(name, value, when, step)


def _not_finite(rows: Sequence[CurveRow]) -> dict[str, str]:
    """A tag naming the curves with values that aren't finite; none where there are none."""
    names = sorted(
        {name for row in rows for name, value in row.items() if value is not None and not math.isfinite(value)}
    )
    return {"curves.not_finite": ", ".join(names)} if names else {}


def _changed(run: Run, metrics: Mapping[str, float | None], when: int, model_id: str | None) -> Iterator[Metric]:
    """The numbers that the run doesn't show yet; one that is no longer known becomes NaN, for MLflow deletes none."""
    from mlflow.entities import Metric

    for name, value in metrics.items():
        known = run.data.metrics.get(name, math.nan)
        new = value if value is not None and math.isfinite(value) else math.nan
        if new != known and not (math.isnan(new) and math.isnan(known)):
            yield Metric(name, new, when, 0, model_id=model_id)


def _flat(scores: Mapping[str, Score]) -> dict[str, float | None]:
    flat: dict[str, float | None] = {}
    for name, score in scores.items():
        flat[name] = score.value
        flat |= {f"{part}/{name}": getattr(score, part) for part in ("ci_low", "ci_high", "n")}
    return flat


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def _log_metrics(client: MlflowClient, run_id: str, metrics: Iterator[Metric]) -> None:
    points = list(metrics)
    for start in range(0, len(points), _BATCH):
        client.log_batch(run_id, metrics=points[start : start + _BATCH])


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


def _model_of(run: Run) -> str | None:
    return next((str(model.model_id) for model in run.outputs.model_outputs), None) if run.outputs else None


def _log_model(client: MlflowClient, run: Run, record: CheckpointRecord) -> str:
    """The checkpoint as a model of MLflow by reference: no weights are copied, tags say where they lie."""
    from mlflow.entities import LoggedModelOutput, LoggedModelStatus

    known = _model_of(run)
    if known:
        return known
    model = client.create_logged_model(
        run.info.experiment_id,
        name=record.key,
        source_run_id=run.info.run_id,
        tags={"path": record.path, VERSION: record.data_version},
        params={name: str(value) for name, value in record.params.items() if value is not None},
        model_type="checkpoint",
    )
    client.finalize_logged_model(model.model_id, LoggedModelStatus.READY)
    client.log_outputs(run.info.run_id, [LoggedModelOutput(model.model_id, 0)])
    return str(model.model_id)


def _supersede_others(client: MlflowClient, experiment: str, key: str, newest: str) -> None:
    for run in _runs(client, experiment, key):
        superseded = "false" if run.info.run_id == newest else "true"
        if run.data.tags.get(SUPERSEDED) != superseded:
            client.set_tag(run.info.run_id, SUPERSEDED, superseded)
        if run.info.run_id != newest and VERSION not in run.data.tags:  # a training that was given up
            client.set_terminated(run.info.run_id, status="KILLED")


def _offer_views(client: MlflowClient, experiment: str) -> None:
    known = client.get_experiment(experiment).tags
    for tag, value in saved_views().items():
        if known.get(tag) != value:
            client.set_experiment_tag(experiment, tag, value)
