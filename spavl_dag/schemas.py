"""What the rows of every artifact must be.

Belongs here: one pandera model per table, and how to build a frame of it. What needs a second table to be checked
stands in `rules.py`. Frames are eager on purpose: on a LazyFrame pandera checks the column types only.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

import pandera.polars as pa
import polars as pl
from pandera.polars import PolarsData

from spavl_dag.names import QUESTION_TYPES, SLUG
from spavl_dag.states import CallState

SHA256 = r"^[0-9a-f]{64}$"
HEX16 = r"^[0-9a-f]{16}$"
HEX32 = r"^[0-9a-f]{32}$"
STATES = [state.value for state in CallState]
NO_RESPONSE = "no_response"
"""State of a label for which there was no answer to judge."""
LABELS = ["safe", "unsafe"]
SPLITS = ["train", "validation", "harm_eval", "help_eval"]
UNDECIDED = [
    "tie",
    "neither",
    "position_biased",
    "disagreed",
    "refused",
    "unparsable",
    "permanent_error",
]
"""Why a pair became no preference."""


HARMLESS = {"harmless": True}
"""Metadata of a column of free text that may be shown: ids, names, reasons of ours. All other text is hidden."""


class Table(pa.DataFrameModel):
    """Common ground: no column more or less than stated, in the stated order and type."""

    class Config:
        """Pandera's settings."""

        strict = True
        ordered = True
        coerce = False


class Keywords(Table):
    """Search words of the harm classes."""

    class_id: str = pa.Field(str_matches=SLUG)
    rank: pl.Int32 = pa.Field(ge=1)
    keyword: str = pa.Field(str_length={"min_value": 1, "max_value": 120})
    source: str = pa.Field(isin=["file", "model"])
    call_key: str = pa.Field(nullable=True, str_matches=HEX32)

    class Config(Table.Config):
        """Pandera's settings."""

        unique = ["class_id", "keyword"]  # noqa: RUF012


class Images(Table):
    """Accepted images."""

    image_id: str = pa.Field(unique=True, str_matches=HEX16)
    sha256: str = pa.Field(unique=True, str_matches=SHA256)
    phash: str = pa.Field(str_matches=HEX16)
    near_duplicate_group: pl.Int32 = pa.Field(ge=0)
    file: str = pa.Field(str_matches=r"^files/[^/]+$")
    format: str = pa.Field(metadata=HARMLESS)
    width: pl.Int32 = pa.Field(ge=1)
    height: pl.Int32 = pa.Field(ge=1)
    size_bytes: pl.Int64 = pa.Field(ge=1)
    class_id: str = pa.Field(str_matches=SLUG)
    class_ids: pl.List(pl.String) = pa.Field(metadata=HARMLESS)  # type: ignore[valid-type]
    source: str
    source_caption: str = pa.Field(nullable=True)
    license: str = pa.Field(metadata=HARMLESS)
    notes: str = pa.Field(metadata=HARMLESS)


class ImageQuarantine(Table):
    """Files that did not become images, each with its reason."""

    class Config(Table.Config):
        """Pandera's settings."""

        name = "quarantine"

    file: str
    reason: str = pa.Field(str_matches=r"^[a-z_]+$")
    detail: str


class PassedOverFiles(Table):
    """Files of the user's folder that don't look like images by their names: hidden, or without an image's suffix."""

    class Config(Table.Config):
        """Pandera's settings."""

        name = "passed_over"

    file: str = pa.Field(unique=True)


class MissingClasses(Table):
    """Harm classes without an image, with what to search for."""

    class Config(Table.Config):
        """Pandera's settings."""

        name = "missing"

    class_id: str = pa.Field(unique=True, str_matches=SLUG)
    keywords: pl.List(pl.String)  # type: ignore[valid-type]


class Captions(Table):
    """What is seen in an image: briefly and in detail."""

    image_id: str = pa.Field(unique=True, str_matches=HEX16)
    caption: str = pa.Field(nullable=True)
    caption_state: str = pa.Field(isin=STATES)
    caption_source: str = pa.Field(isin=["model", "source_caption", "none"])
    caption_key: str = pa.Field(str_matches=HEX32)
    description: str = pa.Field(nullable=True)
    description_state: str = pa.Field(isin=STATES)
    description_source: str = pa.Field(isin=["model", "caption", "source_caption", "none"])
    description_key: str = pa.Field(str_matches=HEX32)


class Questions(Table):
    """Up to three texts per image."""

    question_id: str = pa.Field(unique=True, metadata=HARMLESS)
    image_id: str = pa.Field(str_matches=HEX16)
    class_id: str = pa.Field(str_matches=SLUG)
    question_type: str = pa.Field(isin=QUESTION_TYPES)
    question: str = pa.Field(str_length={"min_value": 1})
    raw: str
    changes: str = pa.Field(metadata=HARMLESS)
    call_key: str = pa.Field(str_matches=HEX32)


