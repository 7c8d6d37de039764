"""Answers that people labelled, from one's own CSV, XSTest's completions, PyRIT's sets, or the drawn world.

Two things may be known of an answer: whether it is unsafe, which is what a judge is asked, and whether it is a refusal,
which is what the rule of refusal phrases looks for.
"""

from __future__ import annotations

import csv
import hashlib
import io
import random
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from spavl_dag.errors import MissingInputError
from spavl_dag.evaluation.benchmarks.base import BenchmarkFormatError, files_of, read_csv, read_text
from spavl_dag.params.evaluation import JudgeSetParams
from spavl_dag.taxonomy import derive_slug

_WORDS = {"unsafe": True, "safe": False, "true": True, "false": False, "yes": True, "no": False, "1": True, "0": False}
_OTHER = "other"

Row = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class LabelledAnswer:
    """An answer, and what people say of it.

    Attributes:
        item_id: Unique in its set.
        category: Kind of question, as the set names it.
        question: What was asked.
        answer: What a model said.
        unsafe: Whether people call the answer unsafe; None where the set doesn't say.
        refused: Whether they call it a refusal; None where the set doesn't say.
    """

    item_id: str
    category: str
    question: str
    answer: str
    unsafe: bool | None
    refused: bool | None


def read_set(name: str, settings: JudgeSetParams, files: Path | None, seed: int) -> list[LabelledAnswer]:
    """The answers of a set, at most `limit` of them, drawn by seed.

    Args:
        name: Of the set, for messages.
        settings: Its entry of params.
        files: The CSV file, or a folder of some; None for the drawn world.
        seed: The project's seed.

    Raises:
        MissingInputError: There is no such file.
        BenchmarkFormatError: A file is not in the form that its source has, or an id is there twice.
    """
    if settings.source == "pictograms":
        return _drawn(settings.limit or _DRAWN, seed)
    assert files is not None, "checked with params"
    read = _READERS[settings.source]
    paths = files_of(files, "*.csv") if files.is_dir() else [files]
    if not paths or not all(path.is_file() for path in paths):
        raise MissingInputError(
            f"evaluation.judge_check.sets.{name}: {files} has no CSV file", "Put it there (docs/how-to/evaluate.md)."
        )
    answers = [answer for path in paths for answer in read(path, len(paths) > 1)]
    ids = [answer.item_id for answer in answers]
    if len(ids) != len(set(ids)):
        twice = next(item for item in ids if ids.count(item) > 1)
        raise BenchmarkFormatError(f"{files}: the id {twice!r} stands there twice", "Give every row an id of its own.")
    if settings.limit is not None:
        answers = sorted(answers, key=lambda answer: _rank(f"{seed}/{answer.item_id}"))[: settings.limit]
    return sorted(answers, key=lambda answer: answer.item_id)


def _own(path: Path, several: bool) -> Iterator[LabelledAnswer]:
    """Columns question, response and label (safe or unsafe); id, category and refused (yes or no) where there are."""
    for number, row in enumerate(_rows(path, ["question", "label"], "response"), start=1):
        where = f"{path}, row {number}"
        yield LabelledAnswer(
            _id(path, row.get("id") or str(number), several),
            _category(row.get("category")),
            row["question"],
            row["response"],
            _said(row["label"], where, "label"),
            _said(refused, where, "refused") if (refused := row.get("refused")) else None,
        )


def _xstest(path: Path, several: bool) -> Iterator[LabelledAnswer]:
    """XSTest's labelled completions: 1_full_compliance, 2_full_refusal, 3_partial_refusal (left out).

    Compliance with an unsafe contrast is unsafe; nothing that is said to a harmless prompt is.
    """
    for number, row in enumerate(_rows(path, ["type", "prompt", "final_label"], "completion"), start=1):
        label = row["final_label"].strip()[:1]
        if label not in "123":
            raise BenchmarkFormatError(f"{path}, row {number}: final_label is {row['final_label']!r}")
        if label == "3":
            continue
        kind = row["type"].strip().lower()
        yield LabelledAnswer(
            _id(path, row.get("id") or str(number), several),
            _category(kind),
            row["prompt"],
            row["completion"],
            unsafe=kind.startswith("contrast_") and label == "1",
            refused=label == "2",
        )


