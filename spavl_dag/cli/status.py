"""`spavl status`."""

from __future__ import annotations

import json
from dataclasses import asdict

from rich.console import Console
from rich.table import Table

from spavl_dag.inference.ledger import Ledger
from spavl_dag.integrations.dvc.status import project_status
from spavl_dag.pipeline.graph import load_graph
from spavl_dag.pipeline.layout import Project

_STYLES = {"made": "green", "stale": "yellow", "blocked": "cyan", "missing": "red"}


def print_status(project: Project, as_json: bool) -> None:
    """Print the state of all artifacts and what the ledger holds."""
    states = project_status(load_graph(project))
    with Ledger(project.ledger) as ledger:
        calls = [row._asdict() for row in ledger.summary()]
    if as_json:
        print(json.dumps({"artifacts": [asdict(state) for state in states], "calls": calls}, default=str))
        return
    table = Table(title="Artifacts")
    for column in ("stage", "state", "why", "rows without a result"):
        table.add_column(column, overflow="fold")
    for state in states:
        failed = ", ".join(f"{count:,} {name}" for name, count in state.failed.items())
        style = _STYLES[state.state]
        table.add_row(state.stage, f"[{style}]{state.state}[/]", "; ".join(state.reasons[:3]), failed)
    console = Console()
    console.print(table)
    total = sum(row["calls"] for row in calls)
    cost = sum(row["cost_usd"] for row in calls)
    console.print(f"ledger: {total:,} calls, {cost:.4f} USD", highlight=False)
    if any(state.state != "made" for state in states):
        console.print("make what is stale or missing with `dvc repro` or `spavl demo`", highlight=False)