class MissingQuestions(Table):
    """Texts that could not be had, each with its reason."""

    class Config(Table.Config):
        """Pandera's settings."""

        name = "missing"

    image_id: str = pa.Field(str_matches=HEX16)
    class_id: str = pa.Field(str_matches=SLUG)
    question_type: str = pa.Field(isin=QUESTION_TYPES)
    reason: str = pa.Field(str_length={"min_value": 1}, metadata=HARMLESS)
    raw: str
    call_key: str = pa.Field(nullable=True, str_matches=HEX32)


class RowPerQuestion(Table):
    """What the large tables share: one row per question."""

    question_id: str = pa.Field(metadata=HARMLESS)

    @pa.check("question_id", name="unique")
    @classmethod
    def no_question_twice(cls, data: PolarsData) -> pl.LazyFrame:
        """Counting distinct values takes a third of marking duplicates, so mark them only when there are any."""
        column = pl.col(data.key)
        distinct = data.lazyframe.select(column.n_unique() == pl.len()).collect().item()
        return data.lazyframe.select(column.is_not_null() if distinct else column.is_unique())


class Responses(RowPerQuestion):
    """One model's answer to every question, or why there is none."""

    model: str = pa.Field(str_matches=SLUG)
    response: str = pa.Field(nullable=True)
    state: str = pa.Field(isin=STATES)
    reason: str = pa.Field(nullable=True, metadata=HARMLESS)
    finish_reason: str = pa.Field(isin=["stop", "length", "error"])
    prompt_tokens: pl.Int32 = pa.Field(ge=0)
    completion_tokens: pl.Int32 = pa.Field(ge=0)
    call_key: str = pa.Field(str_matches=HEX32)

    @pa.dataframe_check
    @classmethod
    def answered_or_reason(cls, data: PolarsData) -> pl.LazyFrame:
        """A row has an answer or says why it has none."""
        return data.lazyframe.select(pl.col("response").is_not_null() | pl.col("reason").is_not_null())


class SafetyLabels(RowPerQuestion):
    """The judge's label of every answer of one model, or why there is none."""

    model: str = pa.Field(str_matches=SLUG)
    label: str = pa.Field(nullable=True, isin=LABELS)
    state: str = pa.Field(isin=[*STATES, NO_RESPONSE])
    raw: str = pa.Field(nullable=True)
    call_key: str = pa.Field(nullable=True, str_matches=HEX32)

    @pa.dataframe_check
    @classmethod
    def label_only_when_ok(cls, data: PolarsData) -> pl.LazyFrame:
        """A failed verdict is never a label, and a good one always is."""
        return data.lazyframe.select((pl.col("state") == "ok") == pl.col("label").is_not_null())


class SafetyGroups(Table):
    """The answering models, grouped by the rate of their safe answers."""

    model: str = pa.Field(unique=True, str_matches=SLUG)
    safety_group: pl.Int32 = pa.Field(ge=1)
    safe: pl.Int64 = pa.Field(ge=0)
    labelled: pl.Int64 = pa.Field(ge=0)
    unlabelled: pl.Int64 = pa.Field(ge=0)
    safe_rate: pl.Float64 = pa.Field(nullable=True, in_range={"min_value": 0, "max_value": 1})
    ci_low: pl.Float64 = pa.Field(nullable=True, in_range={"min_value": 0, "max_value": 1})
    ci_high: pl.Float64 = pa.Field(nullable=True, in_range={"min_value": 0, "max_value": 1})


class Pairs(Table):
    """Two answers to a question, from models of different safety groups."""

    pair_id: str = pa.Field(unique=True, metadata=HARMLESS)
    question_id: str = pa.Field(metadata=HARMLESS)
    model_a: str = pa.Field(str_matches=SLUG)
    model_b: str = pa.Field(str_matches=SLUG)
    group_a: pl.Int32 = pa.Field(ge=1)
    group_b: pl.Int32 = pa.Field(ge=1)
    response_a: str
    response_b: str

    @pa.dataframe_check
    @classmethod
    def different_groups(cls, data: PolarsData) -> pl.LazyFrame:
        """The two answers come from different safety groups, so from different models."""
        return data.lazyframe.select(pl.col("group_a") != pl.col("group_b"))


class MissingPairs(Table):
    """Questions without a pair, each with its reason."""

    class Config(Table.Config):
        """Pandera's settings."""

        name = "missing"

    question_id: str = pa.Field(unique=True, metadata=HARMLESS)
    reason: str = pa.Field(str_length={"min_value": 1}, metadata=HARMLESS)


class Verdicts(Table):
    """Every verdict of the annotator: each pair, each criterion, both orders."""

    pair_id: str = pa.Field(metadata=HARMLESS)
    criterion: str = pa.Field(isin=["joint", "harmlessness", "helpfulness"])
    presented: str = pa.Field(isin=["ab", "ba"])
    state: str = pa.Field(isin=STATES)
    verdict: str = pa.Field(nullable=True, isin=["A", "B", "tie", "neither"])
    preferred_model: str = pa.Field(nullable=True, str_matches=SLUG)
    reason: str = pa.Field(nullable=True)
    raw: str
    call_key: str = pa.Field(str_matches=HEX32)

    class Config(Table.Config):
        """Pandera's settings."""

        name = "verdicts"
        unique = ["pair_id", "criterion", "presented"]  # noqa: RUF012


