"""MLflow runs of stages, for comparing what was made; `mlflow_outbox` delivers them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from spavl_dag.integrations.mlflow.client import experiment_id
from spavl_dag.pipeline.layout import Project

if TYPE_CHECKING:
    from mlflow import MlflowClient

PARAM_LIMIT = 500  # MLflow's comparison view is for reading; longer values are found through the lineage tags


@dataclass(frozen=True, slots=True)
class RunRecord:
    """One MLflow run.

    Attributes:
        experiment: Experiment name.
        name: Run name, such as "responses/m01".
        params: What may differ between runs of the experiment.
        metrics: Numbers; "seconds" is how long it took until now.
        tags: Lineage: Dagster run, data version, git commit.
    """

    experiment: str
    name: str
    params: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)

    def log(self, client: MlflowClient, project: Project, when: int) -> str:
        """Log it as a run that ended at `when` (milliseconds since 1970)."""
        from mlflow.entities import Metric, Param, RunTag

        run = client.create_run(
            experiment_id(client, project, self.experiment),
            when - int(1000 * self.metrics.get("seconds", 0.0)),
            tags=dict(self.tags),
            run_name=self.name,
        )
        client.log_batch(
            run.info.run_id,
            metrics=[Metric(key, float(value), when, 0) for key, value in self.metrics.items()],
            params=[Param(key, str(value)[:PARAM_LIMIT]) for key, value in self.params.items() if value is not None],
            tags=[RunTag("spavl.artifact", self.name)],
        )
        client.set_terminated(run.info.run_id, end_time=when)
        return str(run.info.run_id)
