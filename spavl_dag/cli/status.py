"""`spavl status`."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict

from spavl_dag.cli.terminal import Terminal, print_json
from spavl_dag.inference.ledger import Ledger
from spavl_dag.integrations.dvc.status import ArtifactStatus, project_status
from spavl_dag.media.files import printable
from spavl_dag.pipeline.layout import Project
from spavl_dag.pipeline.load import load_graph

_STYLES = {"made": "green", "stale": "yellow", "blocked": "cyan", "missing": "red"}
_REASONS = 3


def print_status(project: Project, as_json: bool) -> None:
    """Print the state of all artifacts and what the ledger holds; a project that may only be read will do."""
    states = project_status(load_graph(project))
    terminal = Terminal()
    if not as_json:
        _print_states(terminal, states)
    with Ledger(project.ledger, read_only=True) if project.ledger.exists() else nullcontext() as ledger:
        calls = [row._asdict() for row in ledger.summary()] if ledger else []
    if as_json:
        print_json({"artifacts": [asdict(state) for state in states], "calls": calls})
        return
    total = sum(row["calls"] for row in calls)
    cost = sum(row["cost_usd"] for row in calls)
    terminal.print(f"ledger: {total:,} calls, {cost:.4f} USD")
    if any(state.state != "made" for state in states):
        terminal.print("make what is stale or missing with `dvc repro` or `spavl demo`")


def _print_states(terminal: Terminal, states: Sequence[ArtifactStatus]) -> None:
    width = max(len(state.stage) for state in states)
    for state in states:
        failed = ", ".join(f"{count:,} {name}" for name, count in state.failed.items())
        terminal.print(f"{state.stage:{width}}  {state.state:7}  {printable(failed)}", style=_STYLES[state.state])
        for reason in state.reasons[:_REASONS]:
            terminal.print(printable(reason), 4)
        if more := len(state.reasons[_REASONS:]):
            terminal.print(f"and {more:,} more", 4)
