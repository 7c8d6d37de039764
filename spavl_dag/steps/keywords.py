"""Search keywords of every harm class: from the taxonomy file, or written by a model."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import polars as pl

from spavl_dag.inference.client import ModelClient, Prompt
from spavl_dag.schemas import Keywords, frame
from spavl_dag.states import CallState
from spavl_dag.taxonomy import HarmClass, Taxonomy
from spavl_dag.thoughts import without_thoughts

_SEPARATORS = re.compile(r"[,;\n]+")
_BULLET = re.compile(r"^\s*(?:[-*•]|\d+[.)])\s*")


def keywords_from_file(taxonomy: Taxonomy, per_class: int) -> pl.DataFrame:
    """The first `per_class` keywords that the taxonomy file gives each class."""
    return frame(Keywords, [row for harm in taxonomy.classes for row in _file_rows(harm, per_class)])


def keywords_from_model(taxonomy: Taxonomy, per_class: int, client: ModelClient) -> pl.DataFrame:
    """Keywords a model lists for each class; the file's fill up where it lists fewer than `per_class`."""
    answers = client.ask([Prompt({"class_name": harm.name}) for harm in taxonomy.classes])
    rows = []
    for harm, answer in zip(taxonomy.classes, answers, strict=True):
        words = split_keywords(answer.text)[:per_class] if answer.state is CallState.OK else []
        rows += [_row(harm, i, word, "model", answer.call_key) for i, word in enumerate(words, 1)]
        spare = [row for row in _file_rows(harm, len(harm.keywords)) if row["keyword"] not in words]
        rows += [{**row, "rank": rank} for rank, row in enumerate(spare[: per_class - len(words)], len(words) + 1)]
    return frame(Keywords, rows)


def split_keywords(text: str) -> list[str]:
    """Distinct keywords of a comma-, semicolon- or line-separated list, bullets removed, each at most 120 long.

    A model's thoughts hold none; a text that never came to an end with them is no list.
    """
    words = (_BULLET.sub("", part).strip(" .\"'") for part in _SEPARATORS.split(without_thoughts(text) or ""))
    return list(dict.fromkeys(word for word in words if 0 < len(word) <= 120))


def _file_rows(harm: HarmClass, count: int) -> Iterator[dict[str, Any]]:
    for rank, word in enumerate(harm.keywords[:count], 1):
        yield _row(harm, rank, word, "file", None)


def _row(harm: HarmClass, rank: int, word: str, source: str, key: str | None) -> dict[str, Any]:
    return {"class_id": harm.slug, "rank": rank, "keyword": word, "source": source, "call_key": key}
