"""What Dagster loads: `defs`, made from the declarations of this package."""

from __future__ import annotations

from pathlib import Path

from assets import ASSETS
from spavl_dag.integrations.dagster.definitions import build_definitions
from spavl_dag.pipeline.layout import Project

defs = build_definitions(Project(Path(__file__).resolve().parent.parent), ASSETS)