class Preferences(Table):
    """Pairs on which both verdicts agreed."""

    pair_id: str = pa.Field(unique=True, metadata=HARMLESS)
    question_id: str = pa.Field(metadata=HARMLESS)
    chosen_model: str = pa.Field(str_matches=SLUG)
    rejected_model: str = pa.Field(str_matches=SLUG)
    chosen: str
    rejected: str
    decided_by: str = pa.Field(isin=["joint", "harmlessness", "helpfulness"])
    reason1: str = pa.Field(nullable=True)
    reason2: str = pa.Field(nullable=True)

    @pa.dataframe_check
    @classmethod
    def chosen_is_not_rejected(cls, data: PolarsData) -> pl.LazyFrame:
        """A preference between equal texts teaches nothing."""
        return data.lazyframe.select(
            (pl.col("chosen") != pl.col("rejected")) & (pl.col("chosen_model") != pl.col("rejected_model"))
        )


class UndecidedPairs(Table):
    """Pairs that became no preference, each with its reason."""

    class Config(Table.Config):
        """Pandera's settings."""

        name = "undecided"

    pair_id: str = pa.Field(unique=True, metadata=HARMLESS)
    question_id: str = pa.Field(metadata=HARMLESS)
    reason: str = pa.Field(isin=UNDECIDED)
    detail: str = pa.Field(metadata=HARMLESS)


class DatasetRows(Table):
    """The preference dataset, and its two evaluation sets (without answers)."""

    row_id: str = pa.Field(unique=True, metadata=HARMLESS)
    split: str = pa.Field(isin=SPLITS)
    image_id: str = pa.Field(str_matches=HEX16)
    image_name: str = pa.Field(metadata=HARMLESS)
    near_duplicate_group: pl.Int32 = pa.Field(ge=0)
    question_id: str = pa.Field(metadata=HARMLESS)
    question_type: str = pa.Field(isin=QUESTION_TYPES)
    question: str = pa.Field(str_length={"min_value": 1})
    chosen: str = pa.Field(nullable=True)
    rejected: str = pa.Field(nullable=True)
    chosen_model: str = pa.Field(nullable=True, metadata=HARMLESS)
    rejected_model: str = pa.Field(nullable=True, metadata=HARMLESS)
    chosen_label: str = pa.Field(nullable=True, isin=LABELS)
    rejected_label: str = pa.Field(nullable=True, isin=LABELS)
    chosen_group: pl.Int32 = pa.Field(nullable=True, ge=1)
    rejected_group: pl.Int32 = pa.Field(nullable=True, ge=1)
    agreement: float = pa.Field(nullable=True, ge=0, le=1)
    reason1: str = pa.Field(nullable=True)
    reason2: str = pa.Field(nullable=True)
    class_id: str = pa.Field(str_matches=SLUG)
    class1: str = pa.Field(metadata=HARMLESS)
    class2: str = pa.Field(metadata=HARMLESS)
    class3: str = pa.Field(metadata=HARMLESS)

    @pa.dataframe_check
    @classmethod
    def answers_where_trained(cls, data: PolarsData) -> pl.LazyFrame:
        """Training rows have both answers, evaluation rows none."""
        both = pl.col("chosen").is_not_null() & pl.col("rejected").is_not_null()
        none = pl.col("chosen").is_null() & pl.col("rejected").is_null()
        return data.lazyframe.select(pl.when(pl.col("split").is_in(["train", "validation"])).then(both).otherwise(none))


@cache
def hidden_columns(schema: type[Table]) -> frozenset[str]:
    """Columns of text that must not be shown unasked: free text that isn't marked as harmless.

    A column that may hold a few stated values or one pattern (ids, states, hashes) is no free text.
    """
    hidden = set()
    for name, column in schema.to_schema().columns.items():
        is_text = column.dtype is not None and str(column.dtype) in ("String", "List(String)")
        bounded = any(check.name in ("isin", "str_matches") for check in column.checks)
        if is_text and not bounded and not (column.metadata or {}).get("harmless"):
            hidden.add(name)
    return frozenset(hidden)


@cache
def polars_schema(schema: type[Table]) -> pl.Schema:
    """Column names and polars types of a table."""
    return pl.Schema({name: column.dtype.type for name, column in schema.to_schema().columns.items()})


def frame(schema: type[Table], rows: Iterable[Mapping[str, Any]]) -> pl.DataFrame:
    """Rows as a frame with the table's columns and types, also when there are none.

    Args:
        schema: The table's model.
        rows: One mapping per row; keys that the table lacks are an error when the frame is checked.
    """
    listed = list(rows)
    try:
        return pl.DataFrame(listed, schema=polars_schema(schema), orient="row")
    except UnicodeEncodeError:
        # Half a surrogate pair, from an odd decoder: no table format can hold it. The ledger keeps the text as it came.
        whole = [{name: _encodable(value) for name, value in row.items()} for row in listed]
        return pl.DataFrame(whole, schema=polars_schema(schema), orient="row")


def _encodable(value: Any) -> Any:
    return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace") if isinstance(value, str) else value
