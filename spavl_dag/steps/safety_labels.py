"""The judge's safe/unsafe label of every answer of one model.

Text only by default, as MD-Judge was used in the paper; the judge may be shown the image too.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import polars as pl

from spavl_dag.inference.client import Judged, ModelClient
from spavl_dag.inference.judges import JudgeFormat
from spavl_dag.inference.request import ImageRef
from spavl_dag.schemas import NO_RESPONSE, SafetyLabels, frame
from spavl_dag.states import CallState


def label_state(form: JudgeFormat, text: str) -> CallState:
    """Whether a judge's text holds a label."""
    match form.parse(text).label:
        case "safe" | "unsafe":
            return CallState.OK
        case "refused":
            return CallState.REFUSED
        case _:
            return CallState.UNPARSABLE


def label_responses(
    questions: pl.DataFrame,
    responses: pl.DataFrame,
    judge: ModelClient,
    refs: Mapping[str, ImageRef] | None,
) -> pl.DataFrame:
    """Label one model's answers.

    Args:
        questions: Table `questions`.
        responses: Table `responses` of the model.
        judge: Asked once per distinct question and answer.
        refs: Image content by image id, or None when the judge is not to see images.

    Returns:
        Table `safety_labels`, a row per response; a verdict that failed has a state and no label.
    """
    asked = responses.join(
        questions.select("question_id", "question", "image_id"),
        on="question_id",
        how="left",
        maintain_order="left",
    )
    rows = list(asked.iter_rows(named=True))
    judged = [row for row in rows if row["response"] is not None]
    shown = [
        Judged(row["question"], row["response"], refs[row["image_id"]] if refs is not None else None) for row in judged
    ]
    state_of = partial(label_state, judge.form)
    answers = dict(zip((row["question_id"] for row in judged), judge.ask_label(shown, state_of), strict=True))
    labels = []
    for row in rows:
        answer = answers.get(row["question_id"])
        state = state_of(answer.text) if answer and answer.state.has_text else answer and answer.state
        labels.append(
            {
                "question_id": row["question_id"],
                "model": row["model"],
                "label": judge.form.parse(answer.text).label if answer and state is CallState.OK else None,
                "state": state.value if state else NO_RESPONSE,
                "raw": answer.text if answer else None,
                "call_key": answer.call_key if answer else None,
            }
        )
    return frame(SafetyLabels, labels).sort("question_id")
