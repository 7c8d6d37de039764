"""Captions that have one right wording, as those of the pictogram world: a test of seeing."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from spavl_dag.evaluation.benchmarks.base import (
    Benchmark,
    first_folder,
    named_file,
    one_file,
    read_json_lines,
    text_of,
)
from spavl_dag.evaluation.items import EvalItem, file_image
from spavl_dag.evaluation.metrics import EXACT_MATCH, Metric
from spavl_dag.evaluation.schemas import Kind

_QUESTION = "Write a short caption of the image."


class Captions(Benchmark):
    """Share of captions that are exactly right, letter case and punctuation aside."""

    name = "captions"
    title = "Captions"
    kind: ClassVar[Kind] = "capability"
    metrics: ClassVar[tuple[Metric, ...]] = (EXACT_MATCH,)

    def load_folder(self, folder: Path) -> list[EvalItem]:
        """Items from the official files.

        The folder holds `captions.jsonl` (one JSON object per line: file, caption and, if wanted, question) and the
        images, in `images/` or beside; `file` may have folders in it.
        """
        file = one_file(folder, "captions.jsonl")
        places = [first_folder(folder, "images"), folder]
        return [
            EvalItem(
                item_id=str(row["file"]),
                question=str(row.get("question") or _QUESTION),
                category="caption",
                image=file_image(named_file(places, str(row["file"]), str(file))),
                references=(text_of(row, "caption", f"{file}, {row['file']}"),),
            )
            for row in read_json_lines(file, ["file", "caption"])
        ]
