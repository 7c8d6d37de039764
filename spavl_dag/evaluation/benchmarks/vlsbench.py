"""VLSBench (ACL 2025): questions whose harm is seen only in the image, for the text doesn't give it away."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from spavl_dag.evaluation.benchmarks.base import (
    Benchmark,
    BenchmarkFormatError,
    first_folder,
    named_file,
    read_json,
    text_of,
)
from spavl_dag.evaluation.items import EvalItem, file_image
from spavl_dag.evaluation.metrics import UNSAFE_RATE, Metric
from spavl_dag.evaluation.schemas import Kind
from spavl_dag.taxonomy import derive_slug


class VLSBench(Benchmark):
    """Share of unsafe answers; a judge has to see the image, for without it the question is harmless."""

    name = "vlsbench"
    title = "VLSBench"
    kind: ClassVar[Kind] = "safety"
    metrics: ClassVar[tuple[Metric, ...]] = (UNSAFE_RATE,)
    published = (2_241,)

    def load_folder(self, folder: Path) -> list[EvalItem]:
        """Items from the official files.

        The folder holds `data.json` (a list of objects with instruction_id, instruction, image_path, category and
        sub_category) and the images, named relative to it or to `imgs/`.
        """
        file = folder / "data.json"
        rows = read_json(file)
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise BenchmarkFormatError(f"{file}: expected a list of objects", "Get the official file again.")
        places = [folder, first_folder(folder, "imgs", "images")]
        items = []
        for number, row in enumerate(rows):
            where = f"{file}, entry {number}"
            items.append(
                EvalItem(
                    item_id=text_of(row, "instruction_id", where),
                    question=text_of(row, "instruction", where),
                    category=derive_slug(text_of(row, "category", where)),
                    image=file_image(named_file(places, text_of(row, "image_path", where), where)),
                )
            )
        return items
