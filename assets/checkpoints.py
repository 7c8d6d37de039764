"""The model after each experiment's training."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from spavl_dag.params.training import Experiment, RewardReader, UntrainedExperiment
from spavl_dag.pipeline.declaration import Check, asset
from spavl_dag.pipeline.inputs import Folder, PartitionKey, Table
from spavl_dag.pipeline.model_inputs import ExperimentEntry
from spavl_dag.pipeline.result import Result, Summary
from spavl_dag.pipeline.rules import many_rejected
from spavl_dag.pipeline.trainer import Trainer
from spavl_dag.pipeline.weights import ADAPTER_FILE, REFERENCE_FILE
from spavl_dag.schemas import DatasetRows
from spavl_dag.training.schemas import Curve, RejectedRows
from spavl_dag.training.selection import select_rows
from spavl_dag.training.tables import curve_charts, curve_table, final_metrics, rejected_table


def _summary(made: Result[Curve, RejectedRows]) -> Summary:
    curve, rejected = made.tables
    training = made.documents.get("training.json")
    if training is None:
        return Summary(dict(made.documents[REFERENCE_FILE]))
    told = {"method": training["method"], "trained_on": training["rows"], "rejected_rows": rejected.height}
    metrics = {"trained_on": float(training["rows"]), **final_metrics(training)}
    return Summary({**told, **curve_charts(curve)}, metrics)


@asset(
    group_name="alignment",
    kinds={"pytorch", "trl"},
    partitions="experiments",
    folder="models",
    checks=[Check("few_rows_rejected", "At most 5 % of the rows could not be trained on.", many_rejected, "warn")],
    summary=_summary,
)
def checkpoints(
    key: PartitionKey,
    experiment: Annotated[Experiment, ExperimentEntry()],
    dataset: Table[DatasetRows],
    reward_model: Annotated[Path, Folder("reward_model")],
    trainer: Trainer,
) -> Result[Curve, RejectedRows]:
    """One experiment's checkpoint: SFT, DPO, PPO, GRPO or RLOO, or for method none the model as it is."""
    if isinstance(experiment, UntrainedExperiment):
        named = trainer.reference(experiment.model, experiment.revision)
        return Result(curve_table([]), rejected_table(None), documents={REFERENCE_FILE: named})
    selection = select_rows(dataset, experiment.data, trainer.seed_of(experiment))
    rewarded = reward_model if isinstance(experiment, RewardReader) else None
    trained = trainer.train(key, experiment, selection.rows, reward_model=rewarded)
    documents = {"training.json": {**trained.result.summary, "selection": selection.as_dict()}}
    if experiment.save == "adapter":
        documents[ADAPTER_FILE] = {"model": experiment.model, "revision": trained.job.revision}
    return Result(
        curve_table(trained.result.curve),
        rejected_table(trained.result.rejected),
        documents=documents,
        training=trained.training,
    )
