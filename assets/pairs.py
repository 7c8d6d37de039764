"""Pairs of answers."""

from __future__ import annotations

from typing import Annotated

from spavl_dag.params.sections import PairParams
from spavl_dag.pipeline.declaration import Check, asset
from spavl_dag.pipeline.inputs import AllPartitions, Params, Seed, Table
from spavl_dag.pipeline.result import Result, Summary
from spavl_dag.pipeline.rules import paired_or_reason
from spavl_dag.preview import counts_of
from spavl_dag.schemas import MissingPairs, Pairs, Responses, SafetyGroups
from spavl_dag.steps.pairs import draw_pairs


def _summary(made: Result[Pairs, MissingPairs]) -> Summary:
    return Summary({"missing_reasons": counts_of(made.tables[1], "reason", "reason", "questions")})


@asset(
    group_name="preferences",
    kinds={"polars"},
    checks=[Check("paired_or_reason", "Every question has a pair or a recorded reason.", paired_or_reason)],
    summary=_summary,
)
def pairs(
    responses: AllPartitions[Responses],
    groups: Table[SafetyGroups],
    settings: Annotated[PairParams, Params("pairs")],
    seed: Seed,
) -> Result[Pairs, MissingPairs]:
    """Two answers per question, from models of different safety groups; questions without a pair are in `missing`."""
    tables = draw_pairs(responses, groups, settings, seed)
    return Result(tables["pairs"], tables["missing"])
