"""The project's own Dagster instance."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
from sqlalchemy.exc import SQLAlchemyError

from spavl_dag.errors import SpavlError
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


@contextmanager
def clear_store_errors(project: Project) -> Iterator[None]:
    """Turn what Dagster's store can't do (a full disk, no permission, damage) into an error that says so.

    Raises:
        SpavlError: Instead of SQLAlchemy's errors.
    """
    try:
        yield
    except SQLAlchemyError as error:
        cause = getattr(error, "orig", None) or error
        raise SpavlError(
            f"Dagster's store in {project.dagster_home} can't be used: {cause}",
            "See to its permissions and the free space, or remove it if it is damaged; then `spavl sync` shows Dagster "
            "what was made, which is kept and recorded.",
        ) from error


def refuse_path(project: Project) -> None:
    """Refuse a project whose path Dagster's store, a URL, would take for something else.

    Raises:
        SpavlError: Names the characters.
    """
    if found := url_characters(str(project.root)):
        raise SpavlError(
            f"Dagster's store can't be opened where the path has '{found}': {project.root}", "Rename the folder."
        )


def url_characters(path: str) -> str | None:
    """What of a path has a meaning in a URL, and so would lead Dagster elsewhere."""
    found = re.search(r"\?|%[0-9A-Fa-f]{2}", path)
    return found[0] if found else None
