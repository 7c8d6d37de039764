"""A reward model from a job: trained once, and measured on held-out pairs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from spavl_dag.pipeline.preview import Picture
from spavl_dag.progress import Progress
from spavl_dag.training.examples import read_rows
from spavl_dag.training.job import Job
from spavl_dag.training.reward.evaluation import measure_pairs
from spavl_dag.training.reward.pictures import calibration_plot, margin_histogram
from spavl_dag.training.reward.trainer import HELD_OUT
from spavl_dag.training.runner import train


@dataclass(frozen=True, slots=True)
class RewardResult:
    """A trained reward model and what it is worth.

    Attributes:
        folder: Weights, head and prompt; see `save_reward_model`.
        curve: Rows {"step": int, metric: float, …}.
        summary: Of the training; see `runner.TrainingResult`.
        rejected: Training rows that couldn't be trained on: row_id, reason, tokens.
        pairs: Table `RewardPairs` of the held-out pairs.
        calibration: Table `Calibration`.
        metrics: See `evaluation.HeldOut`; rejected_pairs counts held-out pairs that couldn't be read.
        picture: Calibration plot.
        histogram: Histogram of the margins.
    """

    folder: Path
    curve: list[dict[str, Any]]
    summary: dict[str, Any]
    rejected: pl.DataFrame
    pairs: pl.DataFrame
    calibration: pl.DataFrame
    metrics: dict[str, float]
    picture: Picture
    histogram: Picture


def train_reward_model(job: Job, progress: Progress) -> RewardResult:
    """Train a reward model, or what is left of it, and measure it on the job's validation pairs.

    Args:
        job: Method "reward", with `validation`.
        progress: Told about steps.

    Raises:
        SpavlError: As `runner.train`; also where there are no held-out pairs.
    """
    result = train(job, progress)
    held_out = measure_pairs(pl.read_parquet(job.work / HELD_OUT), seed=job.seed)
    asked = len(read_rows(job.validation)) if job.validation else 0
    return RewardResult(
        folder=result.folder,
        curve=result.curve,
        summary=result.summary,
        rejected=result.rejected,
        pairs=held_out.pairs,
        calibration=held_out.calibration,
        metrics=held_out.metrics | {"rejected_pairs": float(asked - len(held_out.pairs))},
        picture=calibration_plot(held_out.calibration),
        histogram=margin_histogram(held_out.pairs),
    )
