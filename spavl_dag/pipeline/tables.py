"""Which tables every artifact has, and what the rows of each must be."""

from __future__ import annotations

from collections.abc import Mapping

from spavl_dag.evaluation.schemas import (
    BenchmarkItems,
    ClassScores,
    EvalResponses,
    EvalScores,
    Gate,
    ItemScores,
)
from spavl_dag.schemas import (
    Captions,
    DatasetRows,
    ImageQuarantine,
    Images,
    Keywords,
    MissingPairs,
    MissingQuestions,
    Pairs,
    Preferences,
    Questions,
    Responses,
    SafetyGroups,
    SafetyLabels,
    Table,
    UndecidedPairs,
    Verdicts,
)
from spavl_dag.training.schemas import Calibration, Curve, RejectedRows, RewardPairs

SCHEMAS: Mapping[tuple[str, str], type[Table]] = {
    ("keywords", "keywords"): Keywords,
    ("images", "images"): Images,
    ("images", "quarantine"): ImageQuarantine,
    ("captions", "captions"): Captions,
    ("questions", "questions"): Questions,
    ("questions", "missing"): MissingQuestions,
    ("responses", "responses"): Responses,
    ("safety_labels", "safety_labels"): SafetyLabels,
    ("safety_groups", "safety_groups"): SafetyGroups,
    ("pairs", "pairs"): Pairs,
    ("pairs", "missing"): MissingPairs,
    ("preferences", "preferences"): Preferences,
    ("preferences", "verdicts"): Verdicts,
    ("preferences", "undecided"): UndecidedPairs,
    ("dataset", "dataset"): DatasetRows,
    ("reward_model", "reward_model"): RewardPairs,
    ("reward_model", "calibration"): Calibration,
    ("reward_model", "curve"): Curve,
    ("reward_model", "rejected"): RejectedRows,
    ("checkpoints", "curve"): Curve,
    ("checkpoints", "rejected"): RejectedRows,
    ("benchmarks", "benchmarks"): BenchmarkItems,
    ("eval_responses", "eval_responses"): EvalResponses,
    ("eval_scores", "eval_scores"): EvalScores,
    ("eval_scores", "item_scores"): ItemScores,
    ("eval_scores", "class_scores"): ClassScores,
    ("eval_scores", "gate"): Gate,
}
"""The model of each table, by artifact and table name; an artifact's main table is named as the artifact."""


def tables_of(artifact: str) -> list[str]:
    """Names of an artifact's tables, the main one first."""
    return [table for owner, table in SCHEMAS if owner == artifact]
