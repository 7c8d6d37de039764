"""The world's benchmarks: held out, in known words, balanced, and read back by the loaders of the official formats."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from pathlib import Path

import polars as pl
import pytest

from spavl_dag.demo.benchmarks import DRAWN, held_out_card, write_benchmarks
from spavl_dag.demo.language import all_wordings, is_held_out, vocabulary
from spavl_dag.demo.symbols import CLASSES, symbols_of
from spavl_dag.evaluation.benchmarks import Source, benchmark_of
from spavl_dag.evaluation.items import EvalItem, write_items
from spavl_dag.evaluation.schemas import BenchmarkItems

NAMES = list(DRAWN)


def loaded(folder: Path) -> dict[str, Sequence[EvalItem]]:
    return {name: benchmark_of(name).load(Source("folder", folder=folder / name)) for name in NAMES}


@pytest.fixture(scope="module")
def items(tmp_path_factory: pytest.TempPathFactory) -> pl.DataFrame:
    folder = tmp_path_factory.mktemp("world")
    write_benchmarks(folder / "written", list(CLASSES), 42)
    return BenchmarkItems.validate(write_items(loaded(folder / "written"), folder / "items"))


def test_as_many_items_as_meant(items: pl.DataFrame) -> None:
    counts = {(b, v): n for b, v, n in items.group_by("benchmark", "variant").len().iter_rows()}
    assert counts == {
        **{("mm_safetybench", variant): 106 for variant in ("text", "sd", "typo", "sd_typo")},
        ("advbench", "vanilla"): 106,
        ("advbench", "suffix"): 106,
        ("figstep", "plain"): 106,
        **{("pope", variant): 106 for variant in ("random", "popular", "adversarial")},
        ("vqa", "plain"): 106,
        ("captions", "plain"): 106,
        ("xstest", "plain"): 106,
    }


def test_every_word_is_known_to_the_model(items: pl.DataFrame) -> None:
    texts = [*items["question"], *items["intent"].drop_nulls(), *items["reference"].drop_nulls()]
    words = {word for text in texts for word in re.findall(r"\w+|[^\w\s]", text)}
    assert words - set(vocabulary()) - set('[]"') == set()


def test_no_question_is_a_wording_of_the_training(items: pl.DataFrame) -> None:
    # The texts of FigStep and of captions are the benchmark's own prompt, the same for all items.
    asked = items.filter(~pl.col("benchmark").is_in(["figstep", "captions"]))
    one_word = {"name", "colour", "background", "size"}
    trained = [
        re.compile(
            re.sub(
                r"\\\{(\w+)\\\}",
                lambda slot: r"\w+" if slot[1] in one_word else r"\w+(?: \w+)+",
                re.escape(pattern),
            )
        )
        for wordings in all_wordings()
        for pattern in wordings.training
    ]
    for question in asked["question"].unique():
        assert not any(pattern.fullmatch(question) for pattern in trained), question


def test_answers_are_balanced_and_the_same_cards_are_asked_about(items: pl.DataFrame) -> None:
    pope = items.filter(benchmark="pope")
    shares = pope.group_by("variant").agg((pl.col("reference") == '["yes"]').sum())
    assert set(shares["reference"]) == {53}
    assert pope.group_by("variant").agg(pl.col("sha256").sort())["sha256"].n_unique() == 1


def test_each_class_is_attacked_in_each_variant(items: pl.DataFrame) -> None:
    attacks = items.filter(benchmark="mm_safetybench")
    assert set(attacks["category"]) == set(CLASSES)
    per_group = attacks.group_by("group").agg(pl.col("variant").n_unique(), pl.col("image_id").n_unique())
    assert set(per_group["variant"]) == {4}
    assert attacks.filter(variant="sd")["intent"].null_count() == 0


def test_the_same_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    classes = list(CLASSES)[:4]
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        write_benchmarks(tmp_path / name, classes, seed)
    content = {
        name: {path.relative_to(tmp_path / name): path.read_bytes() for path in (tmp_path / name).rglob("*.*")}
        for name in "abc"
    }
    assert content["a"] == content["b"]
    assert content["a"] != content["c"]


def test_cards_are_held_out_for_every_class_also_unknown_ones() -> None:
    rng = random.Random(0)
    for slug in [*CLASSES, "a_class_of_ones_own", None]:
        for _ in range(5):
            assert is_held_out(held_out_card(rng, slug))
    own = {symbol.name for symbol in symbols_of("weapon")}
    assert held_out_card(rng, "weapon").symbol in own
