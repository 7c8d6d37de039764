"""Verdicts of models on a checkpoint's answers: safe or unsafe, and which of two answers is better.

Belongs here: putting benchmark items into the form in which the dataset's own steps ask, and their verdicts back.
How a judge is asked and read is the same code as in the pipeline (`steps.safety_labels`, `steps.preferences`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import polars as pl

from spavl_dag.evaluation.schemas import NOT_COMPARED
from spavl_dag.inference.client import ModelClient
from spavl_dag.inference.request import ImageRef
from spavl_dag.names import Criterion
from spavl_dag.schemas import NO_RESPONSE, Pairs, frame
from spavl_dag.states import CallState
from spavl_dag.steps.preferences import prefer
from spavl_dag.steps.safety_labels import label_responses

_KEYS = ["benchmark", "item_id"]
_OURS, _BASELINE = "checkpoint", "baseline"
_VERDICT: dict[str, pl.DataType | type[pl.DataType]] = {
    "label": pl.String,
    "state": pl.String,
    "verdict_keys": pl.List(pl.String),
}
# Outcomes that are no failure: the annotator looked at both answers and could not put one before the other.
_TIES = ("tie", "neither", "position_biased", "disagreed")


def judge_items(
    items: pl.DataFrame, responses: pl.DataFrame, judge: ModelClient, refs: Mapping[str, ImageRef] | None
) -> pl.DataFrame:
    """A judge's label of every answer.

    Args:
        items: Rows of table `benchmarks`; where an item has an intent, the judge is shown it as the question.
        responses: Rows of table `eval_responses`, of these items.
        judge: Asked once per distinct question and answer.
        refs: Image content by image id, or None when the judge is not to see images.

    Returns:
        Columns benchmark, item_id, label (safe or unsafe; null where the verdict failed), state and verdict_keys.
    """
    asked = _with_ids(items, responses)
    questions = asked.select("question_id", "image_id", question="shown")
    answers = asked.select("question_id", "response", model=pl.lit(_OURS))
    # An item without an image is judged by its text.
    shown = None if refs is None else cast(Mapping[str, ImageRef], {**refs, None: None})
    labels = label_responses(questions, answers, judge, shown).select(
        "question_id",
        "label",
        "state",
        verdict_keys=pl.when(pl.col("call_key").is_not_null()).then(pl.concat_list("call_key")).otherwise([]),
    )
    found = asked.select(*_KEYS, "question_id").join(labels, on="question_id", how="left", maintain_order="left")
    return found.select(*_KEYS, *_VERDICT)


def compare_with_baseline(
    items: pl.DataFrame,
    responses: pl.DataFrame,
    baseline: pl.DataFrame,
    annotator: ModelClient,
    criterion: Criterion,
    refs: Mapping[str, ImageRef],
    compared: pl.DataFrame | None = None,
) -> pl.DataFrame:
    """Whether a checkpoint's answer is better than the baseline's, asked in both orders.

    Equal answers are a tie without a call. Verdicts that contradict each other are a tie as well: the annotator
    could not tell the answers apart. So is "neither", which under harmlessness means that both are harmful; under
    helpfulness it means that they are not both harmless, and such a pair is not compared. A verdict that was refused
    or can't be read is no result.

    Args:
        items: Rows of table `benchmarks`.
        responses: The checkpoint's answers to them.
        baseline: The baseline's answers to them.
        annotator: Asked about each pair.
        criterion: What the annotator compares by.
        refs: Image content by image id.
        compared: Columns benchmark and item_id of the pairs to compare; all by default.

    Returns:
        Columns benchmark, item_id, label (win, tie or loss of the checkpoint), state and verdict_keys.
    """
    both = _with_ids(items, responses).join(
        baseline.select(*_KEYS, other="response"), on=_KEYS, how="left", maintain_order="left"
    )
    wanted = set((both if compared is None else compared).select(_KEYS).iter_rows())
    verdicts: dict[tuple[str, str], dict[str, Any]] = {}
    open_pairs = []
    for row in both.iter_rows(named=True):
        key = (row["benchmark"], row["item_id"])
        if row["response"] is None or row["other"] is None:
            verdicts[key] = _verdict(None, NO_RESPONSE)
        elif key not in wanted:
            verdicts[key] = _verdict(None, NOT_COMPARED)
        elif row["response"] == row["other"]:
            verdicts[key] = _verdict("tie", CallState.OK.value)
        else:
            open_pairs.append(row)
    verdicts |= _ask(open_pairs, annotator, criterion, refs)
    rows = [{"benchmark": key[0], "item_id": key[1], **verdicts[key]} for key in both.select(_KEYS).iter_rows()]
    return pl.DataFrame(rows, schema={"benchmark": pl.String, "item_id": pl.String, **_VERDICT}, orient="row")


def _ask(
    rows: list[dict[str, Any]], annotator: ModelClient, criterion: Criterion, refs: Mapping[str, ImageRef]
) -> dict[tuple[str, str], dict[str, Any]]:
    if not rows:
        return {}
    pairs = [
        {
            "pair_id": row["question_id"],
            "question_id": row["question_id"],
            "model_a": _OURS,
            "model_b": _BASELINE,
            "group_a": 1,
            "group_b": 2,
            "response_a": row["response"],
            "response_b": row["other"],
        }
        for row in rows
    ]
    questions = pl.DataFrame(
        [{"question_id": row["question_id"], "question": row["shown"], "image_id": row["image_id"]} for row in rows],
        schema={"question_id": pl.String, "question": pl.String, "image_id": pl.String},
        orient="row",
    )
    shown = cast(Mapping[str, ImageRef], {**refs, None: None})
    tables = prefer(frame(Pairs, pairs), questions, shown, {criterion: annotator})
    won = dict(tables["preferences"].select("pair_id", "chosen_model").iter_rows())
    undecided = dict(tables["undecided"].select("pair_id", "reason").iter_rows())
    keys = dict(tables["verdicts"].group_by("pair_id").agg(pl.col("call_key").sort_by("presented")).iter_rows())
    verdicts = {}
    for row in rows:
        pair, reason = row["question_id"], undecided.get(row["question_id"])
        label: str | None
        if reason is None:
            label, state = ("win" if won[pair] == _OURS else "loss"), CallState.OK.value
        elif reason == "neither" and criterion == "helpfulness":
            label, state = None, NOT_COMPARED
        elif reason in _TIES:
            label, state = "tie", CallState.OK.value
        else:
            label, state = None, reason
        verdicts[row["benchmark"], row["item_id"]] = _verdict(label, state, keys[pair])
    return verdicts


def _with_ids(items: pl.DataFrame, responses: pl.DataFrame) -> pl.DataFrame:
    """Items with their responses, an id that is unique over benchmarks, and the question a judge is shown."""
    return items.join(
        responses.select(*_KEYS, "response"),
        on=_KEYS,
        how="left",
        maintain_order="left",
    ).with_columns(
        question_id=pl.concat_str("benchmark", pl.lit("/"), "item_id"),
        shown=pl.coalesce("intent", "question"),
    )


def _verdict(label: str | None, state: str, keys: list[str] | None = None) -> dict[str, Any]:
    return {"label": label, "state": state, "verdict_keys": keys or []}
