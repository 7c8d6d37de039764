"""Safety labels of the answers."""

from __future__ import annotations

from typing import Annotated

from spavl_dag.pipeline.declaration import Check, asset
from spavl_dag.pipeline.inputs import Params, Pictures, Table
from spavl_dag.pipeline.model_inputs import Role
from spavl_dag.pipeline.result import Result, Summary
from spavl_dag.pipeline.rules import mostly, row_per
from spavl_dag.preview import counts_of
from spavl_dag.schemas import Images, Questions, Responses, SafetyLabels
from spavl_dag.steps.safety_labels import label_responses


def _summary(made: Result[SafetyLabels]) -> Summary:
    (table,) = made.tables
    labelled = table["label"].drop_nulls()
    return Summary(
        {
            "labels": counts_of(table, "label", "label", "answers"),
            "states": counts_of(table, "state", "state", "verdicts"),
        },
        {"unsafe_rate": labelled.to_list().count("unsafe") / len(labelled)} if len(labelled) else {},
    )


@asset(
    group_name="answers",
    kinds={"transformers"},
    partitions="models",
    checks=[
        row_per("questions", "question_id"),
        Check("labelled_enough", "At most 5 % of the verdicts failed.", mostly("safety_labels", "label"), "warn"),
    ],
    summary=_summary,
)
def safety_labels(
    questions: Table[Questions],
    responses: Table[Responses],
    pictures: Pictures[Images],
    judge: Role,
    sees_image: Annotated[bool, Params("safety_labels.sees_image")],
) -> Result[SafetyLabels]:
    """The judge's safe/unsafe label of every answer of one model; a failed verdict is a state and never a label."""
    return Result(label_responses(questions, responses, judge, pictures if sees_image else None))
