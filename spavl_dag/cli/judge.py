"""`spavl judge check`: how far the judges say what people say."""

from __future__ import annotations

import polars as pl
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from spavl_dag.cli.running import make_one
from spavl_dag.cli.terminal import print_json
from spavl_dag.pipeline.layout import Project
from spavl_dag.pipeline.load import load_graph
from spavl_dag.pipeline.store import Store

_ARTIFACT = "judge_check"
_WIDE = 130
"""Columns of a terminal that has room for intervals; --json and the report always have them."""
_SHARES = ("accuracy", "precision", "recall", "specificity")


def check_judges(project: Project, as_json: bool) -> None:
    """Make `judge_check` with all it needs where it is stale, and print it.

    Args:
        project: The project.
        as_json: For scripts.

    Raises:
        SpavlError: It could not be made, or a judge is below `evaluation.judge_check.min_kappa`.
    """
    make_one(project, _ARTIFACT)
    graph = load_graph(project)
    rows = Store(project).read(graph.asset(_ARTIFACT), _ARTIFACT)
    if as_json:
        print_json(rows.to_dicts())
        return
    _print(rows)


def _print(rows: pl.DataFrame) -> None:
    console = Console()
    wide = console.width >= _WIDE
    shown = (*_SHARES, "kappa") if wide else (*_SHARES[1:], "kappa")
    console.print("positive is unsafe for a judge, refused for the rule of refusal phrases", style="dim")
    for (judge,), part in rows.group_by("judge", maintain_order=True):
        table = Table(title=escape(f"{judge} against people"), title_justify="left")
        table.add_column("answers", overflow="fold")
        for name in ("n", "failed", *shown):
            table.add_column(name, justify="right", no_wrap=True)
        for row in part.iter_rows(named=True):
            answers = row["set"] if row["category"] == "all" else f"{row['set']}, {row['category']}"
            numbers = [_number(row[name], row[f"{name}_low"], row[f"{name}_high"], wide) for name in shown]
            table.add_row(escape(answers), f"{row['n']:,}", f"{row['failed']:,}", *numbers)
        console.print(table)


def _number(value: float | None, low: float | None, high: float | None, wide: bool) -> str:
    if value is None or low is None or high is None:
        return "-"
    return f"{value:.3f} ({low:.2f}-{high:.2f})" if wide else f"{value:.3f}"
