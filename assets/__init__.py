"""The DAG: one module per artifact, and `defs`, what Dagster loads.

An asset says what it reads and calls the library; model code and file handling live in `spavl_dag`.
"""

from __future__ import annotations

from pathlib import Path

from assets.base_model import base_model
from assets.benchmarks import benchmarks
from assets.captions import captions
from assets.checkpoints import checkpoints
from assets.dataset import dataset
from assets.eval_responses import eval_responses
from assets.eval_scores import eval_scores
from assets.images import images
from assets.keywords import keywords
from assets.pairs import pairs
from assets.preferences import preferences
from assets.questions import questions
from assets.report import report
from assets.responses import responses
from assets.reward_model import reward_model
from assets.safety_groups import safety_groups
from assets.safety_labels import safety_labels
from spavl_dag.integrations.dagster.door import build_defs
from spavl_dag.pipeline.layout import Project

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
    reward_model,
    checkpoints,
    benchmarks,
    eval_responses,
    eval_scores,
    report,
)

defs = build_defs(Project(Path(__file__).resolve().parent.parent), RECIPES)
