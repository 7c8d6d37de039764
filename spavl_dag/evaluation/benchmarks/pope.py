"""POPE (EMNLP 2023): is there such an object in the image? Measures hallucination."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from spavl_dag.evaluation.benchmarks.base import (
    Benchmark,
    BenchmarkFormatError,
    Source,
    first_folder,
    hub_image,
    hub_rows,
    named_file,
    one_file,
    read_json_lines,
    text_of,
)
from spavl_dag.evaluation.items import EvalItem, file_image
from spavl_dag.evaluation.metrics import UNPARSABLE_RATE, YES_NO_ACCURACY, YES_NO_F1, YES_RATE, Metric
from spavl_dag.evaluation.schemas import Kind

VARIANTS = ("random", "popular", "adversarial")
"""How the absent objects were drawn."""
_CATEGORY = "object"


class Pope(Benchmark):
    """Accuracy, F1 and share of yes, over three ways of drawing absent objects."""

    name = "pope"
    title = "POPE"
    kind: ClassVar[Kind] = "capability"
    metrics: ClassVar[tuple[Metric, ...]] = (YES_NO_ACCURACY, YES_NO_F1, YES_RATE, UNPARSABLE_RATE)
    published = (9000, 8910)  # the first edition has 2,910 random questions on COCO

    def load_folder(self, folder: Path) -> list[EvalItem]:
        """Items from the official files.

        The folder holds `<any>_pope_random.json`, `…_popular.json` and `…_adversarial.json`, or those of GQA and
        A-OKVQA, `<any>_pope_seem_random.json` and so on (one JSON object per line: question_id, image, text, label);
        and the images, in `val2014/`, `images/` or beside. `image` may have folders in it. All items of an image are
        one group: the questions about what is there are the same in all three files.
        """
        places = [first_folder(folder, "val2014", "images"), folder]
        items = []
        for variant in VARIANTS:
            file = one_file(folder, f"*pope_{variant}.json", f"*pope_*{variant}.json", f"*pope_*{variant}.jsonl")
            for row in read_json_lines(file, ["question_id", "image", "text", "label"]):
                where = f"{file}, question {row['question_id']}"
                name = str(row["image"]).replace("\\", "/").removeprefix("./")
                items.append(
                    EvalItem(
                        item_id=f"{variant}-{row['question_id']}",
                        question=text_of(row, "text", where),
                        category=_CATEGORY,
                        variant=variant,
                        group=name,
                        image=file_image(named_file(places, name, where)),
                        references=(_label(row["label"], where),),
                    )
                )
        return items

    def load_hub(self, source: Source) -> list[EvalItem]:
        """`lmms-lab/POPE`: split test; columns question_id, question, answer, image_source, image, category."""
        columns = ["question_id", "question", "answer", "image_source", "category", "image"]
        items = []
        for number, row, read in hub_rows(source, "test", columns):
            where = f"row {number}"
            variant = text_of(row, "category", where)
            items.append(
                EvalItem(
                    item_id=f"{variant}-{text_of(row, 'question_id', where)}",
                    question=text_of(row, "question", where),
                    category=_CATEGORY,
                    variant=variant,
                    group=text_of(row, "image_source", where),
                    image=hub_image(source, where, read),
                    references=(_label(row["answer"], where),),
                )
            )
        return items


def _label(value: object, where: str) -> str:
    label = str(value).strip().lower()
    if label not in ("yes", "no"):
        raise BenchmarkFormatError(f"{where}: the label is {str(value)[:40]!r}, not yes or no")
    return label
