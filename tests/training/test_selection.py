from __future__ import annotations

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spavl_dag.params.training import DataSelection
from spavl_dag.training.selection import NothingSelectedError, select_rows

TYPES = ["easy_question", "hard_question", "hard_statement"]


def dataset(rows: int = 60) -> pl.DataFrame:
    """Rows that differ in all that is selected by; every tenth is for validation."""
    return pl.DataFrame(
        [
            {
                "row_id": f"r{index:03}",
                "split": "validation" if index % 10 == 0 else "train",
                "question_type": TYPES[index % 3],
                "class_id": f"class_{index % 4}",
                "chosen_group": 1 + index % 5,
                "rejected_group": None if index == 1 else 1 + index % 2,
                "agreement": (index % 3) / 2,
            }
            for index in range(rows)
        ]
    )


def ids(rows: pl.DataFrame) -> list[str]:
    return rows["row_id"].to_list()


def test_without_filters_the_whole_split_in_order_of_ids() -> None:
    shuffled = dataset().sample(fraction=1.0, shuffle=True, seed=1)
    chosen = select_rows(shuffled, DataSelection(), seed=0)
    assert ids(chosen.rows) == [f"r{index:03}" for index in range(60) if index % 10]
    assert chosen.as_dict() == {"counts": {"train": 54}, "wanted": None, "selected": 54}
    assert len(select_rows(shuffled, DataSelection(), seed=0, split="validation").rows) == 6


@pytest.mark.parametrize(
    ("selection", "expected"),
    [
        (DataSelection(question_types=["hard_statement"]), lambda index: index % 3 == 2),
        (DataSelection(classes=["class_1", "class_2"]), lambda index: index % 4 in (1, 2)),
        # Both answers' groups: one outside is enough to leave the pair out, and so is an unknown one.
        (
            DataSelection(safety_groups=[1, 2]),
            lambda index: index % 5 in (0, 1) and index != 1,
        ),
        (DataSelection(min_agreement=1.0), lambda index: index % 3 == 2),
    ],
)
def test_each_filter(selection: DataSelection, expected) -> None:  # type: ignore[no-untyped-def]
    rows = select_rows(dataset(), selection, seed=0).rows
    assert ids(rows) == [f"r{index:03}" for index in range(60) if index % 10 and expected(index)]


@given(st.integers(1, 54), st.integers(1, 54), st.integers(0, 5))
def test_smaller_draws_are_parts_of_larger_ones(one: int, other: int, seed: int) -> None:
    few, many = sorted((one, other))
    drawn = [set(ids(select_rows(dataset(), DataSelection(pairs=count), seed).rows)) for count in (few, many)]
    assert (len(drawn[0]), len(drawn[1])) == (few, many)
    assert drawn[0] <= drawn[1]


def test_a_draw_depends_on_the_seed_and_not_on_the_order_of_rows() -> None:
    draw = DataSelection(pairs=20)
    first = ids(select_rows(dataset(), draw, seed=1).rows)
    assert first == ids(select_rows(dataset().reverse(), draw, seed=1).rows)
    assert first != ids(select_rows(dataset(), draw, seed=2).rows)


def test_too_few_rows_are_taken_all_and_counted() -> None:
    chosen = select_rows(dataset(), DataSelection(pairs=1000, question_types=["easy_question"]), seed=0)
    assert chosen.as_dict() == {"counts": {"train": 54, "question_types": 18}, "wanted": 1000, "selected": 18}


def test_nothing_left_says_which_filter_took_the_last() -> None:
    selection = DataSelection(question_types=["easy_question"], classes=["no_such"])
    with pytest.raises(NothingSelectedError, match="train 54, question_types 18, classes 0"):
        select_rows(dataset(), selection, seed=0)
