"""Answers of the checkpoints."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from spavl_dag.evaluation.responses import answer_items
from spavl_dag.evaluation.schemas import BenchmarkItems, EvalResponses
from spavl_dag.inference.client import ModelClient
from spavl_dag.pipeline.declaration import Check, asset
from spavl_dag.pipeline.inputs import Pictures, Table
from spavl_dag.pipeline.model_inputs import CheckpointClients
from spavl_dag.pipeline.result import Result, Summary
from spavl_dag.pipeline.rules import mostly, row_per
from spavl_dag.preview import counts_of


def _summary(made: Result[EvalResponses]) -> Summary:
    columns = ["benchmark", "item_id", "state", "finish_reason", "response"]
    return Summary({"states": counts_of(made.tables[0], "state", "state", "answers")}, columns=columns)


@asset(
    group_name="evaluation",
    kinds={"transformers"},
    partitions="experiments",
    folder="eval",
    checks=[
        row_per("items", "benchmark", "item_id"),
        Check(
            "answered_enough", "At most 5 % of the items have no answer.", mostly("eval_responses", "response"), "warn"
        ),
    ],
    summary=_summary,
)
def eval_responses(
    items: Table[BenchmarkItems],
    pictures: Pictures[BenchmarkItems],
    checkpoint: Annotated[Mapping[str, ModelClient], CheckpointClients()],
) -> Result[EvalResponses]:
    """One checkpoint's greedy answer to every benchmark item, or the reason why there is none."""
    return Result(answer_items(items, pictures, checkpoint))
