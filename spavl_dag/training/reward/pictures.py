"""Pictures of a reward model's held-out pairs."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import polars as pl

from spavl_dag.project.preview import Picture
from spavl_dag.stats import wilson_interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_BLUE, _GREY, _INK = "#4c78a8", "#999999", "#222222"


def calibration_plot(calibration: pl.DataFrame) -> Picture:
    """How often the reward model is right over how sure it is, with 95 % Wilson intervals.

    Args:
        calibration: Table `Calibration`.
    """
    figure, axes = _figure()
    filled = calibration.filter(pl.col("n") > 0)
    axes.plot((0.5, 1.0), (0.5, 1.0), color=_GREY, linewidth=1, linestyle="--", label="calibrated")
    for row in filled.iter_rows(named=True):
        interval = wilson_interval(round(row["accuracy"] * row["n"]), row["n"])
        axes.plot((row["confidence"],) * 2, interval, color=_INK, linewidth=1)
        axes.annotate(
            str(row["n"]), (row["confidence"], row["accuracy"]), textcoords="offset points", xytext=(6, -9), fontsize=7
        )
    axes.plot(filled["confidence"], filled["accuracy"], "o-", color=_BLUE, label="reward model (with pairs)")
    axes.set_xlim(0.49, 1.01)
    axes.set_ylim(-0.02, 1.02)
    axes.set_xlabel("confidence: sigmoid of |reward margin|", fontsize=9)
    axes.set_ylabel("accuracy", fontsize=9)
    axes.legend(fontsize=8, loc="lower right", frameon=False)
    return _picture(figure, axes, "Reward model: calibration on held-out pairs")


def margin_histogram(pairs: pl.DataFrame) -> Picture:
    """How far apart the rewards of the two answers are.

    Args:
        pairs: Table `RewardPairs`; at least one pair.
    """
    figure, axes = _figure()
    margins = pairs["margin"].to_numpy()
    axes.hist(margins, bins=30, color=_BLUE)
    axes.axvline(0.0, color=_INK, linewidth=1)
    axes.axvline(margins.mean(), color=_GREY, linewidth=1, linestyle="--", label=f"mean {margins.mean():.2f}")
    axes.set_xlabel("reward margin: chosen minus rejected; right of 0 is ordered rightly", fontsize=9)
    axes.set_ylabel("pairs", fontsize=9)
    axes.legend(fontsize=8, frameon=False)
    return _picture(figure, axes, "Reward model: margins of held-out pairs")


def _figure() -> tuple[Figure, Axes]:
    # Figure and canvas without pyplot: no global state, no window system, no leak.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.2, 3.6), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots()


def _picture(figure: Figure, axes: Axes, title: str) -> Picture:
    axes.set_title(title, fontsize=10, loc="left")
    axes.tick_params(labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    data = io.BytesIO()
    figure.savefig(data, format="png", metadata={"Software": None})
    return Picture(data.getvalue(), title)
