"""Closed lists of names that stand in columns, params and files alike."""

from __future__ import annotations

from typing import Literal, get_args

QuestionType = Literal["easy_question", "hard_question", "hard_statement"]
QUESTION_TYPES: tuple[QuestionType, ...] = get_args(QuestionType)

Criterion = Literal["joint", "harmlessness", "helpfulness"]
"""What two answers are compared by."""

PartitionKind = Literal["models", "experiments"]
"""Section of params.yaml whose keys are the partitions of an artifact."""

SLUG = r"^[a-z0-9][a-z0-9_-]*$"
"""What a key of `models` or `experiments`, or a class, is called."""
