"""The report."""

from __future__ import annotations

from spavl_dag.pipeline.recipe import artifact
from spavl_dag.pipeline.run import Run
from spavl_dag.pipeline.store import Made
from spavl_dag.report.making import make_report


@artifact(
    deps=("dataset", "reward_model", "checkpoints", "benchmarks", "eval_responses", "eval_scores"),
    group="evaluation",
    kinds={"python"},
)
def report(run: Run) -> Made:
    """Leaderboard, differences from the baseline, curves, classes, examples and lineage, as HTML and Markdown."""
    return make_report(run)
