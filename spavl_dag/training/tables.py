"""Tables and charts of what a training measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from spavl_dag.preview import Picture, line_chart
from spavl_dag.schemas import frame
from spavl_dag.training.schemas import Curve, RejectedRows

SHOWN_CURVES = ("loss", "reward_margin", "accuracy", "reward", "kl")
"""Metrics whose curve is drawn for a look; all of them are in the table `curve`."""


def curve_table(rows: Sequence[Mapping[str, float]]) -> pl.DataFrame:
    """Table `curve` of rows {"step": n, metric: value, …}."""
    return frame(
        Curve,
        [
            {"step": int(row["step"]), "metric": name, "value": float(value)}
            for row in rows
            for name, value in sorted(row.items())
            if name != "step"
        ],
    )


def rejected_table(rejected: pl.DataFrame | None) -> pl.DataFrame:
    """Table `rejected`, also where nothing was trained."""
    return frame(RejectedRows, rejected.to_dicts() if rejected is not None else [])


def final_metrics(summary: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of a training's summary that are worth comparing between runs."""
    return {f"final/{name}": float(value) for name, value in summary["last"].items() if isinstance(value, int | float)}


def curve_charts(curve: pl.DataFrame) -> dict[str, Picture]:
    """A line chart of each metric that is worth a look.

    Args:
        curve: Table `curve`.
    """
    drawn = {}
    for name in SHOWN_CURVES:
        points = curve.filter(metric=name).sort("step").select("step", "value").rows()
        if len(points) > 1:
            drawn[f"curve_{name}"] = line_chart(points, name.replace("_", " "), "step")
    return drawn
