"""Runs of MLflow: what they are about, and which of several runs about the same thing counts now.

A run says in `spavl.state` whether it is current, was superseded by a newer one, or is about something that params no
longer name. MLflow shows no tag until somebody picks its column, so the name of a run that isn't current says it too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from spavl_dag.integrations.mlflow.experiments import ALIGNMENT, GENERATION, open_experiment
from spavl_dag.integrations.mlflow.numbers import CurveRow, log_curves, log_latest
from spavl_dag.integrations.mlflow.views import STATE
from spavl_dag.pipeline.layout import Project

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

PARAM_LIMIT = 500  # MLflow's comparison view is for reading; longer values are found through the lineage tags

CHECKPOINT = "spavl.checkpoint"
"""Run tag: key of the checkpoint in params.yaml."""

ARTIFACT = "spavl.artifact"
"""Run tag: what was made, such as "responses/m01"."""

VERSION = "dvc.md5"
"""Run tag: data version of what was made."""

RECORD = "spavl.record"
"""Run tag: when it was made, which tells one making of an artifact from another."""

State = Literal["current", "superseded", "removed"]
"""What `spavl.state` says."""

_SHOWN: Mapping[State, str] = {"current": "", "superseded": " (superseded)", "removed": " (removed)"}


@dataclass(frozen=True, slots=True)
class Current:
    """What params name now; runs about anything else are marked as removed.

    Attributes:
        checkpoints: Keys of `experiments`.
        artifacts: Whatever else is made, as runs are named after it.
    """

    checkpoints: Sequence[str]
    artifacts: Sequence[str]

    def mark_others(self, client: MlflowClient) -> None:
        """Mark the runs that count and are about something that isn't named any more."""
        for name, tag, subjects in ((ALIGNMENT, CHECKPOINT, self.checkpoints), (GENERATION, ARTIFACT, self.artifacts)):
            experiment = client.get_experiment_by_name(name)
            if experiment is None:
                continue
            for run in client.search_runs([experiment.experiment_id], f"tags.`{STATE}` = 'current'"):
                if run.data.tags.get(tag) not in subjects:
                    _mark(client, run, "removed")


@dataclass(frozen=True, slots=True)
class RunRecord:
    """A making of anything that is no checkpoint; the newest one counts.

    Attributes:
        experiment: Experiment name.
        name: Run name, such as "responses/m01".
        params: What may differ between runs of the experiment.
        metrics: Numbers; "seconds" is how long it took until now.
        tags: Lineage: Dagster run, data version, git commit, source.
        curves: Training curves in the order of their steps.
    """

    experiment: str
    name: str
    params: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    curves: Sequence[CurveRow] = ()

    def log(self, client: MlflowClient, project: Project, when: int) -> str:
        """Log it as a run that ended at `when` (milliseconds since 1970)."""
        experiment = open_experiment(client, project, self.experiment)
        started = when - int(1000 * self.metrics.get("seconds", 0.0))
        known = [
            run for run in runs_about(client, experiment, ARTIFACT, self.name) if run.data.tags.get(RECORD) == str(when)
        ]
        if known:  # a kill left it half logged
            run = known[0]
        else:
            tags = {ARTIFACT: self.name, RECORD: str(when)}
            run = client.create_run(experiment, started, tags=tags, run_name=self.name)
        run_id = str(run.info.run_id)
        describe(client, run, self.params, self.tags)
        log_curves(client, run, self.curves, started, when)
        log_latest(client, run, self.metrics, when)
        client.set_terminated(run_id, end_time=when)
        make_current(client, experiment, ARTIFACT, self.name, run_id)
        return run_id


def runs_about(client: MlflowClient, experiment: str, tag: str, subject: str) -> list[Run]:
    """All runs about the same thing, the newest first.

    Args:
        client: The client.
        experiment: Id of the experiment.
        tag: The tag that names what a run is about.
        subject: What it must name.
    """
    return list(client.search_runs([experiment], f"tags.`{tag}` = '{subject}'"))


def describe(client: MlflowClient, run: Run, params: Mapping[str, Any], tags: Mapping[str, str]) -> None:
    """Log params that the run doesn't have yet, and tags."""
    from mlflow.entities import Param, RunTag

    # MLflow never changes a param; the same bytes were made by the same choices, so the first ones stay right.
    new = {name: value for name, value in params.items() if value is not None and name not in run.data.params}
    client.log_batch(
        run.info.run_id,
        params=[Param(name, str(value)[:PARAM_LIMIT]) for name, value in new.items()],
        tags=[RunTag(name, value) for name, value in tags.items()],
    )


def make_current(client: MlflowClient, experiment: str, tag: str, subject: str, run_id: str) -> None:
    """Mark a run as the one that counts of all runs about the same thing, and the others as superseded."""
    for run in runs_about(client, experiment, tag, subject):
        _mark(client, run, "current" if run.info.run_id == run_id else "superseded")
        if run.info.status == "RUNNING":  # a training or a making that was given up
            client.set_terminated(run.info.run_id, status="KILLED")


def _mark(client: MlflowClient, run: Run, state: State) -> None:
    name = str(run.info.run_name)
    for suffix in _SHOWN.values():
        name = name.removesuffix(suffix)
    name += _SHOWN[state]
    if name != run.info.run_name:
        client.update_run(run.info.run_id, name=name)
    if run.data.tags.get(STATE) != state:
        client.set_tag(run.info.run_id, STATE, state)
