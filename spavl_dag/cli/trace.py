"""`spavl trace`."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict
from datetime import UTC, datetime
from itertools import groupby
from typing import Any

from rich.cells import cell_len

from spavl_dag.cli.terminal import Terminal, print_json
from spavl_dag.errors import SpavlError
from spavl_dag.inference.ledger import CallRow, Ledger
from spavl_dag.lineage.trace import Found, Tracer
from spavl_dag.lineage.uses import uses_of_image
from spavl_dag.media.files import printable
from spavl_dag.pipeline.layout import Project
from spavl_dag.pipeline.load import load_graph
from spavl_dag.pipeline.store import UNREADABLE
from spavl_dag.text import redact

_HARMLESS = frozenset({"engine", "model", "revision", "precision", "endpoint", "adapters"})
"""Texts of a call's profile that say who was asked; all others, such as the system turn, say what."""
_TEXTS = frozenset({"text", "prompt"})
"""What a model wrote and was asked."""
_LONGEST = 240
"""Characters of a text that are shown among a row's other columns."""


def print_trace(project: Project, name: str, show_text: bool, as_json: bool) -> None:
    """Print everything a row comes from. Nothing is written: a project that may only be read can be traced.

    Raises:
        SpavlError: Nothing has that id, or several do; a table is damaged.
    """
    graph = load_graph(project)
    show = show_text or graph.params.runtime.show_text
    with Ledger(project.ledger, read_only=True) if project.ledger.exists() else nullcontext() as ledger:
        try:
            found = Tracer(graph, ledger).trace(name)
        except UNREADABLE as error:
            reason = printable(str(error).partition("\n")[0])
            raise SpavlError(
                f"a table can't be read: {reason}", "`spavl status` says which ones were modified."
            ) from error
    if as_json:
        print_json([_plain(one, show) for one in found])
        return
    terminal = Terminal()
    if found[0].artifact == "ledger":
        _print_call(terminal, _call(found[0].calls["call_key"], show))
    else:
        _print_rows(terminal, found, show)
    if not show:
        terminal.print("texts are hidden; --show-text shows them", style="dim")


def print_uses(project: Project, name: str, as_json: bool) -> None:
    """Print all that goes back to an image. No text is shown.

    Raises:
        SpavlError: No image is meant, or several are; a table is damaged.
    """
    try:
        uses = uses_of_image(load_graph(project), name)
    except UNREADABLE as error:
        reason = printable(str(error).partition("\n")[0])
        raise SpavlError(f"a table can't be read: {reason}", "`spavl status` says which ones were modified.") from error
    if as_json:
        print_json(asdict(uses))
        return
    terminal = Terminal()
    terminal.print(f"image_id: {uses.image_id}", style="bold")
    terminal.print(f"sha256: {uses.sha256}")
    terminal.print(f"source: {printable(uses.source)}")
    for use in uses.uses:
        stage = f"{use.artifact}@{use.partition}" if use.partition else use.artifact
        where = stage if use.artifact == use.table else f"{stage}, {use.table}"
        splits = "".join(f", {count:,} in {split}" for split, count in use.splits.items())
        terminal.print(f"{where}: {use.rows:,} rows{splits}", style="cyan")
        more = f" and {use.rows - len(use.ids):,} more" if use.rows > len(use.ids) else ""
        terminal.print(f"{', '.join(map(printable, use.ids))}{more}", 2)
    for training in uses.trainings:
        state = "" if training.up_to_date else "; the checkpoint is stale, so it may have seen others"
        terminal.print(f"trained on by {training.checkpoint}: {training.rows:,} rows{state}", style="magenta")


def _plain(found: Found, show: bool) -> dict[str, Any]:
    """A row and its calls with no more than may be shown."""
    return {
        "artifact": found.artifact,
        "partition": found.partition,
        "table": found.table,
        "data_version": found.data_version,
        "row": _redacted(found.row, found.hidden, show),
        "calls": {column: _call(call, show) for column, call in found.calls.items()},
    }


def _call(call: CallRow, show: bool) -> dict[str, Any]:
    try:
        profile = json.loads(call.profile)
        profile = _redacted(profile, profile.keys() - _HARMLESS, show)
    except (ValueError, AttributeError):  # no JSON, or none of an object
        profile = redact(call.profile, show)
    fields = {**asdict(call), "key": call.key.hex(), "state": call.state.value, "profile": profile}
    return _redacted(fields, _TEXTS, show)


