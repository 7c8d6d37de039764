"""Three texts per image."""

from __future__ import annotations

from typing import Annotated

from spavl_dag.params.sections import QuestionParams
from spavl_dag.pipeline.declaration import Check, asset
from spavl_dag.pipeline.inputs import Params, Pictures, Table
from spavl_dag.pipeline.model_inputs import Role
from spavl_dag.pipeline.result import Result, Summary
from spavl_dag.pipeline.rules import classes_known, three_texts
from spavl_dag.preview import counts_of
from spavl_dag.schemas import Captions, Images, MissingQuestions, Questions
from spavl_dag.steps.questions import ask_questions
from spavl_dag.taxonomy import Taxonomy


def _summary(made: Result[Questions, MissingQuestions]) -> Summary:
    kept, missing = made.tables
    wanted = kept.height + missing.height
    return Summary(
        {
            "missing_rate": missing.height / wanted if wanted else 0.0,
            "types": counts_of(kept, "question_type", "type", "questions"),
            "missing_reasons": counts_of(missing, "reason", "reason", "texts"),
        }
    )


@asset(
    group_name="texts",
    kinds={"transformers"},
    checks=[
        classes_known("questions"),
        Check("three_texts_or_reason", "Every image has three texts, or a recorded reason.", three_texts),
    ],
    summary=_summary,
)
def questions(
    images: Table[Images],
    captions: Table[Captions],
    pictures: Pictures[Images],
    taxonomy: Taxonomy,
    easy_question: Role,
    hard_question: Role,
    hard_statement: Role,
    settings: Annotated[QuestionParams, Params("questions")],
) -> Result[Questions, MissingQuestions]:
    """Easy question, hard question and hard statement per image; what is lacking is in `missing` with a reason."""
    tables = ask_questions(
        images,
        captions,
        pictures,
        taxonomy,
        {"easy_question": easy_question, "hard_question": hard_question, "hard_statement": hard_statement},
        settings.max_chars,
    )
    return Result(tables["questions"], tables["missing"])
