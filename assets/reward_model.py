"""The reward model."""

from __future__ import annotations

from typing import Annotated

import polars as pl

from spavl_dag.params.training import RewardModelParams
from spavl_dag.pipeline.declaration import Check, asset
from spavl_dag.pipeline.inputs import Table
from spavl_dag.pipeline.model_inputs import ModelParams
from spavl_dag.pipeline.result import Result, Summary
from spavl_dag.pipeline.rules import guesses, many_rejected
from spavl_dag.pipeline.trainer import Trainer
from spavl_dag.preview import counts_table
from spavl_dag.schemas import DatasetRows
from spavl_dag.training.schemas import Calibration, RewardModelCurve, RewardModelRejectedRows, RewardPairs
from spavl_dag.training.selection import select_rows
from spavl_dag.training.tables import curve_charts, curve_table, rejected_table

Tables = Result[RewardPairs, Calibration, RewardModelCurve, RewardModelRejectedRows]


def _summary(made: Tables) -> Summary:
    from spavl_dag.training.reward.pictures import calibration_plot, margin_histogram

    pairs, calibration, curve, _ = made.tables
    metrics = made.documents["metrics.json"]
    shown = {name: f"{value:.3f}" for name, value in metrics.items()}
    charts = {"calibration": calibration_plot(calibration), "margins": margin_histogram(pairs), **curve_charts(curve)}
    return Summary({"held_out": counts_table(shown, "measure"), **charts}, metrics)


@asset(
    group_name="alignment",
    kinds={"pytorch"},
    folder="models",
    checks=[
        Check("knows_what_is_preferred", "Held-out pairs are told apart better than by guessing.", guesses, "warn"),
        Check("few_rows_rejected", "At most 5 % of the rows could not be trained on.", many_rejected, "warn"),
    ],
    summary=_summary,
)
def reward_model(
    dataset: Table[DatasetRows],
    settings: Annotated[RewardModelParams, ModelParams("reward_model")],
    trainer: Trainer,
) -> Tables:
    """A scalar head on the model, trained on preferences; accuracy, margin and calibration on held-out pairs."""
    from spavl_dag.training.reward.measuring import measure_reward_model

    selection = select_rows(dataset, settings.data, trainer.seed_of(settings))
    held_out = dataset.filter(pl.col("split") == "validation").sort("row_id")
    trained = trainer.train("reward_model", settings, selection.rows, validation=held_out)
    measured = measure_reward_model(trained.job)
    return Result(
        measured.pairs,
        measured.calibration,
        curve_table(trained.result.curve),
        rejected_table(trained.result.rejected),
        documents={"metrics.json": measured.metrics, "training.json": {"selection": selection.as_dict()}},
    )
