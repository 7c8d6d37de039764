"""`spavl graph write`, `check` and `show`: what depends on what, and dvc.yaml."""

from __future__ import annotations

import json

import typer
from rich.console import Console
from rich.text import Text
from rich.tree import Tree

from spavl_dag.integrations.dvc.ignore_file import ignore_unhashable
from spavl_dag.integrations.dvc.lock import Lock
from spavl_dag.integrations.dvc.stages_file import compare_stages_file, write_stages_file
from spavl_dag.pipeline.graph import Graph, Stage
from spavl_dag.pipeline.layout import Project
from spavl_dag.pipeline.load import load_graph
from spavl_dag.pipeline.page import PAGE, artifacts_page


def write_graph(project: Project) -> None:
    """Write dvc.yaml, and the page of the documentation that lists the artifacts, from assets/ and params.yaml."""
    graph = load_graph(project)
    written = write_stages_file(graph)
    ignore_unhashable(graph.with_fresh_eyes())
    Console().print("dvc.yaml written" if written else "dvc.yaml is as it should be", highlight=False)
    page = project.root / PAGE
    if page.parent.is_dir():
        page.write_text(artifacts_page(graph), encoding="utf-8")


def check_graph(project: Project) -> None:
    """Compare dvc.yaml with assets/ and params.yaml; exit code 1 and the difference where it is behind."""
    graph = load_graph(project)
    lines = compare_stages_file(graph)
    page = project.root / PAGE
    if page.is_file() and page.read_text(encoding="utf-8") != artifacts_page(graph):
        lines.append(f"{PAGE} is not what assets/ and params.yaml want")
    if not lines:
        Console().print("dvc.yaml is as it should be", highlight=False)
        return
    for line in lines:
        print(line)
    Console(stderr=True).print("`spavl graph write` writes it anew", highlight=False)
    raise typer.Exit(1)


def show_graph(project: Project, artifact: str | None, partition: str | None, as_json: bool) -> None:
    """Print what artifacts depend on, and why each is stale.

    Raises:
        SpavlError: There is no such artifact or partition.
    """
    graph = load_graph(project)
    stages = list(graph.stages) if artifact is None else graph.of(graph.asset(artifact).name)
    if partition is not None:
        stages = [graph.get(str(artifact), partition)]
    lock = Lock(graph)
    if as_json:
        print(json.dumps([_plain(graph, lock, stage) for stage in stages], indent=1))
    else:
        console = Console()
        for stage in stages:
            console.print(_tree(graph, lock, stage))
    graph.hasher.save()


def _plain(graph: Graph, lock: Lock, stage: Stage) -> dict[str, object]:
    return {
        "stage": stage.name,
        "reads": _inputs(graph, stage),
        "deps": list(stage.deps),
        "params": list(stage.params),
        "outs": list(stage.outs),
        "stale": lock.why_stale(stage),
    }


def _inputs(graph: Graph, stage: Stage) -> dict[str, list[str]]:
    """What each parameter of the asset's function makes it depend on."""
    found = {}
    for name, declared in graph.asset(stage.artifact).inputs.items():
        reads = [
            f"{up.artifact if isinstance(up.artifact, str) else graph.owner(up.artifact)[0].name}"
            + {"one": "", "all": " (all parts)", "baseline": " (the baseline's part)"}[up.mode]
            for up in declared.upstream(graph.context)
        ]
        for source in declared.sources(graph.context):
            reads += [f"params {key}".replace("{key}", str(stage.partition)) for key in source.keys]
            reads += [graph.path(file, stage.partition) for file in source.files]
        found[name] = list(dict.fromkeys(reads))
    return found


def _tree(graph: Graph, lock: Lock, stage: Stage) -> Tree:
    stale = lock.why_stale(stage)
    tree = Tree(Text(stage.name, style="bold").append("  stale" if stale else "  made", "yellow" if stale else "green"))
    for reason in stale:
        tree.add(Text(reason, style="yellow"))
    for name, reads in _inputs(graph, stage).items():
        tree.add(Text(f"{name}: ", style="cyan").append(", ".join(reads) or "nothing", style="default"))
    tree.add(Text("code: ", style="cyan").append(", ".join(graph.code(graph.asset(stage.artifact))), style="default"))
    tree.add(Text("makes: ", style="cyan").append(", ".join(stage.outs), style="default"))
    return tree