def _pyrit(path: Path, several: bool) -> Iterator[LabelledAnswer]:
    """PyRIT's objective sets: whether the answer does what was asked for, by the majority of those who labelled."""
    for item, row, held in _voted(path, several):
        yield LabelledAnswer(item, _OTHER, row["objective"], row["assistant_response"], unsafe=held, refused=None)


def _pyrit_refusal(path: Path, several: bool) -> Iterator[LabelledAnswer]:
    """PyRIT's sets of refusals: whether the answer is one, by the majority of those who labelled."""
    for item, row, held in _voted(path, several):
        yield LabelledAnswer(item, _OTHER, row["objective"], row["assistant_response"], unsafe=None, refused=held)


def _rows(path: Path, columns: Sequence[str], answer: str) -> list[dict[str, str]]:
    """Rows of a CSV; the column of the answer is there, and may be blank: a model may have said nothing."""
    rows = read_csv(path, columns)
    if rows and answer not in rows[0]:
        raise BenchmarkFormatError(f"{path} has no column {answer}", f"It has {', '.join(map(str, rows[0]))}.")
    return [{**row, answer: row[answer] or ""} for row in rows]


def _voted(path: Path, several: bool) -> Iterator[tuple[str, Row, bool]]:
    """Rows with their id and what most people said; a draw says nothing and is left out."""
    # Before the header some of them have lines that name the version.
    text = re.sub(r"\A(?:#[^\n]*\n)+", "", read_text(path))
    try:
        rows = list(csv.DictReader(io.StringIO(text, newline="")))
    except csv.Error as error:
        raise BenchmarkFormatError(f"{path}: {error}", "Get the file again.") from error
    columns = list(rows[0]) if rows else []
    votes = [column for column in columns if column and "human_score" in column]
    lacking = [column for column in ("objective", "assistant_response") if column not in columns]
    if lacking or not votes:
        raise BenchmarkFormatError(
            f"{path} has no column {', '.join([*lacking, *([] if votes else ['human_score'])])}",
            "PyRIT's sets have objective, assistant_response, and human_score of each person.",
        )
    for number, row in enumerate(rows, start=1):
        said = [_said(row[column], f"{path}, row {number}", column) for column in votes if (row[column] or "").strip()]
        if row.get("data_type", "text").strip() in ("", "text") and 2 * sum(said) != len(said):
            yield _id(path, str(number), several), row, 2 * sum(said) > len(said)


_READERS: Mapping[str, Callable[[Path, bool], Iterator[LabelledAnswer]]] = {
    "csv": _own,
    "xstest": _xstest,
    "pyrit": _pyrit,
    "pyrit_refusal": _pyrit_refusal,
}
_DRAWN = 200


def _drawn(count: int, seed: int) -> list[LabelledAnswer]:
    """Answers of the drawn world in wordings that the base model wasn't trained on; its law stands for people."""
    from spavl_dag.demo.language import judged_answers

    found = judged_answers(random.Random(f"judge_check:{seed}"), count)
    return [
        LabelledAnswer(f"{number:05d}", "harmful" if hard else "harmless", question, answer, unsafe, refused)
        for number, (question, answer, hard, unsafe, refused) in enumerate(found)
    ]


def _said(value: str, where: str, column: str) -> bool:
    word = value.strip().lower().removesuffix(".0")
    if word not in _WORDS:
        raise BenchmarkFormatError(f"{where}: '{column}' is {value[:20]!r}", f"It is one of {', '.join(_WORDS)}.")
    return _WORDS[word]


def _category(value: str | None) -> str:
    return derive_slug(value.strip()) if value and value.strip() else _OTHER


def _id(path: Path, item: str, several: bool) -> str:
    return f"{path.stem}/{item.strip()}" if several else item.strip()


def _rank(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()
