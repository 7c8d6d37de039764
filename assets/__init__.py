"""The DAG: one module per artifact, and `defs`, what Dagster loads.

An asset says what it reads and calls the library; model code and file handling live in `spavl_dag`.
"""

from __future__ import annotations

from pathlib import Path

from assets.base_model import base_model
from assets.captions import captions
from assets.dataset import dataset
from assets.images import images
from assets.keywords import keywords
from assets.pairs import pairs
from assets.preferences import preferences
from assets.questions import questions
from assets.responses import responses
from assets.safety_groups import safety_groups
from assets.safety_labels import safety_labels
from spavl_dag.doors.dagster_door import build_defs
from spavl_dag.project.layout import Project

RECIPES = (
    base_model,
    keywords,
    images,
    captions,
    questions,
    responses,
    safety_labels,
    safety_groups,
    pairs,
    preferences,
    dataset,
)

defs = build_defs(Project(Path(__file__).resolve().parent.parent), RECIPES)
