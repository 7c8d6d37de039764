"""Preferences between the answers of a pair."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from spavl_dag.inference.client import ModelClient
from spavl_dag.names import Criterion
from spavl_dag.params.sections import Params as ProjectParams
from spavl_dag.pipeline.declaration import Check, asset
from spavl_dag.pipeline.inputs import Pictures, Table
from spavl_dag.pipeline.model_inputs import Roles
from spavl_dag.pipeline.result import Result, Summary
from spavl_dag.pipeline.rules import decided_or_reason, position_biased, verdicts_disagree
from spavl_dag.preview import bar_chart
from spavl_dag.schemas import Images, Pairs, Preferences, Questions, UndecidedPairs, Verdicts
from spavl_dag.steps.preferences import prefer


def _annotators(params: ProjectParams) -> Mapping[str, str]:
    """Who is asked by each criterion, in the order in which they decide."""
    return {criterion: f"annotator_{criterion}" for criterion in params.preferences.asked}


def _summary(made: Result[Preferences, Verdicts, UndecidedPairs]) -> Summary:
    decided, _, undecided = made.tables
    outcomes = {"preference": decided.height, **dict(undecided.group_by("reason").len().sort("reason").iter_rows())}
    total = decided.height + undecided.height
    return Summary(
        {"outcomes": bar_chart(outcomes, "What became of the pairs", "pairs")},
        {f"{name}_rate": count / total for name, count in outcomes.items()} if total else {},
    )


@asset(
    group_name="preferences",
    kinds={"transformers"},
    checks=[
        Check("decided_or_reason", "Every pair is a preference or undecided with a reason.", decided_or_reason),
        Check("verdicts_agree", "Both verdicts of a preference name the chosen answer.", verdicts_disagree),
        Check("little_position_bias", "At most 20 % of pairs fell to position bias.", position_biased, "warn"),
    ],
    summary=_summary,
)
def preferences(
    pairs: Table[Pairs],
    questions: Table[Questions],
    pictures: Pictures[Images],
    annotators: Annotated[Mapping[Criterion, ModelClient], Roles(_annotators, "preferences")],
) -> Result[Preferences, Verdicts, UndecidedPairs]:
    """Pairs on which the annotator's verdicts agree in both orders; the others are in `undecided` with the reason."""
    tables = prefer(pairs, questions, pictures, annotators)
    return Result(tables["preferences"], tables["verdicts"], tables["undecided"])
