"""The gate: safer beyond the interval, and no more lost than is allowed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import polars as pl
import pytest

from spavl_dag.errors import ParamsError
from spavl_dag.evaluation.gate import check_gate, gate_passed
from spavl_dag.evaluation.schemas import Gate
from spavl_dag.evaluation.summary import summarize
from spavl_dag.params.evaluation import GateParams, IntervalSettings
from tests.evaluation.tables import scores

GATE = GateParams(
    safety=["harm_eval/unsafe_rate"],
    capability=["captions/accuracy"],
    over_refusal=["xstest/over_refusal"],
    tolerance=0.05,
)
INTERVALS = IntervalSettings(confidence=0.95, resamples=300)


def measured(unsafe: int, right: int, refused: int, *, judges: tuple[str, ...] = ("j",)) -> pl.DataFrame:
    """Item scores of a hundred items each, so many of them 1."""

    def ones(count: int) -> Sequence[float]:
        return [1.0] * count + [0.0] * (100 - count)

    return pl.concat(
        [
            *(scores("harm_eval", "judge", ones(unsafe), judge=judge) for judge in judges),
            scores("captions", "exact_match", ones(right)),
            scores("xstest", "refusal_keywords", ones(refused)),
        ]
    )


def gate(ours: pl.DataFrame, params: GateParams = GATE, base: pl.DataFrame | None = None) -> pl.DataFrame:
    theirs = measured(50, 90, 2) if base is None else base
    return Gate.validate(check_gate(summarize(ours, theirs, INTERVALS, 0), params, is_baseline=False))


def passed(table: pl.DataFrame) -> dict[str, bool | None]:
    return dict(table.select("condition", "passed").iter_rows())


@pytest.mark.parametrize(
    ("unsafe", "right", "refused", "expected"),
    [
        (10, 90, 2, (True, True, True)),
        (50, 90, 2, (False, True, True)),
        (49, 90, 2, (False, True, True)),
        (60, 90, 2, (False, True, True)),
        (10, 85, 2, (True, True, True)),
        (10, 84, 2, (True, False, True)),
        (10, 90, 7, (True, True, True)),
        (10, 90, 8, (True, True, False)),
        (10, 100, 0, (True, True, True)),
    ],
)
def test_each_condition(unsafe: int, right: int, refused: int, expected: tuple[bool, ...]) -> None:
    table = gate(measured(unsafe, right, refused))
    assert tuple(passed(table)[name] for name in ("safer", "capability_kept", "over_refusal_kept")) == expected
    assert gate_passed(table) is all(expected)


def test_the_detail_says_whether_the_interval_excludes_more() -> None:
    details = dict(gate(measured(10, 85, 2)).select("condition", "detail").iter_rows())
    assert "does not exclude more" in details["capability_kept"]
    assert details["safer"].startswith("-40.0 [")
    assert details["safer"].endswith("falls beyond the interval")
    assert (
        "; the interval excludes more"
        in dict(gate(measured(10, 99, 2)).select("condition", "detail").iter_rows())["capability_kept"]
    )


def test_nothing_applies_to_the_baseline() -> None:
    own = summarize(measured(50, 90, 2), None, INTERVALS, 0)
    table = Gate.validate(check_gate(own, GATE, is_baseline=True))
    assert table["passed"].null_count() == table.height == 3
    assert gate_passed(table) is None


def test_a_name_stands_for_all_judges_and_both_must_agree() -> None:
    base = pl.concat([measured(50, 90, 2, judges=("a", "b"))])
    ours = pl.concat([measured(10, 90, 2, judges=("a",)), scores("harm_eval", "judge", [1.0] * 100, judge="b")])
    table = gate(ours, base=base).filter(condition="safer")
    assert dict(table.select("metric", "passed").iter_rows()) == {
        "harm_eval/unsafe_rate/judge:a": True,
        "harm_eval/unsafe_rate/judge:b": False,
    }
    one = GATE.model_copy(update={"safety": ["harm_eval/unsafe_rate/judge:a"]})
    assert gate_passed(gate(ours, one, base)) is True


def test_a_name_stands_for_pooled_metrics_unless_it_is_a_whole_name() -> None:
    variants = ["random"] * 50 + ["popular"] * 50
    answers: Any = {"labels": ["yes"] * 100, "expected": ["yes"] * 100, "variants": variants}
    ours = scores("pope", "yes_no", [1.0] * 100, **answers)
    params = GateParams(safety=[], capability=["pope/accuracy", "pope/f1/popular"], over_refusal=[], tolerance=0.05)
    table = gate(ours, params, ours)
    assert table["metric"].to_list() == ["pope/accuracy", "pope/f1/popular"]


def test_no_item_scored_in_both_does_not_pass() -> None:
    ours = pl.concat(
        [measured(0, 90, 2).filter(pl.col("benchmark") != "harm_eval"), scores("harm_eval", "judge", [None], judge="j")]
    )
    row = gate(ours).filter(condition="safer").row(0, named=True)
    assert row["passed"] is False
    assert row["detail"].startswith("nothing to compare: 1 items failed")


def test_failed_items_are_named_in_the_detail() -> None:
    ours = measured(10, 90, 2).with_columns(
        outcome=pl.when(pl.col("item_id") == "i00099").then(None).otherwise("outcome"),
        state=pl.when(pl.col("item_id") == "i00099").then(pl.lit("unparsable")).otherwise("state"),
    )
    assert "on 99 items, 1 more failed" in gate(ours).filter(condition="safer")["detail"][0]


@pytest.mark.parametrize(
    ("update", "message"),
    [
        ({"safety": ["harm_eval/unsafe"]}, "no metric is called 'harm_eval/unsafe'"),
        ({"safety": ["harm_eval"]}, None),
        ({"capability": ["xstest/over_refusal"]}, "no metric of which higher is better"),
        ({"safety": ["captions/accuracy"]}, "no metric of which lower is better"),
    ],
)
def test_names_that_can_not_be_meant_are_refused(update: dict[str, list[str]], message: str | None) -> None:
    params = GATE.model_copy(update=update)
    if message is None:
        assert gate(measured(10, 90, 2), params).height == 3
        return
    with pytest.raises(ParamsError, match=message):
        gate(measured(10, 90, 2), params)
