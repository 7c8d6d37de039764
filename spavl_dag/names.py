"""Closed lists of names that stand in columns, params and files alike."""

from __future__ import annotations

from typing import Literal, get_args

QuestionType = Literal["easy_question", "hard_question", "hard_statement"]
QUESTION_TYPES: tuple[QuestionType, ...] = get_args(QuestionType)
