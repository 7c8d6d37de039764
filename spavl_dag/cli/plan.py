"""`spavl plan`: what a run would ask, and what that would take at the rates measured so far."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich.console import Console
from rich.table import Table

from spavl_dag.cli.params import ready_params
from spavl_dag.cli.progress import ProgressReporter
from spavl_dag.cli.running import wanted_stages
from spavl_dag.cli.terminal import Terminal, print_json
from spavl_dag.inference.ledger import Ledger
from spavl_dag.inference.ledger.rows import RateRow
from spavl_dag.integrations.dvc.lock import Lock
from spavl_dag.pipeline.layout import Project
from spavl_dag.pipeline.load import load_graph
from spavl_dag.pipeline.planning import Plan, make_plan


@dataclass
class Line:
    """The calls of one artifact to one role.

    Attributes:
        artifact: For which.
        role: Who is asked.
        asked: Distinct calls of all parts.
        missing: Those that are still to be made.
        exact: Whether that is so, or at most so.
        prompt_tokens: Projected; None where nothing was measured, as are the next three.
        completion_tokens: Projected.
        hours: Projected, one after another.
        usd: Projected.
    """

    artifact: str
    role: str
    asked: int = 0
    missing: int = 0
    exact: bool = True
    prompt_tokens: float | None = None
    completion_tokens: float | None = None
    hours: float | None = None
    usd: float | None = None


def print_plan(project: Project, to: str | None, as_json: bool) -> None:
    """Print what making everything, or an artifact with all it needs, would ask. No model is loaded.

    Raises:
        SpavlError: Params can't be used.
    """
    graph = load_graph(project)
    if to is not None:
        graph.asset(to)
    ready_params(project)
    lock = Lock(graph)
    with ProgressReporter() as progress:
        plan = make_plan(graph, wanted_stages(graph, to), lambda stage: bool(lock.why_stale(stage)), progress)
    rates: list[RateRow] = []
    if project.ledger.exists():
        with Ledger(project.ledger, read_only=True) as ledger:
            rates = ledger.rates()
    lines = project_lines(plan, rates)
    if as_json:
        print_json({"calls": [asdict(line) for line in lines], "train": plan.trainings, "unknown": plan.unknown})
    else:
        _print(lines, plan)


def project_lines(plan: Plan, rates: Sequence[RateRow]) -> list[Line]:
    """Calls by artifact and role, and what those that are missing would take.

    Args:
        plan: What would be asked.
        rates: What calls took so far, by role. A model or checkpoint that was never asked is taken for the mean of
            the others.
    """
    lines: dict[tuple[str, str], Line] = {}
    for stage, calls in plan.calls.items():
        artifact = stage.partition("@")[0]
        for each in calls:
            role = each.role if each.role.startswith("roles.") else f"{each.role.partition('.')[0]}.*"
            line = lines.setdefault((artifact, role), Line(artifact, role))
            line.asked += each.asked
            line.missing += each.missing
            line.exact = line.exact and stage in plan.exact
    for line in lines.values():
        _project(line, rates)
    return list(lines.values())


def _project(line: Line, rates: Sequence[RateRow]) -> None:
    measured = [rate for rate in rates if rate.role == line.role or rate.role.startswith(line.role.rstrip("*"))]
    calls, timed = sum(rate.calls for rate in measured), sum(rate.timed_calls for rate in measured)
    if not line.missing:
        line.prompt_tokens = line.completion_tokens = line.hours = line.usd = 0.0
        return
    if calls:
        line.prompt_tokens = line.missing * sum(rate.prompt_tokens for rate in measured) / calls
        line.completion_tokens = line.missing * sum(rate.completion_tokens for rate in measured) / calls
        line.usd = line.missing * sum(rate.cost_usd for rate in measured) / calls
    if timed:
        line.hours = line.missing * sum(rate.seconds for rate in measured) / timed / 3600


_COLUMNS: Mapping[str, Any] = {
    "artifact": {"overflow": "fold"},
    "role": {"overflow": "fold"},
    "calls": {"justify": "right"},
    "to make": {"justify": "right"},
    "tokens": {"justify": "right"},
    "hours": {"justify": "right"},
    "USD": {"justify": "right"},
}


def _print(lines: Sequence[Line], plan: Plan) -> None:
    terminal, table = Terminal(), Table()
    for column, how in _COLUMNS.items():
        table.add_column(column, **how)
    for line in lines:
        tokens = None if line.prompt_tokens is None else line.prompt_tokens + (line.completion_tokens or 0)
        most = "" if line.exact or not line.missing else "≤ "
        table.add_row(
            line.artifact,
            line.role,
            f"{line.asked:,}",
            f"{most}{line.missing:,}",
            _number(tokens, ",.0f"),
            _number(line.hours, ",.2f"),
            _number(line.usd, ",.2f"),
        )
    missing = sum(line.missing for line in lines)
    if lines:
        Console().print(table)
    exact = all(line.exact or not line.missing for line in lines)
    usd, hours = (sum(getattr(line, name) or 0 for line in lines) for name in ("usd", "hours"))
    unmeasured = sorted({line.role for line in lines if line.missing and line.hours is None})
    terminal.print(
        f"{'' if exact else 'at most '}{missing:,} calls to make: {hours:,.2f} hours one after another, {usd:,.2f} USD"
        + (f", without {', '.join(unmeasured)}, of which too little was measured" if unmeasured else "")
    )
    if not exact:
        terminal.print("≤: behind answers or weights that aren't there yet, all calls count as missing")
    if plan.trainings:
        terminal.print(f"to be trained, or taken from earlier trainings: {', '.join(plan.trainings)}")
    for stage, reason in plan.unknown.items():
        terminal.print(f"{stage}: not known ({reason})")


def _number(value: float | None, how: str) -> str:
    return "?" if value is None else format(value, how)
