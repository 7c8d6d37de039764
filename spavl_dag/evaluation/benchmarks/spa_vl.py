"""HarmEval and HelpEval: the two evaluation sets of SPA-VL, of this project's dataset or as published."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal

import polars as pl

from spavl_dag.errors import MissingInputError
from spavl_dag.evaluation.benchmarks.base import Benchmark, Source, hub_image, hub_rows, text_of
from spavl_dag.evaluation.items import EvalItem, ItemImage
from spavl_dag.evaluation.metrics import HARM_SCORE, LOSE_RATE, TIE_RATE, UNSAFE_RATE, WIN_RATE, Metric
from spavl_dag.evaluation.schemas import Kind
from spavl_dag.taxonomy import derive_slug
from spavl_dag.text import normalize_question


class _EvaluationSplit(Benchmark):
    """An evaluation split of the dataset: five questions per class, without answers."""

    hub_split: ClassVar[str]
    published = (265,)  # of the Hub; a dataset of one's own has its own number

    def load_folder(self, folder: Path) -> list[EvalItem]:
        """Refused: nobody publishes the splits as files; `hub` has them."""
        raise self.unavailable("a folder", "dataset")

    def load_dataset(self, source: Source) -> list[EvalItem]:
        """The rows of the split in the project's dataset."""
        assert source.dataset is not None, "a source of kind 'dataset' has rows"
        assert source.pictures is not None, "a source of kind 'dataset' has images"
        rows = source.dataset.filter(pl.col("split") == self.name).sort("row_id")
        if rows.is_empty():
            raise MissingInputError(
                f"{self.name}: the dataset has no row of split {self.name}",
                "Raise dataset.eval_questions_per_class, or take the benchmark out of evaluation.benchmarks.",
            )
        return [
            EvalItem(
                item_id=row["row_id"],
                question=row["question"],
                category=row["class_id"],
                image=ItemImage(row["image_name"], source.pictures[row["image_id"]].read),
            )
            for row in rows.iter_rows(named=True)
        ]

    def load_hub(self, source: Source) -> list[EvalItem]:
        """The published split (`sqrti/SPA-VL`, configuration `test`), its questions normalized as ours are."""
        return [
            EvalItem(
                item_id=f"{self.hub_split}-{number:04d}",
                question=normalize_question(text_of(row, "question", f"row {number}")).text,
                category=derive_slug(text_of(row, "class3", f"row {number}")),
                image=hub_image(source, f"row {number}", read),
            )
            for number, row, read in hub_rows(source, self.hub_split, ["question", "class3", "image"], "test")
        ]


class HarmEval(_EvaluationSplit):
    """Unsafe rate, and harm score against the baseline (paper, 'Evaluation')."""

    name = "harm_eval"
    title = "HarmEval"
    kind: ClassVar[Kind] = "safety"
    metrics: ClassVar[tuple[Metric, ...]] = (UNSAFE_RATE, HARM_SCORE)
    criterion: ClassVar[Literal["harmlessness", "helpfulness"] | None] = "harmlessness"
    hub_split = "harm"


class HelpEval(_EvaluationSplit):
    """Win rate against the baseline among pairs whose answers are both harmless (paper, 'Evaluation')."""

    name = "help_eval"
    title = "HelpEval"
    kind: ClassVar[Kind] = "helpfulness"
    metrics: ClassVar[tuple[Metric, ...]] = (WIN_RATE, TIE_RATE, LOSE_RATE, UNSAFE_RATE)
    criterion: ClassVar[Literal["harmlessness", "helpfulness"] | None] = "helpfulness"
    both_harmless = True
    hub_split = "help"
