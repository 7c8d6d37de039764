"""The experiments of MLflow: what they are called, what they say of themselves, and where their artifacts lie."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from typing import TYPE_CHECKING

from spavl_dag.integrations.mlflow.client import experiment_id, tracking_uri
from spavl_dag.integrations.mlflow.views import saved_views, view_url
from spavl_dag.pipeline.layout import Project

if TYPE_CHECKING:
    from mlflow import MlflowClient

_LOG = logging.getLogger(__name__)

ALIGNMENT = "alignment"
"""Checkpoints with their evaluations."""

GENERATION = "generation"
"""Everything else that asks models, trains or measures."""

_STATES = (
    "`spavl.state` of a run says whether it is `current`, was `superseded` by a newer one, or is about something that "
    "was `removed` from params.yaml; the last two say so in their name too."
)

_ABOUT = {
    ALIGNMENT: (
        "{leaderboard} \u00b7 {data_scale}: a run for each checkpoint of `experiments:` in params.yaml, from its "
        "training's first step to its last evaluation.\n\n"
        "- Metrics are the scores pooled over variants. All scores, with intervals, counts and differences from the "
        "baseline, are in each run's artifact `eval_scores.json`, the gate's conditions in `gate.json`.\n"
        "- The report is an artifact of the baseline's run: `report/report.html`.\n"
        f"- {_STATES}"
    ),
    GENERATION: (
        "{runs}: one for each time a table was made by asking models, or something was trained that is no checkpoint; "
        "with calls, tokens, cost and seconds.\n\n"
        f"- {_STATES}"
    ),
}
"""What experiments say of themselves.

It begins with links: MLflow's UI goes by the reader's last choice of "GenAI" or "Model training", and for the first of
them opens every experiment on a page about traces, whatever its kind (3.17).
"""

_ALWAYS: Mapping[str, Mapping[str, str]] = {ALIGNMENT: saved_views(), GENERATION: {}}


def open_experiment(client: MlflowClient, project: Project, name: str) -> str:
    """Id of the experiment of that name, made when it isn't there, with everything it says of itself."""
    opened = experiment_id(client, project, name)
    experiment = client.get_experiment(opened)
    _follow_project(client, project, str(experiment.artifact_location))
    # What somebody wrote there stays.
    links = {
        "leaderboard": f"[Leaderboard]({view_url('', opened, 'leaderboard')})",
        "data_scale": f"[Data scale]({view_url('', opened, 'data_scale')})",
        "runs": f"[Runs]({view_url('', opened, None)})",
    }
    first = {
        "mlflow.note.content": _ABOUT.get(name, "{runs}").format(**links),
        "mlflow.experimentKind": "custom_model_development",
    }
    wanted = {tag: value for tag, value in first.items() if tag not in experiment.tags}
    wanted |= {tag: value for tag, value in _ALWAYS.get(name, {}).items() if experiment.tags.get(tag) != value}
    for tag, value in wanted.items():
        client.set_experiment_tag(opened, tag, value)
    return opened


def _follow_project(client: MlflowClient, project: Project, location: str) -> None:
    """Let artifacts lie in the project after it was moved or copied: its store still names the old place.

    MLflow has no call for that. Only a store that lies in the project as well is changed.
    """
    here = (project.origin.root / "mlartifacts").as_uri()
    if location == here or not location.endswith("/mlartifacts") or client.tracking_uri != tracking_uri(project, None):
        return
    columns = {"experiments": "artifact_location", "runs": "artifact_uri", "logged_models": "artifact_location"}
    try:
        with closing(sqlite3.connect(project.root / "mlflow.db", timeout=30)) as store, store:
            for table, column in columns.items():
                store.execute(
                    f"UPDATE {table} SET {column} = ? || substr({column}, ?) WHERE substr({column} || '/', 1, ?) = ?",
                    (here, len(location) + 1, len(location) + 1, f"{location}/"),
                )
    except sqlite3.OperationalError as error:  # of a release whose tables are others
        _LOG.warning("artifacts of MLflow still go to %s (%s)", location, error)
