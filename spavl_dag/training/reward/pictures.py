"""Pictures of a reward model's held-out pairs."""

from __future__ import annotations

import polars as pl

from spavl_dag.charts import BLUE, GREY, INK, draw_calibration, new_figure, to_png
from spavl_dag.preview import Picture

_SIZE = (5.2, 3.6)


def calibration_plot(calibration: pl.DataFrame) -> Picture:
    """How often the reward model is right over how sure it is, with 95 % Wilson intervals and pairs.

    Args:
        calibration: Table `Calibration`.
    """
    figure, axes = new_figure(*_SIZE)
    draw_calibration(axes, calibration.iter_rows(named=True))
    title = "Reward model: calibration on held-out pairs"
    across = "confidence: sigmoid of |reward margin| (beside each point: pairs)"
    return Picture(to_png(figure, title, across, "accuracy"), title)


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
    title = "Reward model: margins of held-out pairs"
    across = "reward margin: chosen minus rejected; right of 0 is ordered rightly"
    return Picture(to_png(figure, title, across, "pairs"), title)
