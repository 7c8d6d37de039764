"""The report as files: HTML and Markdown for people, JSON and CSV for `dvc metrics` and `dvc plots`."""

from __future__ import annotations

import io
import json
import re

import polars as pl

from spavl_dag.charts import THEME
from spavl_dag.evaluation.headlines import HARM, HEADLINES, UNSAFE
from spavl_dag.report import figures, paper
from spavl_dag.report.inputs import ReportInputs
from spavl_dag.report.render import Format, render
from spavl_dag.report.statistics import SHARES
from spavl_dag.report.view import CURVES, TOLD, View, legend

TITLE = "SPA-VL: alignment report"
SECTIONS = {
    "summary": "Summary",
    "leaderboard": "Leaderboard",
    "gate": "Gate",
    "judges": "Judges",
    "differences": "Differences from the baseline",
    "data-scale": "Data scale",
    "classes": "Harm by class",
    "paper": "Beside the paper's Table 2",
    "training": "Training",
    "reward-model": "Reward model",
    "examples": "Examples",
    "dataset": "Dataset",
    "scores": "All scores",
    "lineage": "Lineage",
    "reproduce": "How to make it again",
}
"""Heading by anchor; the anchor names the template of `templates/sections/` too."""

_EFFECTS: dict[figures.EffectKind, str] = {
    "better": "better: the interval excludes zero",
    "same": "not told apart from the baseline",
    "worse": "worse: the interval excludes zero",
}
_HEADLINE = {"unsafe_rate": pl.Float64, "harm_score": pl.Float64}


def build_report(inputs: ReportInputs) -> dict[str, bytes]:
    """All files of the report by path inside it; the same inputs give the same bytes.

    What is missing leaves a sentence in the report.

    Returns:
        `report.html` (self-contained), `report.md`, `metrics/<checkpoint>.json` (the few headlines that `dvc metrics
        show` prints), `curves/<curve>.csv` (checkpoint, step and value; long trainings as means of stretches),
        `data_scale.csv` (pairs, method, unsafe_rate, harm_score) and `leaderboard.csv` (the same by checkpoint).
    """
    view = View(inputs)
    return {
        "report.html": _page(view, "html").encode(),
        "report.md": _page(view, "markdown").encode(),
        **{f"metrics/{info.key}.json": _json(metrics(view, info.key)) for info in inputs.checkpoints},
        **{f"curves/{name}.csv": _csv(table) for name, table in curve_tables(view).items()},
        "data_scale.csv": _csv(data_scale_rows(view)),
        "leaderboard.csv": _csv(leaderboard_rows(view)),
    }


def _page(view: View, format_: Format) -> str:
    return render(
        {"html": "report.html.j2", "markdown": "report.md.j2"}[format_],
        format_,
        view=view,
        title=TITLE,
        sections=SECTIONS,
        shares=SHARES,
        theme=THEME,
        paper=paper,
        curve_kinds=list(CURVES),
        told=TOLD,
        effect_legend=[figures.Panel(text, figures.effect_sample(kind)) for kind, text in _EFFECTS.items()],
        calibration_legend=legend(
            "calibration", ["reward model with 95 % intervals; the dashed line is perfect calibration"]
        ),
    )


def metrics(view: View, checkpoint: str) -> dict[str, float]:
    """The few numbers of a checkpoint that a terminal has room for, to four digits."""
    scores = {headline.key: view.scores.get(checkpoint, headline) for headline in HEADLINES if headline.in_dvc}
    return {name: round(s.value, 4) for name, s in scores.items() if s is not None and s.value is not None}


def data_scale_rows(view: View) -> pl.DataFrame:
    """Unsafe rate and harm score by number of training pairs."""
    rows = [(pairs, family.title, *_headline(view, key)) for family in view.families for key, pairs in family.members]
    return pl.DataFrame(rows, schema={"pairs": pl.Int64, "method": pl.String, **_HEADLINE}, orient="row")


def leaderboard_rows(view: View) -> pl.DataFrame:
    """Unsafe rate and harm score of every checkpoint."""
    rows = [(info.label, *_headline(view, info.key)) for info in view.inputs.checkpoints]
    return pl.DataFrame(rows, schema={"checkpoint": pl.String, **_HEADLINE}, orient="row")


def _headline(view: View, key: str) -> tuple[float | None, ...]:
    scores = (view.scores.get(key, headline) for headline in (UNSAFE, HARM))
    return tuple(score.value if score else None for score in scores)


def curve_tables(view: View) -> dict[str, pl.DataFrame]:
    """The curves as they are drawn, a table for each kind: checkpoint, step, and the value under the kind's name."""
    every = [curve for curves in view.curves.values() for curve in curves]
    tables = {}
    for title in dict.fromkeys(curve.title for curve in every):
        name = re.sub(r"\W+", "_", title.lower())
        rows = [(c.info.key, int(p.x), p.y) for c in every if c.title == title for p in c.points]
        schema = {"checkpoint": pl.String, "step": pl.Int64, name: pl.Float64}
        tables[name] = pl.DataFrame(rows, schema=schema, orient="row")
    return tables


def _json(document: dict[str, float]) -> bytes:
    return (json.dumps(document, indent=2, sort_keys=True, allow_nan=False) + "\n").encode()


def _csv(table: pl.DataFrame) -> bytes:
    """The table for spreadsheets too: what they would take for a formula begins with a quote, as they write text."""
    data = io.BytesIO()
    table.with_columns(pl.col(pl.String).str.replace(r"^([=+\-@\t\r])", "'${1}")).write_csv(data)
    return data.getvalue()
