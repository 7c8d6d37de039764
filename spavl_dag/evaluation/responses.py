"""A checkpoint's answers to all benchmark items."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl

from spavl_dag.evaluation.schemas import EvalResponses
from spavl_dag.inference.client import ModelClient, Prompt
from spavl_dag.inference.request import ImageRef
from spavl_dag.schemas import frame
from spavl_dag.states import CallState
from spavl_dag.steps.responses import response_state
from spavl_dag.thoughts import without_thoughts


def answer_items(items: pl.DataFrame, refs: Mapping[str, ImageRef], clients: Mapping[str, ModelClient]) -> pl.DataFrame:
    """Ask a checkpoint everything.

    Args:
        items: Table `benchmarks`.
        refs: Image content by image id.
        clients: Who is asked, by benchmark: the same checkpoint under each benchmark's prompt and length. The
            template's variable is `question`.

    Returns:
        Table `eval_responses`, a row per item.
    """
    rows: list[dict[str, Any]] = []
    for (benchmark,), part in items.group_by("benchmark", maintain_order=True):
        listed = list(part.iter_rows(named=True))
        asked = [
            Prompt({"question": row["question"]}, refs[row["image_id"]] if row["image_id"] is not None else None)
            for row in listed
        ]
        for row, answer in zip(listed, clients[str(benchmark)].ask(asked, response_state), strict=True):
            state = response_state(answer.text) if answer.state.has_text else answer.state
            rows.append(
                {
                    **{name: row[name] for name in ("benchmark", "item_id", "variant", "category")},
                    "response": without_thoughts(answer.text) if state is CallState.OK else None,
                    "state": state.value,
                    "finish_reason": answer.finish_reason,
                    "call_key": answer.call_key,
                }
            )
    return frame(EvalResponses, rows).sort("benchmark", "item_id")
