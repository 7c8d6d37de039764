"""A trained reward model, measured on held-out pairs."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from spavl_dag.training.examples import read_rows
from spavl_dag.training.job import Job
from spavl_dag.training.reward.evaluation import measure_pairs
from spavl_dag.training.reward.trainer import HELD_OUT


@dataclass(frozen=True, slots=True)
class Measured:
    """What a reward model is worth.

    Attributes:
        pairs: Table `RewardPairs` of the held-out pairs.
        calibration: Table `Calibration`.
        metrics: See `evaluation.HeldOut`; rejected_pairs counts held-out pairs that couldn't be read.
    """

    pairs: pl.DataFrame
    calibration: pl.DataFrame
    metrics: dict[str, float]


def measure_reward_model(job: Job) -> Measured:
    """Measure a finished training on the job's validation pairs.

    Args:
        job: Method "reward", with `validation`; trained.

    Raises:
        SpavlError: There are no held-out pairs.
    """
    held_out = measure_pairs(pl.read_parquet(job.work / HELD_OUT, glob=False), seed=job.seed)
    asked = len(read_rows(job.validation)) if job.validation else 0
    rejected = {"rejected_pairs": float(asked - len(held_out.pairs))}
    return Measured(held_out.pairs, held_out.calibration, held_out.metrics | rejected)
