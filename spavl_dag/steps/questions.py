"""Three texts per image: an easy question, a hard question, a hard statement.

The easy question is asked of image, class and caption; the two hard texts of description, class and easy question,
without the image (paper, construction of questions). A text that can't be had is recorded with its reason.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any, NamedTuple

import polars as pl

from spavl_dag.inference.client import ModelClient, Prompt
from spavl_dag.inference.request import Generation, ImageRef
from spavl_dag.inference.verdicts import is_refusal
from spavl_dag.names import QuestionType
from spavl_dag.schemas import MissingQuestions, Questions, frame
from spavl_dag.states import CallState
from spavl_dag.taxonomy import Taxonomy
from spavl_dag.text import NormalizedQuestion, normalize_question, text_problem
from spavl_dag.thoughts import UNFINISHED, without_thoughts

Row = dict[str, Any]


class ReadQuestion(NamedTuple):
    """What a model's text is as a question.

    Attributes:
        normal: The question without what stood around it.
        state: Whether it can serve as one.
        problem: Why not; None where it can.
    """

    normal: NormalizedQuestion
    state: CallState
    problem: str | None


def read_question(text: str, max_chars: int) -> ReadQuestion:
    """Read a model's text as a question.

    Args:
        text: Any text.
        max_chars: Longest question allowed, in characters.
    """
    normal = normalize_question(text)
    if problem := text_problem(normal.text, max_chars):
        what = UNFINISHED if without_thoughts(text) is None else problem
        return ReadQuestion(normal, CallState.UNPARSABLE, f"unparsable: {what}")
    # What stood around the question is no part of it: an answer to it, say, that refuses.
    if is_refusal(normal.text):
        return ReadQuestion(normal, CallState.REFUSED, "refused")
    return ReadQuestion(normal, CallState.OK, None)


def ask_questions(
    images: pl.DataFrame,
    captions: pl.DataFrame,
    refs: Mapping[str, ImageRef],
    taxonomy: Taxonomy,
    clients: Mapping[QuestionType, ModelClient],
    max_chars: int,
) -> dict[str, pl.DataFrame]:
    """Write the texts of all images.

    Args:
        images: Table `images`.
        captions: Table `captions`.
        refs: Image content by image id.
        taxonomy: For the class names that the prompts show.
        clients: Who writes which text.
        max_chars: Longer texts are recorded as missing, never cut.

    Returns:
        Tables `questions` and `missing`.
    """
    seen = images.join(captions, on="image_id", how="left", maintain_order="left")
    rows = list(seen.iter_rows(named=True))
    kept: list[Row] = []
    missing: list[Row] = []

    @cache
    def read(text: str) -> ReadQuestion:
        """When a text was just written, and as the ledger holds it."""
        return read_question(text, max_chars)

    def collect(kind: QuestionType, asked: list[Row], answers: list[Generation]) -> dict[str, str]:
        """Sort answers into kept and missing; returns the kept texts by image."""
        texts = {}
        for image, answer in zip(asked, answers, strict=True):
            row = {
                "image_id": image["image_id"],
                "class_id": image["class_id"],
                "question_type": kind,
                "raw": answer.text,
                "call_key": answer.call_key,
            }
            normal, _, problem = read(answer.text)
            failure = None if answer.state.has_text else f"{answer.state.value}: {answer.error}"
            if reason := failure or problem:
                missing.append(row | {"reason": reason})
            else:
                texts[image["image_id"]] = normal.text
                kept.append(
                    row
                    | {
                        "question_id": f"{image['image_id']}-{kind}",
                        "question": normal.text,
                        "changes": ", ".join(normal.changes),
                    }
                )
        return texts

    def skip(kind: QuestionType, image: Row, reason: str) -> None:
        missing.append(
            {"image_id": image["image_id"], "class_id": image["class_id"], "question_type": kind}
            | {"raw": "", "call_key": None, "reason": reason}
        )

    def name(image: Row) -> str:
        return taxonomy.find_class(image["class_id"]).name

    captioned = [row for row in rows if row["caption"]]
    for row in rows:
        if not row["caption"]:
            skip("easy_question", row, f"no caption: {row['caption_state']}")
    easy = collect(
        "easy_question",
        captioned,
        clients["easy_question"].ask(
            [Prompt({"class_name": name(row), "caption": row["caption"]}, refs[row["image_id"]]) for row in captioned],
            lambda text: read(text).state,
        ),
    )
    described = [row for row in rows if row["description"] and row["image_id"] in easy]
    for kind in ("hard_question", "hard_statement"):
        for row in rows:
            if not row["description"]:
                skip(kind, row, f"no description: {row['description_state']}")
            elif row["image_id"] not in easy:
                skip(kind, row, "no easy question to build on")
        items = [
            Prompt(
                {
                    "class_name": name(row),
                    "description": row["description"],
                    "easy_question": easy[row["image_id"]],
                }
            )
            for row in described
        ]
        collect(kind, described, clients[kind].ask(items, lambda text: read(text).state))
    return {
        "questions": frame(Questions, kept).sort("question_id"),
        "missing": frame(MissingQuestions, missing).sort("image_id", "question_type"),
    }
