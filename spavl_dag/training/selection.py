"""Which rows of the dataset a training sees: filters first, then a draw by seed.

Pure functions on tables; files are `examples`' business.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import polars as pl

from spavl_dag.errors import SpavlError
from spavl_dag.params.training import DataSelection


class NothingSelectedError(SpavlError):
    """No row is left to train on."""


@dataclass(frozen=True, slots=True)
class Selection:
    """What was asked for and what was found.

    Attributes:
        rows: The selected rows, all columns of `dataset`, sorted by row_id.
        counts: Rows left after each filter that was asked for, in order; the first is the whole split.
        wanted: `pairs` as asked, or None; `len(rows)` is smaller where the split has fewer.
    """

    rows: pl.DataFrame
    counts: Mapping[str, int]
    wanted: int | None

    def as_dict(self) -> dict[str, Any]:
        """The numbers, for a summary."""
        return {"counts": dict(self.counts), "wanted": self.wanted, "selected": len(self.rows)}


def select_rows(dataset: pl.DataFrame, selection: DataSelection, seed: int, split: str = "train") -> Selection:
    """Rows of one split that a training is to see.

    With the same seed a smaller draw is a part of every larger one, so that a data-scale ablation
    (paper, 'Evaluation') compares nested sets.

    Args:
        dataset: Table `dataset`.
        selection: Filters, and how many pairs to draw from what passes them.
        seed: Decides the draw.
        split: "train" or "validation".

    Raises:
        NothingSelectedError: No row passes; the message counts the rows after each filter.
    """
    left = dataset.filter(pl.col("split") == split)
    counts = {split: len(left)}
    for name, condition in _filters(selection):
        left = left.filter(condition)
        counts[name] = len(left)
    if left.is_empty():
        raise NothingSelectedError(
            f"no row to train on is left: {', '.join(f'{name} {count}' for name, count in counts.items())}",
            "Relax the filter that took the last ones (`data:` of the entry in params.yaml).",
        )
    if selection.pairs is not None and len(left) > selection.pairs:
        drawn = sorted(left["row_id"], key=lambda row_id: _rank(seed, row_id))[: selection.pairs]
        left = left.filter(pl.col("row_id").is_in(drawn))
    return Selection(left.sort("row_id"), counts, selection.pairs)


def _filters(selection: DataSelection) -> list[tuple[str, pl.Expr]]:
    """Named conditions in a fixed order; a null never passes."""
    filters: list[tuple[str, pl.Expr]] = []
    if selection.question_types is not None:
        filters.append(("question_types", pl.col("question_type").is_in(selection.question_types)))
    if selection.classes is not None:
        filters.append(("classes", pl.col("class_id").is_in(selection.classes)))
    if selection.safety_groups is not None:
        both = pl.all_horizontal(
            pl.col(side).is_in(selection.safety_groups).fill_null(value=False)
            for side in ("chosen_group", "rejected_group")
        )
        filters.append(("safety_groups", both))
    if selection.min_agreement > 0:
        filters.append(("min_agreement", pl.col("agreement") >= selection.min_agreement))
    return filters


def _rank(seed: int, row_id: str) -> bytes:
    """A row's place in the draw: it depends on nothing but the row and the seed."""
    return blake2b(f"{seed}/{row_id}".encode(), digest_size=16).digest()
