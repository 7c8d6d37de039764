"""What a reward model is worth on held-out pairs: accuracy, margin, log loss and calibration.

Pure functions on tables. A margin is the chosen answer's reward minus the rejected one's; under the Bradley-Terry model
that the reward model is trained with, the chosen answer wins with probability sigmoid(margin).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from spavl_dag.schemas import frame
from spavl_dag.stats import bootstrap_interval, wilson_interval
from spavl_dag.training.schemas import Calibration, RewardPairs

BINS = 10


@dataclass(frozen=True, slots=True)
class HeldOut:
    """A reward model measured on pairs it was not trained on.

    Attributes:
        pairs: Table `RewardPairs`, sorted by row_id.
        calibration: Table `Calibration`.
        metrics: pairs; accuracy with accuracy_low and accuracy_high (Wilson); margin with margin_low and margin_high
            (bootstrap); log_loss in nats (log 2 = 0.693 is guessing); calibration_error, the expected one, in 0..1.
    """

    pairs: pl.DataFrame
    calibration: pl.DataFrame
    metrics: dict[str, float]


def pair_table(row_ids: Sequence[str], chosen: Sequence[float], rejected: Sequence[float]) -> pl.DataFrame:
    """Table `RewardPairs` of the rewards of both answers."""
    rows = zip(row_ids, chosen, rejected, strict=True)
    return frame(
        RewardPairs,
        [{"row_id": row_id, "reward_chosen": a, "reward_rejected": b, "margin": a - b} for row_id, a, b in rows],
    ).sort("row_id")


def measure_pairs(pairs: pl.DataFrame, *, seed: int, confidence: float = 0.95) -> HeldOut:
    """All that is reported about held-out pairs.

    Args:
        pairs: Table `RewardPairs`; at least one pair.
        seed: Of the bootstrap.
        confidence: Coverage of the intervals.
    """
    margins = pairs["margin"].to_numpy()
    calibration = calibration_bins(margins)
    right = int((margins > 0).sum())  # equal rewards prefer neither answer, so they don't count as right
    accuracy = wilson_interval(right, len(margins), confidence)
    margin = bootstrap_interval(margins, seed, confidence=confidence)
    metrics = {
        "pairs": float(len(margins)),
        "accuracy": right / len(margins),
        "accuracy_low": accuracy.low,
        "accuracy_high": accuracy.high,
        "margin": float(margins.mean()),
        "margin_low": margin.low,
        "margin_high": margin.high,
        "log_loss": float(np.logaddexp(0.0, -margins).mean()),
        "calibration_error": calibration_error(calibration),
    }
    return HeldOut(pairs, calibration, metrics)


def calibration_bins(margins: np.ndarray, bins: int = BINS) -> pl.DataFrame:
    """How often the reward model is right, by how sure it is.

    The outcome "the chosen answer won" is true of every pair, so there is no curve of outcomes over probabilities.
    What varies is which answer the model prefers: with confidence sigmoid(|margin|), between 0.5 and 1, it is right
    where margin > 0. (To swap each pair by a coin and plot outcomes over probabilities is the same curve, mirrored at
    its middle, with the coin's noise on top.)

    Args:
        margins: Shape (pairs,).
        bins: Number of bins of equal width from 0.5 to 1.

    Returns:
        Table `Calibration`, a row per bin; confidence (mean) and accuracy are null where a bin is empty.
    """
    sure = 1.0 / (1.0 + np.exp(-np.abs(margins)))
    place = np.minimum(((sure - 0.5) * 2 * bins).astype(int), bins - 1)
    rows = []
    for index in range(bins):
        inside = place == index
        n = int(inside.sum())
        rows.append(
            {
                "low": 0.5 + 0.5 * index / bins,
                "high": 0.5 + 0.5 * (index + 1) / bins,
                "n": n,
                "confidence": float(sure[inside].mean()) if n else None,
                "accuracy": float((margins[inside] > 0).mean()) if n else None,
            }
        )
    return frame(Calibration, rows)


def calibration_error(calibration: pl.DataFrame) -> float:
    """Expected calibration error: |accuracy - confidence|, averaged over bins by their pairs (Guo et al. 2017)."""
    gaps = (pl.col("accuracy") - pl.col("confidence")).abs() * pl.col("n")
    return float(calibration.select(gaps.sum() / pl.col("n").sum()).item())
