"""The numbers of the dataset: what is in it, what its judges said, and what was lost on the way to it.

Belongs here: counting, as pure functions of tables. Not here: the words of the data card (`data_card`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from spavl_dag.schemas import NO_RESPONSE, SPLITS
from spavl_dag.states import CallState
from spavl_dag.stats import wilson_interval
from spavl_dag.steps.dataset import EVAL_SPLITS, HELD_OUT

SHARES = {
    "responses_unsafe": "answers labelled unsafe",
    "chosen_unsafe": "chosen answers labelled unsafe",
    "rejected_unsafe": "rejected answers labelled unsafe",
    "agreement": "pairs on which both verdicts agree (ties included)",
    "preferences": "pairs that became a preference",
    "position_bias": "pairs lost to position bias",
    "first_place_preferred": "verdicts for the answer shown first",
}
"""The shares among the statistics, in words."""


@dataclass(frozen=True, slots=True)
class CardTables:
    """What is counted; tables as in `schemas.py`.

    Attributes:
        left_out: Questions that train nothing, as `steps.dataset.left_out` names them.
        converted_images: Names of the images that are exported as PNG; see `integrations.huggingface.export`.
    """

    dataset: pl.DataFrame
    images: pl.DataFrame
    questions: pl.DataFrame
    missing_questions: pl.DataFrame
    labels: pl.DataFrame
    groups: pl.DataFrame
    missing_pairs: pl.DataFrame
    verdicts: pl.DataFrame
    preferences: pl.DataFrame
    undecided: pl.DataFrame
    left_out: pl.DataFrame
    converted_images: Sequence[str] = ()


def dataset_statistics(tables: CardTables) -> dict[str, Any]:
    """All numbers of the card, as a JSON document."""
    rows = tables.dataset
    pairs = tables.preferences.height + tables.undecided.height
    reasons = _counts(tables.undecided, "reason")
    verdicts = tables.verdicts.filter(pl.col("verdict").is_in(["A", "B"]))
    trained = rows.filter(pl.col("chosen").is_not_null())

    def unsafe(column: str) -> dict[str, Any]:
        labelled = trained.filter(pl.col(column).is_not_null())
        return rate(labelled.filter(pl.col(column) == "unsafe").height, labelled.height)

    return {
        "images": tables.images.height,
        "questions": tables.questions.height,
        "questions_missing": tables.missing_questions.height,
        "question_types": _counts(tables.questions, "question_type"),
        "funnel": funnel(tables),
        "splits": _counts(rows, "split"),
        "split_images": dict(rows.group_by("split").agg(pl.col("image_id").n_unique()).sort("split").iter_rows()),
        "classes": {
            class_id: {
                "images": images,
                **{
                    split: rows.filter((pl.col("class_id") == class_id) & (pl.col("split") == split)).height
                    for split in SPLITS
                },
            }
            for class_id, images in _counts(tables.images, "class_id").items()
        },
        "pairs": pairs,
        "preferences": rate(tables.preferences.height, pairs),
        "agreement": rate(tables.preferences.height + sum(reasons.get(name, 0) for name in ("tie", "neither")), pairs),
        "undecided": reasons,
        "position_bias": rate(reasons.get("position_biased", 0), pairs),
        "first_place_preferred": rate(verdicts.filter(pl.col("verdict") == "A").height, verdicts.height),
        "chosen_unsafe": unsafe("chosen_label"),
        "rejected_unsafe": unsafe("rejected_label"),
        "responses_unsafe": rate(
            tables.labels.filter(pl.col("label") == "unsafe").height,
            tables.labels.filter(pl.col("label").is_not_null()).height,
        ),
        "labels_missing": tables.labels.filter(pl.col("label").is_null()).height,
        "safety_groups": tables.groups.to_dicts(),
        "converted_images": list(tables.converted_images),
    }


def funnel(tables: CardTables) -> list[dict[str, Any]]:
    """How images become training rows: what came into each step, what went on, and what was lost for which reason.

    Returns:
        Per step `step`, `entered`, `kept` and `lost` (number by reason); what is lost is what entered and was not kept.
    """
    questions, labels, rows = tables.questions.height, tables.labels, tables.dataset
    answered = labels.filter(pl.col("state") != NO_RESPONSE)
    preferences = tables.preferences.height
    evaluated = rows.filter(pl.col("split").is_in(EVAL_SPLITS)).height
    trained = rows.height - evaluated
    unused = tables.preferences.join(tables.left_out, on="question_id", how="inner")
    held_out = tables.left_out.filter(pl.col("reason") == HELD_OUT).height
    return [
        _step(
            f"texts asked about {tables.images.height:,} images: questions",
            questions,
            _reasons(map(reason_kind, tables.missing_questions["reason"])),
        ),
        _step("answers asked of all models: answers", answered.height, {"no answer": labels.height - answered.height}),
        _step(
            "answers: labels of the judge",
            answered.filter(pl.col("label").is_not_null()).height,
            _reasons(answered.filter(pl.col("label").is_null())["state"]),
        ),
        _step(
            "questions: questions with pairs of answers",
            questions - tables.missing_pairs.height,
            _counts(tables.missing_pairs, "reason"),
        ),
        _step("pairs of answers: preferences", preferences, _counts(tables.undecided, "reason")),
        _step("preferences: training and validation rows", trained, _counts(unused, "reason")),
        _step(
            "questions held out for evaluation: evaluation rows",
            evaluated,
            {"more than dataset.eval_questions_per_class": held_out - evaluated},
        ),
    ]


def reason_kind(reason: str) -> str:
    """A reason without what differs from case to case: lengths in brackets, and the words of an error."""
    errors = (CallState.PERMANENT_ERROR.value, CallState.TRANSIENT_ERROR.value)
    kind, _, _ = reason.partition(":")
    return kind if kind in errors else re.sub(r" \(.*?\)", "", reason)


def rate(numerator: int, denominator: int) -> dict[str, Any]:
    """A share with its parts and 95 % Wilson interval; the share is None when there is nothing to count."""
    if denominator == 0:
        return {"n": 0, "count": numerator, "rate": None, "ci_low": None, "ci_high": None}
    low, high = wilson_interval(numerator, denominator)
    return {
        "n": denominator,
        "count": numerator,
        "rate": numerator / denominator,
        "ci_low": low,
        "ci_high": high,
    }


def flat_metrics(statistics: Mapping[str, Any]) -> dict[str, float]:
    """The statistics that are worth comparing between runs."""
    metrics: dict[str, float] = {name: statistics[name] for name in ("images", "questions", "pairs")}
    metrics |= {f"rows_{split}": count for split, count in statistics["splits"].items()}
    for name in ("agreement", "preferences", "position_bias", "chosen_unsafe", "rejected_unsafe", "responses_unsafe"):
        if statistics[name]["rate"] is not None:
            metrics[f"{name}_rate"] = statistics[name]["rate"]
    return metrics


def _step(step: str, kept: int, lost: Mapping[str, int]) -> dict[str, Any]:
    losses = {reason: count for reason, count in lost.items() if count}
    return {"step": step, "entered": kept + sum(losses.values()), "kept": kept, "lost": losses}


def _reasons(reasons: Iterable[str]) -> dict[str, int]:
    return _counts(pl.DataFrame({"reason": list(reasons)}, schema={"reason": pl.String}), "reason")


def _counts(table: pl.DataFrame, column: str) -> dict[str, int]:
    return dict(table.group_by(column).len().sort(column).iter_rows())
