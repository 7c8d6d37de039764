"""Tells MLflow what it doesn't know: checkpoints, evaluations and a report that DVC restored or that lost their run."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, TypeVar

from spavl_dag.integrations.dvc.lock import Lock, Recorded
from spavl_dag.integrations.mlflow.client import tracking_uri, trouble, use_client
from spavl_dag.integrations.mlflow.evaluations import EVALUATED, REPORTED
from spavl_dag.integrations.mlflow.experiments import ALIGNMENT
from spavl_dag.integrations.mlflow.outbox import Record, deliver, empty_outbox
from spavl_dag.integrations.mlflow.records import (
    CHECKPOINTS,
    REPORT,
    SCORES,
    checkpoint_record,
    current_subjects,
    evaluated_version,
    evaluation_record,
    lineage,
    report_record,
)
from spavl_dag.integrations.mlflow.runs import CHECKPOINT, VERSION
from spavl_dag.integrations.mlflow.views import STATE
from spavl_dag.pipeline.graph import Graph, Stage
from spavl_dag.pipeline.make import read_content

if TYPE_CHECKING:
    from mlflow import MlflowClient

_LOG = logging.getLogger(__name__)

T = TypeVar("T")


def synchronize_mlflow(graph: Graph) -> list[str]:
    """Log what is up to date by dvc.lock and unknown to MLflow, and mark what params no longer name.

    The runs are those that would have been logged where the artifacts were made, but for the time that it took. MLflow
    is asked what it knows, so it is started for this; nothing that it knows is logged again.

    Args:
        graph: The project's artifacts, as read from disk just now.

    Returns:
        Names of the stages that were logged; when MLflow can't be reached, those until then.
    """
    uri = tracking_uri(graph.project, graph.params.runtime.mlflow_uri)
    empty_outbox(graph.project, uri)
    logged: list[str] = []
    lock = Lock(graph)
    wanted = [
        (stage, recorded)
        for stage in graph.stages
        if stage.artifact in (CHECKPOINTS, SCORES, REPORT)
        and (recorded := lock.recorded(stage))
        and not lock.why_stale(stage)
    ]
    if not wanted:  # perhaps there isn't even a store yet
        return logged
    known = _ask(uri, _known)
    if known is None:
        return logged
    for stage, recorded in wanted:
        if not _is_known(graph, stage, recorded, known):
            if deliver(graph.project, uri, _record(graph, stage, recorded)) is None:
                return logged
            logged.append(stage.name)
    _ask(uri, current_subjects(graph).mark_others)
    return logged


def _ask(uri: str, question: Callable[[MlflowClient], T]) -> T | None:
    """What MLflow answers; None when it doesn't."""
    try:
        return use_client(uri, question)
    except Exception as error:  # whatever MLflow or its store raises: it is a view, and the next time will do
        _LOG.warning("%s", trouble(uri, error))
        _LOG.debug("how it failed", exc_info=True)
        return None


def _known(client: MlflowClient) -> dict[str, Mapping[str, str]]:
    """Tags of the run that counts of each checkpoint."""
    experiment = client.get_experiment_by_name(ALIGNMENT)
    if experiment is None or experiment.lifecycle_stage == "deleted":
        return {}
    runs = client.search_runs(
        [experiment.experiment_id], f"tags.`{STATE}` = 'current' AND attributes.status = 'FINISHED'"
    )
    return {run.data.tags[CHECKPOINT]: run.data.tags for run in runs if CHECKPOINT in run.data.tags}


def _is_known(graph: Graph, stage: Stage, recorded: Recorded, known: Mapping[str, Mapping[str, str]]) -> bool:
    key = stage.partition or graph.params.evaluation.baseline
    tags, version = known.get(key, {}), recorded.outs[stage.main_out]
    checkpoint = str(graph.data_version(graph.get(CHECKPOINTS, key)))
    if stage.artifact == CHECKPOINTS:
        return tags.get(VERSION) == version
    if stage.artifact == SCORES and evaluated_version(graph, key) != checkpoint:
        return True  # of a checkpoint before: its run would take the place of the one that counts
    tag = EVALUATED if stage.artifact == SCORES else REPORTED
    return tags.get(VERSION) == checkpoint and tags.get(tag) == version


def _record(graph: Graph, stage: Stage, recorded: Recorded) -> Record:
    version = recorded.outs[stage.main_out]
    tags = lineage(graph, stage, version)
    if stage.artifact == REPORT:
        return report_record(graph, tags)
    content = read_content(graph, stage)
    if stage.artifact == CHECKPOINTS:
        return checkpoint_record(graph, stage, version, recorded.fingerprint.deps, content, tags)
    return evaluation_record(graph, stage, content, tags)
