"""Items: drawing some, giving them images, writing them."""

from __future__ import annotations

import hashlib
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spavl_dag.errors import MissingInputError, SpavlError
from spavl_dag.evaluation.items import EvalItem, ItemImage, draw_items, file_image, use_images, write_items
from spavl_dag.evaluation.schemas import BenchmarkItems
from tests.evaluation.test_benchmarks import picture, png

ITEMS = [
    EvalItem(f"{group:02d}-{variant}", "?", "c", variant, group=str(group))
    for group in range(30)
    for variant in ("text", "sd", "typo")
]


@settings(deadline=None)
@given(limit=st.integers(1, 40), seed=st.integers(0, 5))
def test_a_draw_keeps_variants_together_and_grows(limit: int, seed: int) -> None:
    drawn = draw_items(ITEMS, limit, seed)
    assert len(drawn) == 3 * min(limit, 30)
    groups = {variant: {item.group for item in drawn if item.variant == variant} for variant in ("text", "sd", "typo")}
    assert groups["text"] == groups["sd"] == groups["typo"]
    assert {item.item_id for item in drawn} <= {item.item_id for item in draw_items(ITEMS, limit + 1, seed)}
    assert drawn == [item for item in ITEMS if item in drawn]


def test_no_limit_and_another_seed() -> None:
    assert draw_items(ITEMS, None, 0) == ITEMS
    assert draw_items(ITEMS, 5, 0) != draw_items(ITEMS, 5, 1)


def test_texts_get_a_blank_image_or_none(tmp_path: Path) -> None:
    shown = EvalItem("a", "?", "c", image=file_image(picture(tmp_path / "a.png")))
    text = EvalItem("b", "?", "c")
    assert use_images([shown, text], "own") == [shown, text]
    assert [item.image for item in use_images([shown, text], "none")] == [None, None]
    blank = use_images([shown, text], "blank")
    assert blank[0] is shown
    table = write_items({"x": blank}, tmp_path / "out")
    assert table["image_id"].null_count() == 0


def test_equal_images_are_written_once_and_bytes_are_kept(tmp_path: Path) -> None:
    red, blue = png("red"), png("blue")
    items = [
        EvalItem(str(i), "?", "c", image=ItemImage(f"image {i}", lambda data=data: data))  # type: ignore[misc]
        for i, data in enumerate([red, blue, red])
    ]
    table = write_items({"one": items, "two": items[:1]}, tmp_path)
    BenchmarkItems.validate(table)
    assert sorted(path.read_bytes() for path in (tmp_path / "files").iterdir()) == sorted([red, blue])
    row = table.row(0, named=True)
    assert row["sha256"] == hashlib.sha256(red).hexdigest()
    assert (tmp_path / row["file"]).read_bytes() == red
    again = write_items({"two": items[:1], "one": items}, tmp_path / "again")
    assert again.equals(table), "the order of benchmarks makes no difference"


def test_questions_on_one_image_are_a_group_unless_the_benchmark_knows_better(tmp_path: Path) -> None:
    red, blue = ItemImage("red", lambda: png("red")), ItemImage("blue", lambda: png("blue"))
    questions = [
        EvalItem("1", "?", "c", image=red),
        EvalItem("2", "!", "c", image=red),
        EvalItem("3", "?", "c", image=blue),
        EvalItem("4", "?", "c", image=blue, group="own"),
        EvalItem("5", "?", "c"),
        EvalItem("6", "?", "c"),
    ]
    groups = write_items({"x": use_images(questions, "blank")}, tmp_path)["group"].to_list()
    assert groups[0] == groups[1] != groups[2]
    assert groups[3:] == ["own", "5", "6"], "a blank square is nobody's image"


def test_what_can_not_be_read_is_listed(tmp_path: Path) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(png("red")[:40])
    (tmp_path / "empty.png").touch()
    names = ["broken.png", "empty.png", "gone.png"]
    items = [EvalItem(name, "?", "c", image=file_image(tmp_path / name)) for name in names]
    with pytest.raises(MissingInputError) as error:
        write_items({"x": items}, tmp_path / "out")
    assert "x: 3 of 3 items" in error.value.message
    assert all(name in error.value.message for name in names)


def test_ids_must_be_unique_in_a_benchmark(tmp_path: Path) -> None:
    with pytest.raises(SpavlError, match="ids stand twice, such as a"):
        write_items({"x": [EvalItem("a", "?", "c"), EvalItem("a", "!", "c")]}, tmp_path)


def test_no_items_make_an_empty_table(tmp_path: Path) -> None:
    assert isinstance(BenchmarkItems.validate(write_items({}, tmp_path)), pl.DataFrame)
