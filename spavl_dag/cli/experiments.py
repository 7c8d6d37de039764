"""`spavl experiments list` and `spavl experiments add`."""

from __future__ import annotations

import json
from collections.abc import Sequence

import yaml
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from spavl_dag.errors import ParamsError
from spavl_dag.pipeline.layout import Project
from spavl_dag.training.library.library import add_to_params, list_entries
from spavl_dag.yamls import load_yaml


def print_experiments(project: Project, as_json: bool) -> None:
    """Print the library's experiments, and which of them params.yaml has."""
    there = _keys(project)
    if as_json:
        listed = [
            {
                "name": entry.name,
                "file": entry.file,
                "about": entry.about,
                "method": entry.params.method,
                "in_params": entry.name in there,
                "entry": entry.raw,
            }
            for entry in list_entries()
        ]
        print(json.dumps(listed))
        return
    table = Table(title="Experiments ready to be added")
    table.add_column("name", no_wrap=True)
    for column in ("method", "what it is", "in params.yaml"):
        table.add_column(column, overflow="fold")
    for entry in list_entries():
        marks = "[green]yes[/]" if entry.name in there else "no"
        table.add_row(entry.name, entry.params.method, escape(entry.about), marks)
    console = Console()
    console.print(table)
    console.print("add with `spavl experiments add NAME`, make with `dvc repro` or `spavl demo`", highlight=False)


def add_experiments(project: Project, names: Sequence[str]) -> None:
    """Write experiments of the library to params.yaml, which keeps its comments.

    Raises:
        ParamsError: A name is unknown, given twice or there already.
    """
    add_to_params(project.params_file, names)
    Console().print(f"added to {project.params_file.name}: {', '.join(names)}", highlight=False)


def _keys(project: Project) -> set[str]:
    """Keys of `experiments:`, also of a params.yaml that isn't fine."""
    try:
        content = load_yaml(project.params_file.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise ParamsError(f"{project.params_file.name} can't be read: {error}", "Fix it first.") from error
    experiments = content.get("experiments") if isinstance(content, dict) else None
    return set(experiments) if isinstance(experiments, dict) else set()
