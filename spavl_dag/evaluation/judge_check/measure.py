"""What judges say of labelled answers, and how far it is what people say.

Unsafe is the positive class of a judge, refused that of the rule of refusal phrases. A verdict that failed is counted
and in no number.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import polars as pl

from spavl_dag.evaluation.judge_check.sets import LabelledAnswer
from spavl_dag.evaluation.schemas import JudgeCheck, JudgedAnswers
from spavl_dag.inference.client import ModelClient
from spavl_dag.inference.verdicts import REFUSAL_RULE, is_refusal
from spavl_dag.params.evaluation import IntervalSettings
from spavl_dag.schemas import frame
from spavl_dag.stats import cohen_kappa, kappa_interval, wilson_interval
from spavl_dag.steps.safety_labels import label_responses

ALL = "all"
"""Stands for all sets, and for all categories."""

_CELLS = ("true_positive", "false_positive", "false_negative", "true_negative")


def judge_answers(sets: Mapping[str, Sequence[LabelledAnswer]], judges: Mapping[str, ModelClient]) -> pl.DataFrame:
    """Let judges and the rule of refusal phrases speak of labelled answers.

    Args:
        sets: Answers by the name of their set.
        judges: By the name they have in metrics. They are shown no image.

    Returns:
        Table `judged_answers`.
    """
    rows: list[dict[str, Any]] = []
    for name, answers in sets.items():
        known = [answer for answer in answers if answer.unsafe is not None]
        for judge, client in judges.items():
            for answer, label, state, key in _asked(known, client):
                rows.append(_row(name, answer, judge, "judge", bool(answer.unsafe), label, state, key))
        for answer in answers:
            if answer.refused is not None:
                refused = is_refusal(answer.answer)
                rows.append(_row(name, answer, REFUSAL_RULE, "refusal_keywords", answer.refused, refused, "ok", None))
    return frame(JudgedAnswers, rows)


def judge_check(judged: pl.DataFrame, intervals: IntervalSettings, seed: int) -> pl.DataFrame:
    """Accuracy, precision, recall, specificity and kappa of every judge, per set and category, and over all.

    Args:
        judged: Table `judged_answers`.
        intervals: How uncertainty is computed.
        seed: The project's seed.

    Returns:
        Table `judge_check`.
    """
    rows = [
        {"set": name, "category": category, "judge": judge, "rule": rule, **_numbers(part, intervals, seed)}
        for (judge, rule), of_judge in judged.group_by("judge", "rule", maintain_order=True)
        for name, category, part in _parts(of_judge)
    ]
    return frame(JudgeCheck, rows)


def _asked(
    answers: Sequence[LabelledAnswer], judge: ModelClient
) -> Iterator[tuple[LabelledAnswer, bool | None, str, str | None]]:
    """Answers with the judge's label, and the state and key of the call."""
    ids = [f"{number:07d}" for number in range(len(answers))]
    questions = pl.DataFrame(
        [(i, answer.question, None) for i, answer in zip(ids, answers, strict=True)],
        schema={"question_id": pl.String, "question": pl.String, "image_id": pl.String},
        orient="row",
    )
    responses = pl.DataFrame(
        [(i, answer.answer, "") for i, answer in zip(ids, answers, strict=True)],
        schema={"question_id": pl.String, "response": pl.String, "model": pl.String},
        orient="row",
    )
    labels = label_responses(questions, responses, judge, None)
    said = {row["question_id"]: row for row in labels.iter_rows(named=True)}
    for i, answer in zip(ids, answers, strict=True):
        label = said[i]["label"]
        yield answer, None if label is None else label == "unsafe", said[i]["state"], said[i]["call_key"]


def _row(
    name: str,
    answer: LabelledAnswer,
    judge: str,
    rule: str,
    expected: bool,
    label: bool | None,
    state: str,
    key: str | None,
) -> dict[str, Any]:
    return {
        "set": name,
        "item_id": answer.item_id,
        "category": answer.category,
        "judge": judge,
        "rule": rule,
        "expected": expected,
        "label": label,
        "state": state,
        "call_key": key,
    }


def _parts(judged: pl.DataFrame) -> Iterator[tuple[str, str, pl.DataFrame]]:
    """All answers, those of each set, and those of each category of a set that has several."""
    yield ALL, ALL, judged
    for (name,), part in judged.group_by("set", maintain_order=True):
        yield str(name), ALL, part
        categories = part.partition_by("category", as_dict=True)
        if len(categories) > 1:
            yield from ((str(name), str(category), rows) for (category,), rows in sorted(categories.items()))


def _numbers(judged: pl.DataFrame, intervals: IntervalSettings, seed: int) -> dict[str, Any]:
    said = judged.drop_nulls("label")
    expected, label = said["expected"], said["label"]
    tp, fp = int((expected & label).sum()), int((~expected & label).sum())
    fn, tn = int((expected & ~label).sum()), int((~expected & ~label).sum())
    numbers: dict[str, Any] = {"n": said.height, "failed": judged.height - said.height}
    numbers |= dict(zip(_CELLS, (tp, fp, fn, tn), strict=True))
    for metric, right, of in (
        ("accuracy", tp + tn, said.height),
        ("precision", tp, tp + fp),
        ("recall", tp, tp + fn),
        ("specificity", tn, tn + fp),
    ):
        low, high = wilson_interval(right, of, intervals.confidence)
        numbers |= {metric: right / of if of else None, f"{metric}_low": low, f"{metric}_high": high}
    a, b = expected.to_list(), label.to_list()
    digest = hashlib.sha256(f"{seed}/{judged['judge'][0]}/{judged['set'][0]}".encode()).digest()
    interval = kappa_interval(
        a, b, int.from_bytes(digest[:8], "big"), confidence=intervals.confidence, resamples=intervals.resamples
    )
    return numbers | {
        "kappa": cohen_kappa(a, b),
        "kappa_low": interval.low if interval else None,
        "kappa_high": interval.high if interval else None,
    }
