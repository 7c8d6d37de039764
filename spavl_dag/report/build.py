"""The report as files: HTML and Markdown for people, JSON and CSV for `dvc metrics` and `dvc plots`."""

from __future__ import annotations

import io
import json

import polars as pl

from spavl_dag.report import appendix, comparison, training
from spavl_dag.report.blocks import Section
from spavl_dag.report.inputs import ReportInputs
from spavl_dag.report.numbers import HARM_SCORE, UNSAFE_RATE
from spavl_dag.report.render import render_html, render_markdown
from spavl_dag.report.summary import summary
from spavl_dag.report.view import View, data_scale_families

_HEADLINE = {"unsafe_rate": pl.Float64, "harm_score": pl.Float64}


def build_report(inputs: ReportInputs) -> dict[str, bytes]:
    """All files of the report by name; the same inputs give the same bytes.

    What is missing leaves a sentence in the report.

    Returns:
        `report.html` (self-contained), `report.md`, `metrics.json` ({checkpoint: {metric: value}}), `data_scale.csv`
        (pairs, method, unsafe_rate, harm_score), `leaderboard.csv` (the same by checkpoint) and `curves.csv`
        (checkpoint, step, metric, value).
    """
    view = View(inputs)
    sections = _sections(view)
    return {
        "report.html": render_html(sections).encode(),
        "report.md": render_markdown(sections).encode(),
        "metrics.json": (json.dumps(metrics(view), indent=2, sort_keys=True, allow_nan=False) + "\n").encode(),
        "data_scale.csv": _csv(data_scale_rows(view)),
        "leaderboard.csv": _csv(leaderboard_rows(view)),
        "curves.csv": _csv(curve_rows(view)),
    }


def _sections(view: View) -> list[Section]:
    return [
        summary(view),
        comparison.leaderboard(view),
        comparison.gate(view),
        comparison.differences(view),
        comparison.data_scale(view),
        comparison.classes(view),
        comparison.paper_table(view),
        training.curves(view),
        training.reward_model(view),
        appendix.examples(view),
        appendix.dataset(view),
        appendix.all_scores(view),
        appendix.lineage(view),
        appendix.reproduce(),
    ]


def metrics(view: View) -> dict[str, dict[str, float]]:
    """Every known score by checkpoint and name."""
    return {
        info.key: {score.name: score.value for score in view.scores.of(info.key) if score.value is not None}
        for info in view.inputs.checkpoints
    }


def data_scale_rows(view: View) -> pl.DataFrame:
    """Unsafe rate and harm score by number of training pairs."""
    rows = [
        (pairs, family.title, *_headline(view, key))
        for family in data_scale_families(view.inputs.checkpoints)
        for key, pairs in family.members
    ]
    return pl.DataFrame(rows, schema={"pairs": pl.Int64, "method": pl.String, **_HEADLINE}, orient="row")


def leaderboard_rows(view: View) -> pl.DataFrame:
    """Unsafe rate and harm score of every checkpoint."""
    rows = [(info.label, *_headline(view, info.key)) for info in view.inputs.checkpoints]
    return pl.DataFrame(rows, schema={"checkpoint": pl.String, **_HEADLINE}, orient="row")


def _headline(view: View, key: str) -> tuple[float | None, ...]:
    scores = (view.scores.get(key, measure) for measure in (UNSAFE_RATE, HARM_SCORE))
    return tuple(score.value if score else None for score in scores)


def curve_rows(view: View) -> pl.DataFrame:
    """All training curves, one number a row, in the order of the checkpoints."""
    schema = {"checkpoint": pl.String, "step": pl.Int64, "metric": pl.String, "value": pl.Float64}
    if view.inputs.curves.is_empty():
        return pl.DataFrame(schema=schema)
    keys = list(dict.fromkeys(info.key for info in view.inputs.checkpoints))
    return (
        view.inputs.curves.select(list(schema))
        .filter(pl.col("value").is_finite(), pl.col("checkpoint").is_in(keys))
        .sort(pl.col("checkpoint").cast(pl.Enum(keys)), "step", "metric")
    )


def _csv(table: pl.DataFrame) -> bytes:
    data = io.BytesIO()
    table.write_csv(data)
    return data.getvalue()
