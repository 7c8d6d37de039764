"""Visual question answering in the format of VQAv2: short answers, ten annotators."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from spavl_dag.evaluation.benchmarks.base import (
    Benchmark,
    BenchmarkFormatError,
    Source,
    files_of,
    hub_image,
    hub_rows,
    one_file,
    read_json,
    text_of,
)
from spavl_dag.evaluation.items import EvalItem, file_image
from spavl_dag.evaluation.metrics import VQA_ACCURACY, Metric
from spavl_dag.evaluation.schemas import Kind

_SHOWN = 3
_IMAGE = re.compile(r"(?:.*_)?0*(\d+)\.(?:jpe?g|png)", re.IGNORECASE)


class Vqa(Benchmark):
    """Accuracy as agreement with the annotators."""

    name = "vqa"
    title = "VQA"
    kind: ClassVar[Kind] = "capability"
    metrics: ClassVar[tuple[Metric, ...]] = (VQA_ACCURACY,)

    def load_folder(self, folder: Path) -> list[EvalItem]:
        """Items from the official files.

        The folder holds the official pair of files `*questions.json` and `*annotations.json`, and the images
        (`COCO_val2014_<12 digits>.jpg`), in any sub-folder.
        """
        file, annotations = one_file(folder, "*questions.json"), one_file(folder, "*annotations.json")
        answers = {text_of(row, "question_id", str(annotations)): row for row in _list(annotations, "annotations")}
        images: defaultdict[str, list[Path]] = defaultdict(list)
        for path in files_of(folder, "**/*"):
            if match := _IMAGE.fullmatch(path.name):
                images[match[1]].append(path)
        items = []
        for row in _list(file, "questions"):
            number = text_of(row, "question_id", str(file))
            where = f"{file}, question {number}"
            if number not in answers:
                raise BenchmarkFormatError(f"{where} has no annotation in {annotations.name}")
            image_id = text_of(row, "image_id", where)
            items.append(
                EvalItem(
                    item_id=number,
                    question=text_of(row, "question", where),
                    category=str(answers[number].get("answer_type") or "other"),
                    group=image_id,
                    image=file_image(_only(images[image_id], where) or _expected(folder, image_id)),
                    references=_references(answers[number], where),
                )
            )
        return items

    def load_hub(self, source: Source) -> list[EvalItem]:
        """`lmms-lab/VQAv2`: split validation; columns question_id, image_id, question, answers, answer_type, image."""
        columns = ["question_id", "image_id", "question", "answers", "answer_type", "image"]
        return [
            EvalItem(
                item_id=text_of(row, "question_id", f"row {number}"),
                question=text_of(row, "question", f"row {number}"),
                category=str(row["answer_type"] or "other"),
                group=text_of(row, "image_id", f"row {number}"),
                image=hub_image(source, f"row {number}", read),
                references=_references(row, f"row {number}"),
            )
            for number, row, read in hub_rows(source, "validation", columns)
        ]


def _only(files: Sequence[Path], where: str) -> Path | None:
    """The one file of an image's number; two of them could be two pictures."""
    if len(files) > 1:
        names = ", ".join(map(str, files[:_SHOWN]))
        raise BenchmarkFormatError(f"{where}: several files have the image's number: {names}", "Leave the right one.")
    return files[0] if files else None


def _expected(folder: Path, image_id: str) -> Path:
    return folder / f"COCO_val2014_{image_id:0>12}.jpg"


def _list(file: Path, key: str) -> Sequence[Mapping[str, Any]]:
    content = read_json(file)
    rows = content.get(key) if isinstance(content, dict) else None
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise BenchmarkFormatError(f"{file}: expected an object with a list '{key}'", "Get the official file again.")
    return rows


def _references(row: Mapping[str, Any], where: str) -> tuple[str, ...]:
    """All annotators' answers, with their repetitions, the most common first."""
    listed = row.get("answers") or [{"answer": row.get("multiple_choice_answer")}]
    try:
        answers = [str(entry["answer"]).strip() for entry in listed if entry["answer"] is not None]
    except (TypeError, KeyError):
        answers = []
    if not any(answers):
        raise BenchmarkFormatError(f"{where}: there is no answer")
    return tuple(answer for answer, count in Counter(answers).most_common() for _ in range(count))
