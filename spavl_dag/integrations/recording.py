"""Makes a stage and tells the tools: DVC records it, MLflow logs it. For the command line and Dagster's runs alike."""

from __future__ import annotations

from dataclasses import dataclass

from spavl_dag.integrations.dvc.commit import DvcCommit
from spavl_dag.integrations.mlflow.records import curve_callback, log_finished
from spavl_dag.pipeline.graph import Graph, Stage
from spavl_dag.pipeline.make import Finished, make
from spavl_dag.progress import Progress, no_progress


@dataclass(frozen=True, slots=True)
class Recorded:
    """A stage that was made and recorded.

    Attributes:
        finished: What was made.
        how: How DVC knows of it, in words.
        mlflow_run: Id of its MLflow run; None where there is none (yet).
    """

    finished: Finished
    how: str
    mlflow_run: str | None


def make_and_record(
    graph: Graph,
    stage: Stage,
    commit: DvcCommit,
    progress: Progress = no_progress,
    *,
    wait: bool = False,
    retry_failed: bool = False,
    dagster_run: str | None = None,
) -> Recorded:
    """Make a stage, record it in DVC and log it to MLflow.

    Args:
        graph: The project's artifacts, as read from disk just now.
        stage: What to make.
        commit: Records in DVC.
        progress: Told about long work.
        wait: Whether to wait for another process that makes it.
        retry_failed: Whether calls that ended in a permanent error are made again.
        dagster_run: The Dagster run that makes it, if one does.

    Raises:
        SpavlError: It could not be made or recorded.
    """
    finished = make(graph, stage, progress, curve_callback(graph, stage), wait=wait, retry_failed=retry_failed)
    how = commit.record(finished)
    return Recorded(finished, how, log_finished(graph, finished, dagster_run))
