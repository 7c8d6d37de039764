"""Answers of the answering models."""

from __future__ import annotations

from spavl_dag.pipeline.declaration import asset
from spavl_dag.pipeline.inputs import PartitionKey, Pictures, Table
from spavl_dag.pipeline.model_inputs import AnsweringModel
from spavl_dag.pipeline.result import Result, Summary
from spavl_dag.pipeline.rules import row_per
from spavl_dag.preview import counts_of
from spavl_dag.schemas import Images, Questions, Responses
from spavl_dag.steps.responses import answer_questions


def _summary(made: Result[Responses]) -> Summary:
    (table,) = made.tables
    answered = table.filter(table["state"] == "ok").height
    return Summary(
        {"states": counts_of(table, "state", "state", "answers")},
        {"answered_rate": answered / table.height if table.height else 0.0},
    )


@asset(
    group_name="answers",
    kinds={"transformers"},
    partitions="models",
    checks=[row_per("questions", "question_id")],
    summary=_summary,
)
def responses(
    questions: Table[Questions], pictures: Pictures[Images], model: AnsweringModel, key: PartitionKey
) -> Result[Responses]:
    """One model's answer to every question, or the reason why there is none."""
    return Result(answer_questions(questions, pictures, key, model))
