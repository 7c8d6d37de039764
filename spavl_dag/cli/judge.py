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
    table = Table(title="judges against people; positive is unsafe, or refused for refusal_keywords", show_lines=False)
    for name in ("set", "category", "judge"):
        table.add_column(name, overflow="fold")
    for name in ("n", "failed", *_SHARES, "kappa"):
        table.add_column(name, justify="right")
    for row in rows.iter_rows(named=True):
        shares = [_number(row[name], row[f"{name}_low"], row[f"{name}_high"]) for name in (*_SHARES, "kappa")]
        names = (escape(str(row[name])) for name in ("set", "category", "judge"))
        table.add_row(*names, f"{row['n']:,}", f"{row['failed']:,}", *shares)
    Console().print(table)


def _number(value: float | None, low: float | None, high: float | None) -> str:
    if value is None or low is None or high is None:
        return "-"
    return f"{value:.3f}\n{low:.2f}-{high:.2f}"
