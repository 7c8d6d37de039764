"""`spavl trace`."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.text import Text
from rich.tree import Tree

from spavl_dag.inference.ledger import CallRow, Ledger
from spavl_dag.lineage.trace import Found, Tracer
from spavl_dag.pipeline.graph import Graph, load_graph
from spavl_dag.pipeline.layout import Project
from spavl_dag.schemas import hidden_columns
from spavl_dag.text import redact

_CALL_TEXTS = {"text", "prompt", "profile"}


def print_trace(project: Project, row_id: str, show_text: bool, as_json: bool) -> None:
    """Print everything a row comes from.

    Raises:
        SpavlError: Nothing has that id, or several do.
    """
    graph = load_graph(project)
    show = show_text or graph.params.runtime.show_text
    with Ledger(project.ledger) as ledger:
        found = Tracer(graph, ledger).trace(row_id)
    if as_json:
        print(json.dumps([_plain(one, _hidden(graph, one), show) for one in found], default=str, indent=1))
        return
    tree = Tree(Text(row_id, style="bold"))
    for one in found:
        version = f"  md5 {one.data_version}" if one.data_version else "  not recorded"
        name = one.artifact if one.artifact == one.table else f"{one.artifact}.{one.table}"
        branch = tree.add(Text(name, style="bold cyan").append(version, style="dim"))
        for column, value in _shown(one.row, _hidden(graph, one), show).items():
            if value is not None:
                branch.add(Text(f"{column}: {value}"))
        for column, call in one.calls.items():
            leaf = branch.add(Text(f"call {column.removesuffix('_key')}: {call.key.hex()}", style="magenta"))
            for name, value in _call(call, show).items():
                if value not in (None, ""):
                    leaf.add(Text(f"{name}: {value}"))
    console = Console()
    console.print(tree)
    if not show:
        console.print("texts are redacted; --show-text shows them", style="dim")


def _hidden(graph: Graph, found: Found) -> frozenset[str]:
    if found.artifact == "ledger":
        return frozenset()
    return hidden_columns(graph.asset(found.artifact).schemas[found.table])


def _plain(found: Found, hidden: frozenset[str], show: bool) -> dict[str, Any]:
    return {
        "artifact": found.artifact,
        "table": found.table,
        "data_version": found.data_version,
        "row": _shown(found.row, hidden, show),
        "calls": {column: _call(call, show) for column, call in found.calls.items()},
    }


def _call(call: CallRow, show: bool) -> dict[str, Any]:
    fields = {**asdict(call), "key": call.key.hex(), "state": call.state.value}
    return _shown(fields, frozenset(_CALL_TEXTS - {"profile"}), show)


def _shown(row: dict[str, Any], texts: frozenset[str], show: bool) -> dict[str, Any]:
    return {
        name: redact(value, show) if name in texts and isinstance(value, str) else value for name, value in row.items()
    }
