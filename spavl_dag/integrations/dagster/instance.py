"""The project's own Dagster instance."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import dagster as dg

from spavl_dag.integrations.dagster.runs import clear_dead_runs
from spavl_dag.pipeline.layout import Project


def open_instance(project: Project) -> dg.DagsterInstance:
    """The project's Dagster instance, without runs that were killed; its home is made on first use."""
    os.environ["DAGSTER_HOME"] = str(prepare_home(project))
    instance = dg.DagsterInstance.get()
    for run in clear_dead_runs(instance):
        print(f"run {run} was killed; it is marked as failed and holds nothing any more", file=sys.stderr)
    return instance


def prepare_home(project: Project) -> Path:
    """The folder of the project's Dagster instance, with the project's dagster.yaml in it."""
    home = project.dagster_home
    home.mkdir(exist_ok=True)
    link, settings = home / "dagster.yaml", project.root / "dagster.yaml"
    if not link.exists() and settings.is_file():
        link.unlink(missing_ok=True)
        link.symlink_to(os.path.relpath(settings, home))
    return home
