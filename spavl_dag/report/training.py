"""How training went: curves of each method, and the reward model's calibration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import polars as pl

from spavl_dag.report.blocks import Block, Cell, Column, Figure, Key, Panel, Section, Table, Text
from spavl_dag.report.charts import Axis, Line, Point, line_chart, sample, thinned
from spavl_dag.report.inputs import CheckpointInfo
from spavl_dag.report.numbers import NOTHING, finite, percent, short, span
from spavl_dag.report.view import View

CURVES: Mapping[str, tuple[str, ...]] = {
    "Reward margin": ("reward_margin", "margins", "margin"),
    "Reward": ("reward", "reward_mean"),
    "KL to the reference": ("kl",),
    "Loss": ("loss", "policy_loss"),
}
"""What is drawn: the last part of a metric's name, the first that a training logged."""


def curves(view: View) -> Section:
    """Reward margin, reward, KL and loss over the steps, the checkpoints of a method together."""
    title, table = "Training", view.inputs.curves
    keys = [] if table.is_empty() else table["checkpoint"].unique().to_list()
    logged = [info for info in view.trained if info.key in keys]
    if not logged:
        return Section("training", title, (Text("No training left a curve."),))
    blocks: list[Block] = [Text("Long trainings are drawn as means of stretches of steps.")]
    for method in dict.fromkeys(info.method for info in logged):
        blocks.append(_method_figure(table, method, [info for info in logged if info.method == method]))
    return Section("training", title, tuple(blocks))


def _method_figure(table: pl.DataFrame, method: str, infos: Sequence[CheckpointInfo]) -> Block:
    panels, rows = [], []
    for title, names in CURVES.items():
        lines = []
        for style, info in enumerate(infos):
            points = _curve(table, info.key, names)
            if points:
                lines.append(Line(info.label, thinned(points), style, markers=False))
                values = [value for _, value in points]
                numbers = (points[0][1], points[-1][1], min(values), max(values))
                rows.append((Cell(title), Cell(info.label), *(Cell(short(value)) for value in numbers)))
        if lines:
            told = "; ".join(f"{ln.label} from {short(ln.points[0].y)} to {short(ln.points[-1].y)}" for ln in lines)
            x, y = Axis("step", "{:,.0f}".format), Axis("", short)
            name = f"curve-{method}-{title.lower().replace(' ', '-')}"
            panels.append(Panel(f"{method.upper()}: {title}", line_chart(name, title, told, lines, x, y)))
    if not panels:
        return Text(
            f"Nothing of the curves of {method.upper()} is drawn; none of these was logged: {', '.join(CURVES)}."
        )
    legend = tuple(Key(sample(style), info.label) for style, info in enumerate(infos))
    columns = (
        Column("Curve"),
        Column("Checkpoint"),
        *(Column(what, numeric=True) for what in ("First", "Last", "Lowest", "Highest")),
    )
    return Figure(tuple(panels), legend, Table(f"Training curves: {method.upper()}", columns, tuple(rows)))


def _curve(table: pl.DataFrame, checkpoint: str, names: Sequence[str]) -> list[tuple[float, float]]:
    """Step and value of the first metric of these names that was logged, where it is finite."""
    logged = table.filter(pl.col("checkpoint") == checkpoint, pl.col("value").is_finite())
    for name in names:
        found = logged.filter(pl.col("metric").str.split("/").list.last() == name).sort("step")
        if not found.is_empty():
            return [(float(step), value) for step, value in found.select("step", "value").iter_rows()]
    return []


def reward_model(view: View) -> Section:
    """Accuracy on held-out pairs, and whether its confidence can be believed."""
    title, info = "Reward model", view.inputs.reward_model
    if info is None:
        return Section("reward-model", title, (Text("No reward model was trained."),))
    metrics = {name: finite(value) for name, value in info.metrics.items()}
    blocks: list[Block] = []
    if metrics.get("accuracy") is not None:
        interval = span(metrics.get("accuracy_low"), metrics.get("accuracy_high"))
        brackets = f" ({interval})" if interval else ""
        n = f" of {metrics['pairs']:g} held-out pairs" if metrics.get("pairs") else " of the held-out pairs"
        blocks.append(Text(f"It prefers the chosen answer in {percent(metrics['accuracy'])}{brackets}{n}."))
    else:
        blocks.append(Text("Its accuracy on held-out pairs is not known."))
    bins = [row for row in info.bins.iter_rows(named=True) if row["n"]]
    blocks.append(_calibration(bins) if bins else Text("There are no calibration bins."))
    rows = tuple((Cell(name), Cell(NOTHING if v is None else short(v))) for name, v in sorted(metrics.items()))
    columns = (Column("Number"), Column("Value", numeric=True))
    blocks.append(Table("Numbers of the reward model", columns, rows))
    return Section("reward-model", title, tuple(blocks))


def _calibration(bins: Sequence[Mapping[str, float]]) -> Figure:
    """How often the preferred answer is the chosen one, over how sure the model is."""
    ends = [min(row["confidence"] for row in bins), max(row["confidence"] for row in bins)]
    perfect = Line("perfect calibration", tuple(Point(end, end) for end in ends), None, markers=False)
    model = Line("reward model", tuple(Point(row["confidence"], row["accuracy"]) for row in bins), 0)
    told = "; ".join(f"right in {percent(row['accuracy'])} where {percent(row['confidence'])} sure" for row in bins)
    x, y = Axis("confidence", _whole_percent), Axis("", _whole_percent)
    svg = line_chart("reward-calibration", "Calibration of the reward model", told, [perfect, model], x, y)
    rows = tuple((Cell(percent(r["confidence"])), Cell(percent(r["accuracy"])), Cell(f"{r['n']:g}")) for r in bins)
    columns = tuple(Column(name, numeric=True) for name in ("Confidence", "Accuracy", "Pairs"))
    legend = (Key(sample(0), "reward model; the thin line is perfect calibration"),)
    table = Table("Calibration", columns, rows)
    return Figure((Panel("Accuracy over confidence", svg),), legend, table)


def _whole_percent(share: float) -> str:
    return f"{100 * share:g} %"
