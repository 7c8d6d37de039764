"""A project's own declarations and graph, as they lie on disk."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from pathlib import Path

import spavl_dag
from spavl_dag.errors import OtherCheckoutError, SpavlError
from spavl_dag.params.load import load_params
from spavl_dag.pipeline.declaration import Asset
from spavl_dag.pipeline.graph import Graph
from spavl_dag.pipeline.layout import Project

LIBRARY = "spavl_dag"


def load_assets(project: Project) -> Sequence[Asset]:
    """The declarations in a project's own `assets` package.

    Raises:
        SpavlError: There is none, or another checkout's library or assets would run in the project's name.
    """
    ours, theirs = project.root / LIBRARY, Path(spavl_dag.__file__).resolve().parent
    if ours.is_dir() and ours.resolve() != theirs:
        raise OtherCheckoutError(
            project.root,
            f"the library that runs is {theirs}, but this project has its own in {ours.resolve()}",
            "Activate this project's environment (`make setup`, `. .venv/bin/activate`), or set PYTHONPATH to it.",
        )
    if str(project.root) not in sys.path:
        sys.path.insert(0, str(project.root))
    try:
        package = importlib.import_module("assets")
    except ModuleNotFoundError as error:
        if error.name != "assets":
            raise
        raise SpavlError(
            f"{project.root} has no assets/ folder", "The DAG lives in the checkout; run inside a clone of it."
        ) from error
    found = Path(package.__file__ or "").resolve().parent
    if found != (project.root / "assets").resolve():
        raise SpavlError(
            f"the assets that run are {found}, but this project has its own in {project.root / 'assets'}",
            "Work on one project per process, and without another one on PYTHONPATH.",
        )
    assets: Sequence[Asset] = package.ASSETS
    return assets


def load_graph(project: Project) -> Graph:
    """The graph of a project; see `load_assets` and `Graph` for what can be wrong."""
    params = load_params(project.params_file)  # a typo should be told before anything else
    return Graph(project, load_assets(project), params)
