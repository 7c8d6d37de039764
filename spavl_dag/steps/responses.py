"""One model's answers to all questions."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

import polars as pl

from spavl_dag.inference.client import ModelClient, Prompt
from spavl_dag.inference.request import ImageRef
from spavl_dag.schemas import Responses, frame
from spavl_dag.states import CallState
from spavl_dag.text import text_problem
from spavl_dag.thoughts import UNFINISHED, without_thoughts

MAX_CHARS = 100_000
"""A bound for sanity; the length of an answer is bounded by max_new_tokens."""


def response_problem(text: str) -> str | None:
    """Why a text is no answer. A refusal is one: it is what safety training is about."""
    said = without_thoughts(text)
    if said is None:
        return UNFINISHED
    problem = text_problem(said, MAX_CHARS)
    # "42" answers many a question about a picture.
    return None if problem == "no letters" else problem


def response_state(text: str) -> CallState:
    """Whether a text can be judged as an answer."""
    return CallState.UNPARSABLE if response_problem(text) else CallState.OK


def answer_questions(
    questions: pl.DataFrame, refs: Mapping[str, ImageRef], model: str, client: ModelClient
) -> pl.DataFrame:
    """Ask one model all questions, each with its image.

    Args:
        questions: Table `questions`.
        refs: Image content by image id.
        model: Key of the model, for the rows.
        client: Asks that model.

    Returns:
        Table `responses`, a row per question: an answer, or the reason why there is none.
    """
    problem_of = cache(response_problem)  # of a text that was just written, and of what the ledger holds of it

    def state_of(text: str) -> CallState:
        return CallState.UNPARSABLE if problem_of(text) else CallState.OK

    asked = list(questions.select("question_id", "image_id", "question").iter_rows(named=True))
    answers = client.ask([Prompt({"question": row["question"]}, refs[row["image_id"]]) for row in asked], state_of)
    rows = []
    for row, answer in zip(asked, answers, strict=True):
        state = state_of(answer.text) if answer.state.has_text else answer.state
        good = state is CallState.OK
        rows.append(
            {
                "question_id": row["question_id"],
                "model": model,
                "response": without_thoughts(answer.text) if good else None,
                "state": state.value,
                "reason": None if good else answer.error or problem_of(answer.text),
                "finish_reason": answer.finish_reason,
                "prompt_tokens": answer.prompt_tokens,
                "completion_tokens": answer.completion_tokens,
                "call_key": answer.call_key,
            }
        )
    return frame(Responses, rows).sort("question_id")