def _redacted(row: Mapping[str, Any], hidden: Collection[str], show: bool) -> dict[str, Any]:
    """The columns; of the hidden ones no text, however deep it lies."""

    def shown(value: Any) -> Any:
        if isinstance(value, list):
            return [shown(each) for each in value]
        if isinstance(value, dict):
            return {name: shown(each) for name, each in value.items()}
        return redact(value, show) if isinstance(value, str) else value

    return {name: shown(value) if name in hidden else value for name, value in row.items()}


def _print_rows(terminal: Terminal, found: Sequence[Found], show: bool) -> None:
    """Ids first; then, by table, a few lines per row and one per call. What several artifacts say is said once."""
    ids: dict[str, dict[str, None]] = {}
    for one in found:
        for column in filter(one.ids.__contains__, one.row):
            ids.setdefault(one.row[column], {})[column] = None
    for value, columns in ids.items():
        terminal.print(f"{', '.join(sorted(columns))}: {printable(value)}", style="bold")
    said: dict[tuple[str, str], str] = {}
    for (artifact, partition, table), rows in groupby(found, lambda one: (one.artifact, one.partition, one.table)):
        stage = f"{artifact}@{partition}" if partition else artifact
        listed = list(rows)
        version = f"md5 {listed[0].data_version}" if listed[0].data_version else "not recorded"
        terminal.print(f"{stage if artifact == table else f'{stage}, {table}'}  {version}", style="cyan")
        for one in listed:
            told = {name: one.row[name] for name in _own(one)}
            if partition is None:  # else it is about one model, and what others say is about others
                told = {
                    name: value
                    for name, value in told.items()
                    if said.setdefault((name, repr(value)), artifact) == artifact
                }
            _print_row(terminal, told, () if show else one.hidden)
            for column, call in one.calls.items():
                tokens = f"{call.prompt_tokens:,} + {call.completion_tokens:,} tokens"
                terminal.print(f"{column}: {call.key.hex()}  {call.state.value}, {tokens}", 2, style="magenta")
                if call.error:
                    terminal.print(f"error: {_short(call.error)}", 4)


def _own(found: Found) -> list[str]:
    """Columns of a row that say what its ids, its partition and its calls don't."""
    calls = [{**asdict(call), "state": call.state.value} for call in found.calls.values()]
    named = {column.partition("[")[0] for column in found.calls} | found.ids
    return [
        column
        for column, value in found.row.items()
        if column not in named
        and value not in (None, "", [], found.partition)
        and not any(column in call and call[column] == value for call in calls)
    ]


def _print_row(terminal: Terminal, row: Mapping[str, Any], hidden: Collection[str]) -> None:
    """Columns beside each other as far as a line goes; of hidden texts the lengths."""
    items = [f"{column}: {_short(value)}" for column, value in row.items() if column not in hidden]
    lengths = [f"{column} {len(value):,}" for column, value in row.items() if column in hidden]
    items += [f"hidden: {', '.join(lengths)} characters"] if lengths else []
    line = ""
    for item in [*items, None]:
        if line and (item is None or cell_len(f"{line}  {item}") > terminal.width - 2):
            terminal.print(line, 2)
            line = ""
        line = f"{line}  {item}" if line else item or ""


def _print_call(terminal: Terminal, call: Mapping[str, Any]) -> None:
    """All that the ledger has of a call, texts in full."""
    told = dict(call) | {"created_at": datetime.fromtimestamp(call["created_at"], UTC).isoformat(" ", "seconds")}
    if isinstance(call["profile"], dict):
        told |= {f"profile, {name}": value for name, value in told.pop("profile").items()}
    for name, value in told.items():
        if value in (None, "", []):
            continue
        lines = (value if isinstance(value, str) else json.dumps(value)).split("\n")
        terminal.print(f"{name}: {printable(lines[0])}")
        for line in lines[1:]:
            terminal.print(printable(line), 2)


def _short(value: Any) -> str:
    """A value on one line, no longer than fits beside a row's other columns."""
    if isinstance(value, list):
        value = ", ".join(map(str, value))
    text = printable(f"{value:.4g}" if isinstance(value, float) else str(value))
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}... ({len(text):,} characters)"
