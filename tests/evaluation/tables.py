"""Small tables for tests: items, answers, and item scores as if they had been made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from spavl_dag.evaluation.schemas import BenchmarkItems, EvalResponses, ItemScores
from spavl_dag.schemas import frame

KEY = "0" * 32


def items(benchmark: str, questions: Mapping[str, str] | Sequence[str], **columns: Any) -> pl.DataFrame:
    """Items by id; further columns are the same for all."""
    named = questions if isinstance(questions, Mapping) else {text: text for text in questions}
    rows = [
        {
            "benchmark": benchmark,
            "item_id": item_id,
            "variant": "plain",
            "category": "weapon",
            "group": item_id,
            "question": question,
            "intent": None,
            "reference": None,
            "image_id": None,
            "sha256": None,
            "file": None,
        }
        | columns
        for item_id, question in named.items()
    ]
    return BenchmarkItems.validate(frame(BenchmarkItems, rows))


def responses(items: pl.DataFrame, said: Mapping[str, str | None]) -> pl.DataFrame:
    """Answers by item id; None is a call that failed."""
    rows = [
        {name: row[name] for name in ("benchmark", "item_id", "variant", "category")}
        | {
            "response": said[row["item_id"]],
            "state": "permanent_error" if said[row["item_id"]] is None else "ok",
            "finish_reason": "error" if said[row["item_id"]] is None else "stop",
            "call_key": KEY,
        }
        for row in items.iter_rows(named=True)
    ]
    return EvalResponses.validate(frame(EvalResponses, rows))


def scores(
    benchmark: str,
    rule: str,
    outcomes: Sequence[float | None],
    *,
    judge: str | None = None,
    variants: Sequence[str] | None = None,
    groups: Sequence[str] | None = None,
    labels: Sequence[str] | None = None,
    expected: Sequence[str] | None = None,
    category: str = "weapon",
) -> pl.DataFrame:
    """Item scores with these outcomes; None is an item that failed."""
    rows: list[dict[str, Any]] = [
        {
            "benchmark": benchmark,
            "item_id": f"i{number:05d}",
            "variant": variants[number] if variants else "plain",
            "category": category,
            "group": groups[number] if groups else f"i{number:05d}",
            "rule": rule,
            "judge": judge,
            "outcome": outcome,
            "state": "ok" if outcome is not None else "unparsable",
            "label": labels[number] if labels else None,
            "expected": expected[number] if expected else None,
            "response_key": KEY,
            "verdict_keys": [],
        }
        for number, outcome in enumerate(outcomes)
    ]
    return ItemScores.validate(frame(ItemScores, rows))
