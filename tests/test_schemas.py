"""Schemas: bad rows are found, by their ids, and good ones pass."""

from __future__ import annotations

import polars as pl
import pytest

from assets import ASSETS as DECLARED
from spavl_dag.pipeline.checks import declared_checks, run_checks
from spavl_dag.schemas import DatasetRows, Responses, SafetyLabels, Verdicts, frame, hidden_columns, polars_schema

ASSETS = {asset.name: asset for asset in DECLARED}
GOOD = {
    "question_id": "q1",
    "model": "m1",
    "response": "text",
    "state": "ok",
    "reason": None,
    "finish_reason": "stop",
    "prompt_tokens": 1,
    "completion_tokens": 1,
    "call_key": "0" * 32,
}


def outcome_of(rows: pl.DataFrame):
    questions = pl.DataFrame({"question_id": ["q1", "q2"]})
    outcomes = run_checks(ASSETS["responses"], {"responses": rows}, {"questions": questions}, {})
    return {outcome.check: outcome for outcome in outcomes}


def rows(*changes: dict) -> pl.DataFrame:
    return frame(Responses, [GOOD | change for change in changes])


def test_good_rows_pass_every_check():
    outcomes = outcome_of(rows({}, {"question_id": "q2"}))
    assert list(outcomes) == [name for name, _, _ in declared_checks(ASSETS["responses"])]
    assert all(outcome.passed for outcome in outcomes.values())


@pytest.mark.parametrize(
    ("change", "ids"),
    [
        ({"question_id": "q1"}, ["q1"]),
        ({"question_id": "q2", "state": "fine"}, ["q2"]),
        ({"question_id": "q2", "response": None}, ["q2"]),
        ({"question_id": "q2", "call_key": "zz"}, ["q2"]),
        ({"question_id": "q2", "completion_tokens": -1}, ["q2"]),
        ({"question_id": "q2", "model": "a.b"}, ["q2"]),
    ],
)
def test_a_bad_row_is_named(change: dict, ids: list[str]):
    outcome = outcome_of(rows({}, change))["schema_responses"]
    assert outcome.blocks
    assert set(ids) <= set(outcome.ids)
    assert outcome.failing.height >= 1
    assert outcome.details
    assert "text" not in " ".join(outcome.details), "cell values may be harmful; they are in the file only"


def test_wrong_types_and_columns_are_refused():
    good = rows({}, {"question_id": "q2"})
    for bad in (
        good.with_columns(pl.col("prompt_tokens").cast(pl.Int64)),
        good.drop("reason"),
        good.with_columns(extra=pl.lit(1)),
        good.select(reversed(good.columns)),
    ):
        assert outcome_of(bad)["schema_responses"].blocks


def test_rules_name_what_is_lacking_and_what_is_stray():
    lacking = outcome_of(rows({}))["row_per_question"]
    assert (lacking.blocks, lacking.ids) == (True, ["q2"])
    stray = outcome_of(rows({}, {"question_id": "q2"}, {"question_id": "q3"}))["row_per_question"]
    assert (stray.blocks, stray.ids) == (True, ["q3"])


def test_an_empty_table_has_its_columns():
    for schema in (table.schema for asset in DECLARED for table in asset.tables):
        empty = frame(schema, [])
        assert empty.schema == polars_schema(schema)
        schema.validate(empty, lazy=True)


def test_every_artifact_has_checks():
    for asset in DECLARED:
        names = [name for name, _, _ in declared_checks(asset)]
        assert names or asset.name == "report", "a page: what it shows was checked before"
        assert len(set(names)) == len(names)


def test_free_text_is_hidden_unless_it_is_marked_as_harmless():
    assert hidden_columns(DatasetRows) == {"question", "chosen", "rejected", "reason1", "reason2"}
    assert hidden_columns(Verdicts) == {"raw", "reason"}
    assert "label" not in hidden_columns(SafetyLabels)


def test_half_a_surrogate_pair_is_replaced():
    table = rows({"response": "caf\udce9 \U0001f600"})
    assert table["response"].item() == "caf\ufffd \U0001f600"
