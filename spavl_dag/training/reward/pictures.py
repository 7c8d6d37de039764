"""Pictures of a reward model's held-out pairs."""

from __future__ import annotations

import polars as pl

from spavl_dag.preview import BLUE, GREY, INK, Picture, drawn, new_figure
from spavl_dag.stats import wilson_interval

_SIZE = (5.2, 3.6)


def calibration_plot(calibration: pl.DataFrame) -> Picture:
    """How often the reward model is right over how sure it is, with 95 % Wilson intervals.

    Args:
        calibration: Table `Calibration`.
    """
    figure, axes = new_figure(*_SIZE)
    filled = calibration.filter(pl.col("n") > 0)
    axes.plot((0.5, 1.0), (0.5, 1.0), color=GREY, linewidth=1, linestyle="--", label="calibrated")
    for row in filled.iter_rows(named=True):
        interval = wilson_interval(round(row["accuracy"] * row["n"]), row["n"])
        axes.plot((row["confidence"],) * 2, interval, color=INK, linewidth=1)
        axes.annotate(
            str(row["n"]), (row["confidence"], row["accuracy"]), textcoords="offset points", xytext=(6, -9), fontsize=7
        )
    axes.plot(filled["confidence"], filled["accuracy"], "o-", color=BLUE, label="reward model (with pairs)")
    axes.set_xlim(0.49, 1.01)
    axes.set_ylim(-0.02, 1.02)
    axes.legend(fontsize=8, loc="lower right", frameon=False)
    title = "Reward model: calibration on held-out pairs"
    return drawn(figure, axes, title, "confidence: sigmoid of |reward margin|", "accuracy")


def margin_histogram(pairs: pl.DataFrame) -> Picture:
    """How far apart the rewards of the two answers are.

    Args:
        pairs: Table `RewardPairs`; at least one pair.
    """
    figure, axes = new_figure(*_SIZE)
    margins = pairs["margin"].to_numpy()
    axes.hist(margins, bins=30, color=BLUE)
    axes.axvline(0.0, color=INK, linewidth=1)
    axes.axvline(margins.mean(), color=GREY, linewidth=1, linestyle="--", label=f"mean {margins.mean():.2f}")
    axes.legend(fontsize=8, frameon=False)
    across = "reward margin: chosen minus rejected; right of 0 is ordered rightly"
    return drawn(figure, axes, "Reward model: margins of held-out pairs", across, "pairs")
